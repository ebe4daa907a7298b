// Placing an order: the id is chosen here, so that asking again is harmless.

import { element, keep, setText } from "./dom.js";

const patience = 30_000; // for one answer
const attempts = 10; // for an order that is in doubt

export class OrderForm {
  #form = document.getElementById("form");
  #answer = document.getElementById("answer");
  #buttons = [document.getElementById("place"), document.getElementById("place-many")];

  constructor() {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#place(newOrder(this.food, this.area));
    });
    this.#buttons[1].addEventListener("click", () => this.#placeMany());
  }

  get food() { return this.#chosen("food"); }
  get area() { return this.#chosen("area"); }

  /** offer lets people choose among what the services have. */
  offer(services) {
    const kinds = (name) => services.find((service) => service.name === name)?.kinds ?? [];
    choices(document.getElementById("foods"), "food", kinds("store"), "left");
    choices(document.getElementById("areas"), "area", kinds("delivery"), "free");
    for (const button of this.#buttons) button.disabled = !this.food || !this.area;
  }

  /** askAgain sends the same order once more: the answer must be the same. */
  askAgain(view) {
    this.#place({ id: view.id, food: view.food, area: view.area });
  }

  #chosen(name) {
    return new FormData(this.#form).get(name);
  }

  async #place(order) {
    this.#say("under-way", "Under way…", order.id);
    const answer = await ask(order, (text) => this.#say("under-way", text, order.id));
    this.#tell(order, answer);
  }

  async #placeMany() {
    const many = Array.from({ length: 10 }, () => newOrder(this.food, this.area));
    this.#say("under-way", "Ten orders under way…", "");
    const answers = await Promise.all(many.map((order) => ask(order, () => {})));
    const placed = answers.filter((answer) => answer.status === "Order Placed").length;
    const open = answers.filter((answer) => answer.status === "Order In Doubt" || !answer.status).length;
    const text = `${placed} placed, ${10 - placed - open} not placed` + (open ? `, ${open} without an answer` : "");
    this.#say(placed === 10 ? "placed" : "not-placed", text, "");
  }

  #tell(order, answer) {
    if (answer.status === "Order Placed") {
      this.#say("placed", "Order Placed", `${answer.packet} is brought by ${answer.agent}`);
    } else if (answer.status === "Order Not Placed") {
      this.#say("not-placed", "Order Not Placed", answer.detail || answer.reason);
    } else {
      this.#say("in-doubt", answer.status ?? "No answer", answer.detail ?? "");
    }
  }

  #say(state, title, detail) {
    this.#answer.dataset.state = state;
    this.#answer.replaceChildren(element("strong", {}, title), element("span", {}, detail));
  }
}

/** ask posts an order until the answer is one, with the same id each time. */
async function ask(order, progress) {
  let last = {};
  for (let attempt = 0; attempt < attempts; attempt++) {
    last = await post(order);
    if (last.final) return last;
    progress("No answer yet. Asking again with the same id…");
    await new Promise((resolve) => setTimeout(resolve, last.after ?? 1000));
  }
  return last;
}

async function post(order) {
  try {
    const reply = await fetch("orders", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(order),
      signal: AbortSignal.timeout(patience),
    });
    const answer = await reply.json();
    const open = reply.status === 202 || reply.status === 429 || reply.status >= 500;
    return { ...answer, status: typeof answer.status === "string" ? answer.status : undefined, final: !open,
      after: 1000 * (Number(reply.headers.get("Retry-After")) || 1) };
  } catch (error) {
    return { detail: `The service cannot be reached (${error.name}).`, final: false };
  }
}

function newOrder(food, area) {
  const random = crypto.getRandomValues(new Uint8Array(6));
  const id = "web-" + [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { id, food, area };
}

function choices(parent, name, kinds, word) {
  if (kinds.length === 0) return; // the service is away: keep what was on offer
  const checked = parent.querySelector("input:checked")?.value;
  parent.querySelector(".empty")?.remove();
  keep(parent, kinds, (kind) => kind.kind, (kind) => element("label", { className: "choice" },
    element("input", { type: "radio", name, value: kind.kind, checked: kind.kind === checked }),
    element("span", {}, kind.kind), element("small")),
  (label, kind) => {
    label.classList.toggle("none", kind.free === 0);
    setText(label.lastElementChild, `${kind.free} ${word}`);
  });
  if (!parent.querySelector("input:checked")) parent.querySelector("input").checked = true;
}
