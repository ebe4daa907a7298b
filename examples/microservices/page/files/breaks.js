// Buttons that break things, in a demo.

import { element, keep, setText } from "./dom.js";

export class Breaks {
  #panel = document.getElementById("breaks");
  #buttons = document.getElementById("break-buttons");
  #error = document.getElementById("break-error");
  #ends = new Map(); // what is active -> when it ends
  #kind;

  /** kind returns the food that is chosen, for what needs one. */
  constructor(kind) { this.#kind = kind; }

  show(breaks) {
    this.#panel.hidden = breaks.length === 0;
    this.#ends = new Map(breaks.filter((one) => one.active && one.time_left_ms)
      .map((one) => [one.name, performance.now() + one.time_left_ms]));
    keep(this.#buttons, breaks, (one) => one.name, (one) => this.#newButton(one), (button, one) => {
      button.setAttribute("aria-pressed", String(one.active));
      button.disabled = one.active;
    });
    this.tick();
  }

  /** tick counts down what is active. */
  tick() {
    for (const button of this.#buttons.children) {
      const ends = this.#ends.get(button.dataset.key);
      setText(button.lastElementChild, ends === undefined ? "" : `${Math.max(0, Math.ceil((ends - performance.now()) / 1000))} s`);
    }
  }

  #newButton(one) {
    const button = element("button", { type: "button" }, element("span", {}, one.title), element("small"));
    button.addEventListener("click", () => this.#press(one));
    return button;
  }

  async #press(one) {
    setText(this.#error, "");
    const body = one.needs_kind ? JSON.stringify({ kind: this.#kind() }) : undefined;
    try {
      const reply = await fetch(`break/${one.name}`, {
        method: "POST", body, headers: body ? { "Content-Type": "application/json" } : {}, signal: AbortSignal.timeout(10_000),
      });
      const answer = await reply.json();
      if (reply.ok) this.show(answer.breaks ?? []);
      else setText(this.#error, answer.detail ?? `${one.title}: it answered ${reply.status}`);
    } catch (error) {
      setText(this.#error, `${one.title}: the service cannot be reached (${error.name}).`);
    }
  }
}
