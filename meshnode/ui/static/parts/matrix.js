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
const WAYS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/**
 * `decide(source, destination)` gives `{state, intention, exact}`; `chosen(source, destination)` is called for a cell.
 * `show(names)` draws and returns `element`; `setDefault({Allowed, Reason})` tells what decides where nothing fits.
 */
export function matrix(options) {
  return new Matrix(options);
}

class Matrix {
  #decide;
  #chosen;
  #names = [];
  #standard = null;
  /** The cell that the Tab key leads to; the arrow keys lead to the others. */
  #current = "";
  #sources = new Axis("source", () => this.#draw());
  #destinations = new Axis("destination", () => this.#draw());
  #legend = h("p", { class: "legend quiet" });
  #scroll = h("div", {
    class: "scroll",
    tabIndex: 0,
    role: "region",
    "aria-label": "Matrix of services",
    on: { keydown: (event) => this.#moved(event), focusin: (event) => this.#entered(event.target) },
  });

  constructor({ decide, chosen }) {
    this.#decide = decide;
    this.#chosen = chosen;
    const tools = h("div", { class: "tools" }, this.#sources.element, this.#destinations.element);
    this.element = h("div", { class: "matrix" }, tools, this.#scroll, this.#legend);
  }

  setDefault(standard) {
    this.#standard = standard;
    const word = standard.Allowed ? "allowed" : "denied";
    fill(
      this.#legend,
      "Filled: an intention names both. Outlined: a wider one, or the default, which is ",
      `${word} (${shown(standard.Reason)}). ◐ depends on the HTTP request, ◌ only audits. `,
      "Arrow keys lead from cell to cell.",
    );
  }

  show(names) {
    this.#names = names;
    this.#draw();
    return this.element;
  }

  #draw() {
    const focused = this.#scroll.contains(document.activeElement) && document.activeElement.dataset.pair;
    const [rows, columns] = [this.#sources.part(this.#names), this.#destinations.part(this.#names)];
    const corner = h("th", { scope: "col", class: "corner" }, "from ↓ to →");
    const heads = columns.map((to) => h("th", { scope: "col" }, h("div", { title: shown(to) }, label(to))));
    const body = rows.map((from) => {
      const head = h("th", { scope: "row", title: shown(from) }, label(from));
      return h("tr", {}, head, ...columns.map((to) => h("td", {}, this.#cell(from, to))));
    });
    const caption = h("caption", { class: "unseen" }, "Sources in rows, destinations in columns");
    fill(
      this.#scroll,
      h("table", {}, caption, h("thead", {}, h("tr", {}, corner, heads)), h("tbody", {}, body)),
    );
    const cells = [...this.#scroll.querySelectorAll("button")];
    const again = cells.find((one) => one.dataset.pair === this.#current) ?? cells[0];
    if (again) again.tabIndex = 0;
    if (focused) again?.focus();
  }

  #cell(from, to) {
    const { state, intention, exact } = this.#decide(from, to);
    const standard = this.#standard && (this.#standard.Allowed ? "allow" : "deny");
    const [sign, tone, words] = CELLS[state === "default" && standard ? standard : state];
    const because = !intention ? "by the default" : exact ? "by its own intention" : "by a wider intention";
    const text = `${shown(from)} to ${shown(to)}: ${words}, ${because}`;
    return button(sign, () => this.#chosen(from, to), {
      class: `cell ${tone} ${exact ? "exact" : "wide-rule"}`,
      "aria-label": text,
      title: text,
      tabIndex: -1,
      data: { pair: JSON.stringify([from, to]) },
    });
  }

  #entered(cell) {
    if (!cell.dataset.pair) return;
    const before = this.#scroll.querySelector('button[tabindex="0"]');
    if (before) before.tabIndex = -1;
    cell.tabIndex = 0;
    this.#current = cell.dataset.pair;
  }

  #moved(event) {
    const way = WAYS[event.key];
    const td = event.target.closest("td");
    if (!way || !td) return;
    event.preventDefault();
    const rows = [...this.#scroll.querySelectorAll("tbody tr")];
    const row = rows[rows.indexOf(td.parentElement) + way[0]];
    row?.cells[td.cellIndex + way[1]]?.querySelector("button")?.focus();
  }
}

/** One side: which names fit its filter, and which of them are drawn. */
class Axis {
  #at = 0;
  #wanted = "";
  #status = h("span", { class: "quiet" });

  constructor(word, changed) {
    const step = (by) => () => {
      this.#at += by;
      changed();
    };
    this.input = h("input", {
      type: "search",
      placeholder: `Filter by ${word}`,
      "aria-label": `Filter by ${word}`,
      autocomplete: "off",
      on: {
        input: () => {
          this.#wanted = this.input.value.trim().toLowerCase();
          this.#at = 0;
          changed();
        },
      },
    });
    this.before = button("‹", step(-SIDE), { "aria-label": `Earlier names, ${word}` });
    this.after = button("›", step(SIDE), { "aria-label": `Later names, ${word}` });
    this.element = h("span", { class: "axis" }, this.input, this.before, this.#status, this.after);
  }

  /** Those of `names` that are drawn. */
  part(names) {
    const fitting = names.filter((text) => text.toLowerCase().includes(this.#wanted));
    const at = Math.max(0, Math.min(this.#at, fitting.length - 1));
    const found = fitting.slice(at, at + SIDE);
    this.#at = at;
    this.before.disabled = at === 0;
    this.after.disabled = at + SIDE >= fitting.length;
    const text = found.length ? `${at + 1}–${at + found.length} of ${fitting.length}` : "none fits";
    this.#status.textContent = text;
    return found;
  }
}

function label(text) {
  return text === "*" ? "any (*)" : name(text);
}
