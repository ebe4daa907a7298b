// The page: listens to the service's events and shows what they say.

import { element, setText, keep } from "./dom.js";
import { OrderForm } from "./form.js";
import { Stock } from "./stock.js";
import { Orders } from "./orders.js";
import { Breaks } from "./breaks.js";

const stock = new Stock(document.getElementById("stock"));
const form = new OrderForm();
const orders = new Orders(document.getElementById("orders"), (view) => form.askAgain(view));
const breaks = new Breaks(() => form.food);
const link = document.getElementById("link");

function showStock(message) {
  const services = message.services ?? [];
  stock.show(services);
  form.offer(services);
}

function showTotals(totals) {
  if (!totals) return;
  const reasons = Object.entries(totals.by_reason ?? {}).sort((a, b) => b[1] - a[1]);
  const items = [
    { kind: "placed", text: `${totals.placed} placed` },
    { kind: "not-placed", text: `${totals.not_placed} not placed` },
    ...reasons.map(([reason, count]) => ({ kind: "reason", text: `${count} ${reason.replaceAll("-", " ")}` })),
  ];
  if (totals.in_doubt > 0) items.push({ kind: "in-doubt", text: `${totals.in_doubt} in doubt` });
  keep(document.getElementById("totals"), items, (item) => item.kind + item.text.replace(/^\d+/, ""),
    (item) => element("li", { className: item.kind }), (li, item) => setText(li, item.text));
}

function listen() {
  const events = new EventSource("events");
  const on = (name, show) => events.addEventListener(name, (event) => show(JSON.parse(event.data)));
  events.onopen = () => showLink("live", "live");
  events.onerror = () => {
    showLink("broken", "not connected, trying again…");
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
  on("snapshot", (message) => {
    orders.replace(message.orders ?? []);
    showTotals(message.totals);
    showStock(message.stock ?? {});
    breaks.show(message.demo ? message.breaks ?? [] : []);
  });
  on("orders", (message) => {
    orders.upsert(message.orders ?? []);
    showTotals(message.totals);
  });
  on("stock", showStock);
  on("breaks", (message) => breaks.show(message.breaks ?? []));
}

function showLink(state, text) {
  link.dataset.state = state;
  setText(link, text);
}

listen();
setInterval(() => {
  stock.tick();
  breaks.tick();
}, 200);
