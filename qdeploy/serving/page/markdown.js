// Markdown as DOM nodes. marked parses; every node is made here, by name, and text becomes text
// nodes only. No string of a model is ever parsed as HTML, so there is nothing to sanitize.

import { Lexer } from "./vendor/marked.esm.js";

const OPTIONS = { gfm: true, breaks: true };
const SCHEMES = new Set(["http:", "https:", "mailto:"]);
const SIMPLE = { strong: "strong", em: "em", del: "del", blockquote: "blockquote" };

/** Make an element: `element("a", { href }, child, "text")`. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/**
 * Show Markdown in a container that grows while an answer streams: blocks whose source did not
 * change keep their nodes, so a selection survives and the work does not grow with the answer.
 */
export function renderMarkdown(container, source) {
  const blocks = parse(source);
  const before = container.rendered ?? [];
  let same = 0;
  while (same < before.length && same < blocks.length && before[same] === blocks[same].raw) same++;
  while (container.childNodes.length > same) container.lastChild.remove();
  container.append(...blocks.slice(same).map(block));
  container.rendered = blocks.map((token) => token.raw);
}

/** Parse to one token for each block; what the parser gives up on is one block of plain text. */
function parse(source) {
  try {
    return Lexer.lex(source, OPTIONS).filter((token) => token.type !== "space");
  } catch {
    return [{ type: "html", raw: source, text: source }];
  }
}

function block(token) {
  switch (token.type) {
    case "heading":
      return element(`h${Math.min(token.depth + 2, 6)}`, {}, ...nodes(token));
    case "paragraph":
      return element("p", {}, ...nodes(token));
    case "code":
      return code(token);
    case "list":
      return list(token);
    case "table":
      return table(token);
    case "hr":
      return element("hr");
    case "def": // where a link of another place goes to: nothing to see
      return document.createComment("");
    case "html":
      return element("p", { class: "literal" }, token.text);
    default:
      return inline(token);
  }
}

function inline(token) {
  switch (token.type) {
    case "text":
    case "escape":
      return token.tokens ? element("span", {}, ...nodes(token)) : token.text;
    case "codespan":
      return element("code", {}, token.text);
    case "br":
      return element("br");
    case "checkbox":
      return token.checked ? "☑ " : "☐ ";
    case "link":
      return link(token.href, nodes(token));
    case "image": // a picture would tell its host who reads this
      return link(token.href, [token.text || token.href]);
    default:
      if (token.type in SIMPLE) return element(SIMPLE[token.type], {}, ...nodes(token));
      return token.text ?? token.raw;
  }
}

const nodes = (token) => (token.tokens ?? [{ type: "text", text: token.text }]).map(either);
const BLOCKS = new Set(["heading", "paragraph", "code", "list", "table", "hr", "def"]);
const either = (token) => (BLOCKS.has(token.type) ? block(token) : inline(token));

function link(href, children) {
  let parsed;
  try {
    parsed = new URL(href);
  } catch {
    return element("span", {}, ...children); // relative, so meant for another place than this page
  }
  if (!SCHEMES.has(parsed.protocol)) return element("span", {}, ...children);
  const rel = "noopener noreferrer nofollow";
  return element("a", { href: parsed.href, rel, target: "_blank" }, ...children);
}

function code(token) {
  const language = (token.lang ?? "").split(/\s/, 1)[0];
  const copy = element("button", { type: "button", class: "copy" }, "Copy");
  copy.addEventListener("click", () => copyText(copy, token.text));
  const body = element("pre", { tabindex: "0" }, element("code", {}, token.text));
  return element("div", { class: "code" }, element("p", {}, language, copy), body);
}

function list(token) {
  const items = token.items.map((item) => element("li", {}, ...nodes(item)));
  if (!token.ordered) return element("ul", {}, ...items);
  return element("ol", { start: Number(token.start) || 1 }, ...items);
}

function table(token) {
  const cell = (name) => (given) => {
    const made = element(name, {}, ...nodes(given));
    if (given.align) made.style.textAlign = given.align;
    return made;
  };
  const head = element("tr", {}, ...token.header.map(cell("th")));
  const rows = token.rows.map((row) => element("tr", {}, ...row.map(cell("td"))));
  const made = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
  return element("div", { class: "scroll", tabindex: "0" }, made);
}

/** Copy text, and say so on the button for a moment. */
export async function copyText(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed"; // by the browser, e.g. on a page without https
  }
  setTimeout(() => (button.textContent = before), 1500);
}
