// What each service has: every packet and agent, and for whom it is held.

import { element, keep, setText } from "./dom.js";

export class Stock {
  #root;
  #held = new Map(); // the elements of what is reserved -> when that ends, and how long it was when first seen

  constructor(root) { this.#root = root; }

  show(services) {
    keep(this.#root, services, (service) => service.name, newService, (panel, service) => this.#showService(panel, service));
    for (const mark of this.#held.keys()) if (!mark.isConnected) this.#held.delete(mark);
    this.tick();
  }

  /** tick counts down the time that is left. */
  tick() {
    const now = performance.now();
    for (const [mark, { ends, whole }] of this.#held) {
      const left = Math.max(0, ends - now);
      setText(mark, `${Math.ceil(left / 1000)} s`);
      mark.style.setProperty("--left", whole > 0 ? left / whole : 0);
    }
  }

  #showService(panel, service) {
    panel.classList.toggle("down", !service.up);
    setText(panel.querySelector(".state"), service.up ? "" : `not reachable${service.error ? ": " + service.error : ""}`);
    keep(panel.querySelector(".kinds"), service.kinds ?? [], (kind) => kind.kind, newKind, (row, kind) => this.#showKind(row, kind));
  }

  #showKind(row, kind) {
    setText(row.querySelector(".counts"), `${kind.free} free · ${kind.reserved} reserved · ${kind.assigned} assigned`);
    row.classList.toggle("none", kind.free === 0);
    keep(row.querySelector(".marks"), kind.resources ?? [], (resource) => resource.id,
      () => element("li", { className: "mark" }), (mark, resource) => this.#showResource(mark, resource));
    setText(row.querySelector(".more"), kind.more ? `and ${kind.more} more` : "");
  }

  #showResource(mark, resource) {
    const held = resource.state === "reserved" && resource.time_left_ms !== undefined;
    if (held) {
      const known = this.#held.get(mark);
      const whole = known && mark.dataset.order === resource.order ? known.whole : resource.time_left_ms;
      this.#held.set(mark, { ends: performance.now() + resource.time_left_ms, whole });
    } else {
      this.#held.delete(mark);
      setText(mark, "");
    }
    if (mark.dataset.state !== resource.state) mark.dataset.state = resource.state;
    mark.dataset.order = resource.order ?? "";
    const whom = resource.order ? ` for ${resource.order}` : "";
    mark.title = `${resource.id}: ${resource.state}${whom}`;
    mark.setAttribute("aria-label", mark.title);
  }
}

function newService(service) {
  return element("section", { className: "service" },
    element("h3", {}, `${service.name[0].toUpperCase()}${service.name.slice(1)}`, element("span", { className: "state" })),
    element("ul", { className: "kinds" }));
}

function newKind(kind) {
  return element("li", { className: "kind" },
    element("span", { className: "name" }, kind.kind), element("span", { className: "counts" }),
    element("ul", { className: "marks" }), element("span", { className: "more" }));
}
