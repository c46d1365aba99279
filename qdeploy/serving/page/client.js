// The server's API: one streamed chat completion, and what is told about the server.

/** What went wrong, in words for the reader. */
export class Failure extends Error {}

const headers = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

/** Facts about the server: model, device, evidence. Raises Failure. */
export async function serverFacts(key) {
  const answer = await ask("v1/qdeploy", { headers: headers(key) });
  return answer.json();
}

/**
 * Yield the chunks of one chat completion as objects, until the server says that it is complete.
 * Raises Failure; a DOMException named AbortError where `signal` stopped it.
 */
export async function* streamChat(body, key, signal) {
  const answer = await ask("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers(key) },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  for await (const data of events(answer.body)) {
    if (data === "[DONE]") return;
    const chunk = parsed(data);
    if (chunk.error) throw new Failure(sentence(chunk.error.message ?? "the server failed"));
    yield chunk;
  }
  throw new Failure("The connection ended in the middle of the answer.");
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not answer. Is it still running?");
  }
  if (!answer.ok) throw new Failure(await refusal(answer));
  return answer;
}

async function refusal(answer) {
  let told = "";
  try {
    told = (await answer.json()).error?.message ?? "";
  } catch {
    // not from the server itself, e.g. a proxy's page
  }
  const wait = answer.headers.get("Retry-After");
  const again = wait ? ` Try again in ${wait} s.` : " Try again soon.";
  switch (answer.status) {
    case 401:
      return "The server wants an API key, or another one: give it under Settings.";
    case 429:
      return `The server has too many requests waiting.${again}`;
    case 503:
      return `${sentence(told || "the server is not ready")}${again}`;
    default:
      return sentence(told || `the server refused this (status ${answer.status})`);
  }
}

const sentence = (text) =>
  `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** Yield the data of server-sent events, whose lines may be cut anywhere. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await read(reader);
      if (done) return;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have failed already
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The connection broke in the middle of the answer.");
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new Failure("The server sent what is no JSON.");
  }
}
