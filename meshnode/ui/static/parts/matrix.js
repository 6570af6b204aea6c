/** A matrix of services: each cell says what is decided about a pair, in a sign, a colour and words. */

import { button, fill, h, name, shown } from "../core/dom.js";

/** Rows and columns that are drawn at once; the filters and the buttons lead to the others. */
const SIDE = 24;
const CELLS = {
  allow: ["✓", "good", "allowed"],
  deny: ["✕", "bad", "denied"],
  request: ["◐", "fair", "depends on the request"],
  audit: ["◌", "fair", "let through, although it would be denied: the intention only audits"],
  default: ["?", "plain", "by the default"],
};

/**
 * `decide(source, destination)` gives `{state, intention, exact}`; `chosen(source, destination)` is called for a cell.
 * `show(names)` draws; `setDefault({Allowed, Reason})` tells what decides where nothing fits.
 */
export function matrix({ decide, chosen }) {
  const state = { names: [], standard: null, source: axis("source"), destination: axis("destination") };
  const scroll = h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Matrix of services" });
  const legend = h("p", { class: "legend quiet" });
  const element = h("div", { class: "matrix" }, h("div", { class: "tools" }, state.source.element, state.destination.element), scroll, legend);

  function axis(word) {
    const one = { at: 0, wanted: "" };
    const input = h("input", {
      type: "search",
      placeholder: `Filter by ${word}`,
      "aria-label": `Filter by ${word}`,
      autocomplete: "off",
      on: { input: () => {
        one.wanted = input.value.trim().toLowerCase();
        one.at = 0;
        draw();
      } },
    });
    const step = (by) => () => {
      one.at += by;
      draw();
    };
    one.before = button("‹", step(-SIDE), { "aria-label": `Earlier names, ${word}` });
    one.after = button("›", step(SIDE), { "aria-label": `Later names, ${word}` });
    one.status = h("span", { class: "quiet" });
    one.element = h("span", { class: "axis" }, input, one.before, one.status, one.after);
    return one;
  }

  function visible(one) {
    const fitting = state.names.filter((text) => text.toLowerCase().includes(one.wanted));
    one.at = Math.max(0, Math.min(one.at, fitting.length - 1));
    const part = fitting.slice(one.at, one.at + SIDE);
    one.before.disabled = one.at === 0;
    one.after.disabled = one.at + SIDE >= fitting.length;
    one.status.textContent = part.length ? `${one.at + 1}–${one.at + part.length} of ${fitting.length}` : "none fits";
    return part;
  }

  function draw() {
    const focused = scroll.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    const [rows, columns] = [visible(state.source), visible(state.destination)];
    const head = h("tr", {}, h("th", { scope: "col", class: "corner" }, "from ↓ to →"), columns.map((to) => h("th", { scope: "col" }, h("div", {}, label(to)))));
    fill(scroll, h(
      "table",
      {},
      h("caption", { class: "unseen" }, "Sources in rows, destinations in columns"),
      h("thead", {}, head),
      h("tbody", {}, rows.map((from) => h("tr", {}, h("th", { scope: "row" }, label(from)), columns.map((to) => h("td", {}, cell(from, to)))))),
    ));
    const again = focused && [...scroll.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === focused);
    again?.focus();
  }

  function cell(from, to) {
    const found = decide(from, to);
    let kind = found.state;
    if (kind === "default" && state.standard) kind = state.standard.Allowed ? "allow" : "deny";
    const [sign, tone, words] = CELLS[kind];
    const because = found.intention ? (found.exact ? "by its own intention" : "by a wider intention") : "by the default";
    const text = `${shown(from)} to ${shown(to)}: ${words}, ${because}`;
    const props = { class: `cell ${tone} ${found.exact ? "exact" : "wide-rule"}`, "aria-label": text, title: text };
    return button(sign, () => chosen(from, to), props);
  }

  function label(text) {
    return text === "*" ? "any (*)" : name(text);
  }

  function setDefault(standard) {
    state.standard = standard;
    const word = standard.Allowed ? "allowed" : "denied";
    legend.textContent = `Filled: an intention names both. Outlined: a wider one, or the default, which is ${word} (${shown(standard.Reason)}).`;
  }

  function show(found) {
    state.names = found;
    draw();
    return element;
  }

  return { element, show, setDefault };
}
