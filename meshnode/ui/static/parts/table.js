/**
 * Tables of any length: rows are drawn as they come into sight, kept while they are the same, filtered and sorted.
 */

import { button, fill, h, shown } from "../core/dom.js";

/** Rows that are drawn at once. */
const STEP = 100;
let tables = 0;

/**
 * A table. `columns`: `{head, cell(row), sort(row)?, wide?, number?}`; `wide` ones are left out on narrow screens.
 * `key(row)` names a row for good, `text(row)` is what the filter looks at, `empty` makes what stands there when there
 * is no row. `show(rows)` draws and returns `element`.
 */
export function table(options) {
  return new Table(options);
}

class Table {
  #options;
  #rows = [];
  #limit = STEP;
  #wanted = "";
  #order = null;
  /** Key of a row -> its element, and what it was drawn from. */
  #known = new Map();
  #body = h("tbody");
  #status = h("p", { class: "count", role: "status" });
  #more = button("Show more rows", () => this.#grow(), { hidden: true });
  #nothing = h("div");
  #heads;
  #whole;

  constructor(options) {
    this.#options = options;
    this.#heads = options.columns.map((column) => this.#head(column));
    this.#whole = this.#listing();
    this.element = h("div", {}, this.#whole, this.#nothing);
    const seen = (entries) => entries.some((one) => one.isIntersecting) && this.#grow();
    new IntersectionObserver(seen).observe(this.#more);
  }

  /** Draw `rows`; those that are gone are forgotten. */
  show(rows) {
    this.#rows = rows;
    const alive = new Set(rows.map(this.#options.key));
    for (const name of this.#known.keys()) if (!alive.has(name)) this.#known.delete(name);
    this.#draw();
    return this.element;
  }

  #listing() {
    const { caption } = this.#options;
    tables += 1;
    const input = h("input", {
      type: "search",
      id: `filter${tables}`,
      placeholder: "Filter",
      autocomplete: "off",
      spellcheck: false,
      on: { input: () => this.#filter(input.value) },
    });
    const label = h("label", { for: input.id }, h("span", { class: "unseen" }, `Filter ${caption}`), input);
    const heads = h("tr", {}, ...this.#heads.map((one) => one.cell));
    const title = h("caption", { class: "unseen" }, caption);
    const element = h("table", {}, title, h("thead", {}, heads), this.#body);
    const frame = h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": caption }, element);
    return h(
      "div",
      { class: "listing" },
      h("div", { class: "tools" }, label, this.#status),
      frame,
      this.#more,
    );
  }

  #head(column) {
    const one = { column, cell: h("th", { scope: "col", class: classes(column) }) };
    const sort = () => this.#sort(one);
    fill(one.cell, column.sort ? button(column.head, sort, { class: "sort" }) : column.head);
    return one;
  }

  #sort(one) {
    const down = this.#order?.one === one && !this.#order.down;
    this.#order = { one, down };
    for (const other of this.#heads) other.cell.removeAttribute("aria-sort");
    one.cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    this.#draw();
  }

  #filter(text) {
    this.#wanted = text.trim().toLowerCase();
    this.#limit = STEP;
    this.#draw();
  }

  #grow() {
    this.#limit += STEP;
    this.#draw();
  }

  #draw() {
    const { empty, text } = this.#options;
    const all = this.#rows.length;
    let rows = this.#rows;
    if (this.#wanted) rows = rows.filter((row) => text(row).toLowerCase().includes(this.#wanted));
    if (this.#order) rows = sorted(rows, this.#order);
    const drawn = rows.slice(0, this.#limit).map((row) => this.#row(row));
    const same = drawn.length === this.#body.children.length;
    if (!same || drawn.some((tr, at) => this.#body.children[at] !== tr)) fill(this.#body, drawn);
    this.#more.hidden = rows.length <= this.#limit;
    this.#status.textContent = rows.length === all ? `${all} in all` : `${rows.length} of ${all}`;
    this.#whole.hidden = all === 0;
    const none = rows.length === 0 && h("p", { class: "state quiet" }, "Nothing fits the filter.");
    fill(this.#nothing, all === 0 ? empty() : none);
  }

  #row(row) {
    const name = this.#options.key(row);
    const content = JSON.stringify(row);
    const known = this.#known.get(name);
    if (known?.content === content) return known.tr;
    const cells = this.#options.columns.map((one) => h("td", { class: classes(one) }, one.cell(row)));
    const tr = h("tr", {}, cells);
    this.#known.set(name, { content, tr });
    return tr;
  }
}

function classes(column) {
  return [column.wide && "wide", column.number && "number"].filter(Boolean).join(" ");
}

function sorted(rows, { one, down }) {
  const compared = rows.map((row) => [one.column.sort(row), row]);
  compared.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const found = compared.map(([, row]) => row);
  return down ? found.reverse() : found;
}

/** A plain list of tags or the like, at most `most`, and how many more there are. */
export function tags(items, most = 6) {
  items ??= [];
  const first = items.slice(0, most).map((item) => h("span", { class: "tag" }, h("bdi", {}, shown(item))));
  return h("span", { class: "tags" }, first, items.length > most && `and ${items.length - most} more`);
}
