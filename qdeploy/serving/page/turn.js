// One answer on the page: its thinking, its text, its figures, and what went wrong.

import { copyText, element, renderMarkdown } from "./markdown.js";

export class Answer {
  /**
   * `again` is called when the reader wants another answer; `around(draw)` calls what draws, so
   * that the log can follow.
   */
  constructor(again, around) {
    this.again = again;
    this.around = around;
    this.text = "";
    this.thoughts = "";
    this.deltas = 0;
    this.finish = null;
    this.usage = null;
    this.sent = performance.now();
    this.summary = element("summary", {}, "Thinking");
    this.thinking = element("div", { class: "prose" });
    this.folded = element("details", { class: "thinking" }, this.summary, this.thinking);
    this.folded.hidden = true;
    this.content = element("div", { class: "prose content" });
    this.error = element("p", { class: "error", role: "alert" });
    this.error.hidden = true;
    this.figures = element("span", { class: "figures" }, "Waiting");
    this.buttons = element("span", { class: "buttons" });
    this.node = element(
      "article", { class: "turn assistant", "aria-label": "Answer", "aria-busy": "true" },
      this.folded, this.content, this.error,
      element("footer", {}, this.figures, this.buttons),
    );
  }

  /** Take one chunk of the stream. */
  take(chunk) {
    if (chunk.usage) this.usage = chunk.usage;
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const thought = choice.delta?.reasoning_content ?? choice.delta?.reasoning ?? "";
    const text = choice.delta?.content ?? "";
    this.finish = choice.finish_reason ?? this.finish;
    if (!thought && !text) return;
    this.last = performance.now();
    this.first ??= this.last;
    if (text) this.answered ??= this.last;
    this.deltas += 1;
    this.thoughts += thought;
    this.text += text;
    this.frame ??= requestAnimationFrame(() => this.around(() => this.show()));
  }

  /** Draw what has come so far. */
  show() {
    this.frame = null;
    this.folded.hidden = !this.thoughts;
    if (this.thoughts) {
      renderMarkdown(this.thinking, this.thoughts);
      const seconds = ((this.answered ?? this.last) - this.first) / 1000;
      this.summary.textContent = `${this.answered ? "Thought" : "Thinking"}, ${seconds.toFixed(1)} s`;
    }
    renderMarkdown(this.content, this.text);
    this.figures.textContent = this.speed();
  }

  /** The last state: the reason of the end is said, buttons appear. */
  end(note, failed) {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.show();
    this.node.setAttribute("aria-busy", "false");
    const reason = note || (this.finish === "length" ? this.cut() : "");
    if (failed) {
      this.error.textContent = reason;
      this.error.hidden = false;
    }
    const facts = [this.speed(), failed ? "" : reason].filter(Boolean);
    this.figures.textContent = facts.join(" · ");
    const copy = element("button", { type: "button" }, "Copy");
    copy.addEventListener("click", () => copyText(copy, this.text));
    const again = element("button", { type: "button", class: "again" }, failed ? "Try again" : "Regenerate");
    again.addEventListener("click", this.again);
    this.buttons.replaceChildren(...(this.text ? [copy] : []), again);
  }

  cut() {
    if (!this.text) return "cut by the limit of tokens while it was still thinking";
    return "cut by the limit of tokens";
  }

  /** Tokens a second and time to the first token, as this page saw them arrive. */
  speed() {
    if (this.first === undefined) return "";
    const tokens = this.usage?.completion_tokens ?? this.deltas;
    const seconds = (this.last - this.first) / 1000;
    const facts = [];
    if (tokens > 1 && seconds > 0) facts.push(`${((tokens - 1) / seconds).toFixed(1)} tok/s`);
    facts.push(`first token after ${duration(this.first - this.sent)}`);
    facts.push(`${tokens} token${tokens === 1 ? "" : "s"}`);
    return facts.join(" · ");
  }
}

const duration = (ms) => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** The reader's own words, as they are. */
export function question(text) {
  return element("article", { class: "turn user", "aria-label": "You" }, element("p", {}, text));
}
