// The page: what the reader does, and the conversation.

import { Failure, serverFacts, streamChat } from "./client.js";
import { apiKey, keepSettings, requestFields, systemPrompt } from "./settings.js";
import { Answer, question } from "./turn.js";

const EVIDENCE = {
  device: "it runs on that hardware, as the runtime itself confirmed",
  simulated: "it runs on a simulated device, as requested",
  contract: "only the calls to the vendor's library were checked",
  none: "nothing is known about where it runs",
};
const NEAR = 48; // pixels from the end at which the log still follows the answer

const at = (id) => document.getElementById(id);
const [log, input, button, status] = ["log", "question", "send", "status"].map(at);

let turns = []; // {asked, shown, answer}
let running = null; // the AbortController of the answer that is being made
let facts = {};

async function showFacts() {
  try {
    facts = await serverFacts(apiKey());
  } catch (error) {
    at("device").textContent = error.message;
    return;
  }
  at("model").textContent = facts.model ?? "";
  document.title = facts.model ? `${facts.model} · qdeploy` : "qdeploy";
  at("device").textContent = [facts.target, facts.backend, facts.device].filter(Boolean).join(" · ");
  const badge = at("evidence");
  badge.hidden = !facts.evidence;
  badge.textContent = facts.evidence ?? "";
  badge.className = `badge ${facts.evidence in EVIDENCE ? facts.evidence : ""}`;
  badge.title = EVIDENCE[facts.evidence] ?? "";
}

function messages() {
  const system = systemPrompt();
  const said = turns.flatMap(({ asked, answer }) => [
    { role: "user", content: asked },
    ...(answer?.text ? [{ role: "assistant", content: answer.text }] : []),
  ]);
  return [...(system ? [{ role: "system", content: system }] : []), ...said];
}

/** Draw, and stay at the end of the log if that is what the reader looks at. */
function follow(draw) {
  const near = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
  draw();
  if (near) log.scrollTop = log.scrollHeight;
}

function send() {
  const asked = input.value.trim();
  if (running || !asked) return;
  input.value = "";
  fit();
  at("empty").hidden = true;
  const turn = { asked, shown: question(asked), answer: null };
  turns.push(turn);
  log.append(turn.shown);
  answerLast();
}

function again() {
  if (running) return;
  const turn = turns.at(-1);
  turn.answer.node.remove();
  turn.answer = null;
  input.focus(); // the button that had the focus is gone
  answerLast();
}

/** Ask for the answer to the last turn, and show it as it comes. */
async function answerLast() {
  const turn = turns.at(-1);
  for (const old of log.querySelectorAll(".again")) old.remove(); // the last answer alone
  const body = { model: facts.model, messages: messages(), ...requestFields() };
  const answer = (turn.answer = new Answer(again, follow));
  log.append(answer.node);
  log.scrollTop = log.scrollHeight;
  const mine = (running = new AbortController());
  busy(true);
  let note = "", failed = false;
  try {
    for await (const chunk of streamChat(body, apiKey(), mine.signal)) answer.take(chunk);
  } catch (error) {
    failed = error.name !== "AbortError";
    note = failed ? (error instanceof Failure ? error.message : String(error)) : "stopped";
  }
  if (!turns.includes(turn)) return; // a new chat was begun
  running = null;
  follow(() => answer.end(note, failed));
  busy(false);
  status.textContent = failed ? "" : `Answer: ${answer.text || answer.figures.textContent}`;
}

function busy(now) {
  button.textContent = now ? "Stop" : "Send";
  if (now) status.textContent = "Answering";
}

function newChat() {
  running?.abort();
  running = null;
  turns = [];
  for (const shown of log.querySelectorAll(".turn")) shown.remove();
  at("empty").hidden = false;
  busy(false);
  status.textContent = "New chat";
  input.focus();
}

/** Let the field grow with its text; the style sheet says how far. */
function fit() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight + 2}px`;
}

function toggleSettings(shown) {
  at("settings").hidden = !shown;
  at("open-settings").setAttribute("aria-expanded", String(shown));
}

keepSettings((name) => name === "key" && showFacts());
input.addEventListener("input", fit);
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else send();
});
at("settings").addEventListener("submit", (event) => event.preventDefault());
at("new").addEventListener("click", newChat);
at("open-settings").addEventListener("click", () => toggleSettings(at("settings").hidden));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) running?.abort();
});
showFacts();
