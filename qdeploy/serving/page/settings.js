// What the reader sets, kept in the tab's session storage: it ends with the tab.

const FIELDS = ["system", "thinking", "temperature", "most", "key"];
const field = (name) => document.getElementById(name);

/** Fill in what was kept, and keep what is changed; `changed(name)` is called after each change. */
export function keepSettings(changed) {
  for (const name of FIELDS) {
    field(name).value = sessionStorage.getItem(name) ?? "";
    field(name).addEventListener("change", () => {
      sessionStorage.setItem(name, field(name).value);
      changed(name);
    });
  }
}

export const apiKey = () => field("key").value.trim();
export const systemPrompt = () => field("system").value.trim();

/** The fields of a request that the settings decide; what is left open is left out. */
export function requestFields() {
  const fields = {};
  const temperature = field("temperature").valueAsNumber;
  const most = field("most").valueAsNumber;
  if (Number.isFinite(temperature)) fields.temperature = temperature;
  if (Number.isInteger(most)) fields.max_completion_tokens = most;
  if (field("thinking").value) {
    fields.chat_template_kwargs = { enable_thinking: field("thinking").value === "on" };
  }
  return fields;
}
