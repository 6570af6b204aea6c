/**
 * Tables of any length: rows are drawn as they come into sight, kept while they are the same, filtered and sorted.
 */

import { button, fill, h, shown } from "../core/dom.js";

/** Rows that are drawn at once. */
const STEP = 100;
let tables = 0;

/**
 * A table. `columns`: `{head, cell(row), sort(row)?, wide?, number?}`; `wide` ones are left out on narrow screens.
 * `key(row)` names a row for good, `text(row)` is what the filter looks at (without it there is no filter), `empty`
 * makes what stands there when there is no row. `show(rows)` draws.
 */
export function table({ caption, columns, key, text, empty }) {
  tables += 1;
  const state = { rows: [], order: null, drawn: STEP, known: new Map(), wanted: "" };
  const body = h("tbody");
  const status = h("p", { class: "count", role: "status" });
  const more = button("Show more rows", () => grow(), { hidden: true });
  const input = h("input", {
    type: "search",
    id: `filter${tables}`,
    placeholder: "Filter",
    autocomplete: "off",
    spellcheck: false,
    on: { input: () => filtered() },
  });
  const heads = columns.map((column) => head(column));
  const element = h(
    "table",
    {},
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, heads.map((one) => one.cell))),
    body,
  );
  const filter = text && h("label", { for: input.id, class: "filter" }, h("span", { class: "unseen" }, `Filter ${caption}`), input);
  const frame = h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": caption }, element);
  const whole = h("div", { class: "listing" }, h("div", { class: "tools" }, filter, status), frame, more);
  const nothing = h("div");
  const outer = h("div", {}, whole, nothing);
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && grow()).observe(more);

  function head(column) {
    const props = { scope: "col", class: classes(column) };
    if (!column.sort) return { column, cell: h("th", props, column.head) };
    const one = { column, cell: null };
    one.cell = h("th", props, button(column.head, () => ordered(one), { class: "sort" }));
    return one;
  }

  function ordered(one) {
    const down = state.order?.one === one && !state.order.down;
    state.order = { one, down };
    for (const other of heads) other.cell.removeAttribute("aria-sort");
    one.cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    draw();
  }

  function filtered() {
    state.wanted = input.value.trim().toLowerCase();
    state.drawn = STEP;
    draw();
  }

  function grow() {
    state.drawn += STEP;
    draw();
  }

  function draw() {
    let rows = state.rows;
    if (state.wanted) rows = rows.filter((row) => text(row).toLowerCase().includes(state.wanted));
    if (state.order) rows = sorted(rows, state.order);
    const drawn = rows.slice(0, state.drawn).map((row) => element_of(row));
    if (drawn.length !== body.children.length || drawn.some((tr, at) => body.children[at] !== tr)) {
      fill(body, drawn);
    }
    more.hidden = rows.length <= state.drawn;
    const all = state.rows.length;
    status.textContent = rows.length === all ? `${all} in all` : `${rows.length} of ${all}`;
    whole.hidden = all === 0;
    fill(nothing, all === 0 ? empty() : rows.length === 0 && h("p", { class: "state quiet" }, "Nothing fits the filter."));
  }

  function element_of(row) {
    const name = key(row);
    const content = JSON.stringify(row);
    const known = state.known.get(name);
    if (known?.content === content) return known.tr;
    const tr = h("tr", {}, columns.map((column) => h("td", { class: classes(column) }, column.cell(row))));
    state.known.set(name, { content, tr });
    return tr;
  }

  /** Draw `rows`; those that are gone are forgotten. */
  function show(rows) {
    state.rows = rows;
    const alive = new Set(rows.map(key));
    for (const name of state.known.keys()) if (!alive.has(name)) state.known.delete(name);
    draw();
    return outer;
  }

  return { element: outer, show };
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
  const first = items.slice(0, most).map((item) => h("span", { class: "tag" }, h("bdi", {}, shown(item))));
  return h("span", { class: "tags" }, first, items.length > most && `and ${items.length - most} more`);
}
