// The latest orders, each with a timeline of its calls and their retries.

import { element, keep, setText, duration } from "./dom.js";

const shown = 50;
const lanes = ["journal", "store", "delivery"];

export class Orders {
  #root;
  #again;
  #views = new Map();

  /** again is called with an order that somebody wants to ask for once more. */
  constructor(root, again) {
    this.#root = root;
    this.#again = again;
  }

  replace(views) {
    this.#views.clear();
    this.upsert(views);
  }

  upsert(views) {
    for (const view of views) this.#views.set(view.id, view);
    const newest = [...this.#views.values()].sort((a, b) => b.number - a.number).slice(0, shown);
    this.#views = new Map(newest.map((view) => [view.id, view]));
    this.#root.querySelector(".empty")?.remove();
    if (newest.length === 0) {
      this.#root.replaceChildren(element("li", { className: "empty" }, "No order yet. Place one."));
      return;
    }
    keep(this.#root, newest, (view) => view.id, (view) => this.#newOrder(view), showOrder);
  }

  #newOrder(view) {
    const again = element("button", { type: "button", className: "again", title: "Send the same order again: the answer is the same" }, "ask again");
    again.addEventListener("click", () => this.#again(this.#views.get(view.id) ?? view));
    return element("li", { className: "order" },
      element("div", { className: "head" }, element("span", { className: "badge" }), element("span", { className: "what" }),
        element("span", { className: "took" }), again),
      element("p", { className: "result" }),
      element("div", { className: "timeline", "aria-hidden": "true" }),
      element("details", {}, element("summary", {}, element("span", { className: "id" }), element("span", { className: "calls" })),
        element("ol", { className: "calls-list" })));
  }
}

function showOrder(item, view) {
  item.dataset.status = view.status;
  setText(item.querySelector(".badge"), view.status.replace("Order ", ""));
  setText(item.querySelector(".what"), `${view.food} to ${view.area}`);
  setText(item.querySelector(".took"), view.took_ms === undefined ? "" : duration(view.took_ms));
  setText(item.querySelector(".result"), resultOf(view));
  setText(item.querySelector(".id"), view.id + (view.recovered ? " · taken over after a crash" : ""));
  const marks = view.timeline ?? [];
  const repeats = marks.filter((mark) => mark.attempt > 1).length;
  setText(item.querySelector(".calls"), `${marks.length + (view.more ?? 0)} calls${repeats ? `, ${repeats} repeated` : ""}`);
  showTimeline(item.querySelector(".timeline"), marks);
  showCalls(item.querySelector(".calls-list"), marks, view.more);
}

function resultOf(view) {
  if (view.packet) return `${view.packet}, brought by ${view.agent}`;
  const why = [view.reason?.replaceAll("-", " "), view.detail].filter(Boolean).join(": ");
  return view.status === "Order Not Placed" && !view.finished ? `${why} (giving back what was held)` : why;
}

/** kindOf says how a call went: done, turned away for good, or to be repeated. */
function kindOf(mark) {
  if (mark.ok) return "ok";
  return mark.final ? "final" : "again";
}

function showTimeline(root, marks) {
  const whole = Math.max(1, ...marks.map((mark) => mark.at_ms + (mark.took_ms ?? 0)));
  keep(root, lanes, (lane) => lane, (lane) => element("div", { className: "lane" }, element("span", {}, lane), element("div", { className: "bars" })),
    (row, lane) => keep(row.lastElementChild, marks.filter((mark) => mark.to === lane), (mark) => `${mark.call}${mark.at_ms}`,
      () => element("i"), (bar, mark) => {
        bar.className = `${kindOf(mark)} ${mark.call}`;
        bar.style.setProperty("--at", mark.at_ms / whole);
        bar.style.setProperty("--took", (mark.took_ms ?? 0) / whole);
        bar.title = sentence(mark);
      }));
}

function showCalls(root, marks, more) {
  const lines = marks.map((mark, index) => ({ key: index, kind: kindOf(mark), text: sentence(mark) }));
  if (more) lines.push({ key: "more", kind: "", text: `and ${more} more` });
  keep(root, lines, (line) => line.key, () => element("li"), (item, line) => {
    item.className = line.kind;
    setText(item, line.text);
  });
}

function sentence(mark) {
  const attempt = mark.attempt > 1 ? `, attempt ${mark.attempt}` : "";
  const took = mark.took_ms > 0 ? `, took ${duration(mark.took_ms)}` : "";
  const end = mark.ok ? mark.note ?? "done" : mark.error ?? "failed";
  return `${duration(mark.at_ms)}: ${mark.call} at ${mark.to}${attempt}${took}: ${end}`;
}
