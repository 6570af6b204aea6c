/** A graph of services in SVG. What it shows is also in the table beside it, which is for everybody. */

import { fill, h, s, shown } from "../core/dom.js";

/** Services and links that are drawn; a drawing of more could not be read. */
export const MAX_NODES = 60;
export const MAX_LINKS = 300;
const STEPS = 150;
const WIDTH = 1000;
const HEIGHT = 560;
const MARGIN = 110;
/** The least height of a drawing; below it a drawing would be stretched out of shape. */
const MIN_HEIGHT = 240;

/**
 * Positions of `names` so that linked ones are near and none hide each other: forces in a fixed number of steps from a
 * fixed beginning, so the same graph always looks the same. `links` are `{from, to}`. Returns a map to `[x, y]`.
 */
export function layout(names, links) {
  const at = new Map(
    names.map((one, number) => {
      const angle = (2 * Math.PI * number) / names.length - Math.PI / 2;
      return [one, [WIDTH / 2 + 320 * Math.cos(angle), HEIGHT / 2 + 190 * Math.sin(angle)]];
    }),
  );
  const near = Math.min(190, Math.sqrt((WIDTH * HEIGHT) / Math.max(1, names.length)) * 0.8);
  for (let step = 0; step < STEPS; step += 1) {
    const moves = new Map(names.map((one) => [one, [0, 0]]));
    for (const one of names)
      for (const other of names) if (one !== other) push(at, moves.get(one), one, other, near);
    for (const { from, to } of links)
      if (from !== to && at.has(from) && at.has(to)) pull(at, moves, from, to, near);
    const most = 40 * (1 - step / STEPS);
    for (const one of names) {
      // A little towards the middle, so that who talks to nobody stays in sight.
      const [[x, y], by] = [at.get(one), moves.get(one)];
      by[0] += (WIDTH / 2 - x) / 60;
      by[1] += (HEIGHT / 2 - y) / 25;
      move(at.get(one), by, most);
    }
  }
  return at;
}

function push(at, by, one, other, near) {
  const [[x, y], [u, v]] = [at.get(one), at.get(other)];
  // Two in one spot are parted by their order; who is far away doesn't count, or all would end at the walls.
  const [dx, dy] = x === u && y === v ? [one < other ? -1 : 1, one < other ? -0.5 : 0.5] : [x - u, y - v];
  const distance = Math.max(1, Math.hypot(dx, dy));
  if (distance > near * 2.5) return;
  const force = (near * near) / (distance * distance);
  by[0] += (dx * force) / 2;
  by[1] += (dy * force) / 2;
}

function pull(at, moves, from, to, near) {
  const [[x, y], [u, v]] = [at.get(from), at.get(to)];
  const force = Math.hypot(x - u, y - v) / near / 8;
  moves.get(from)[0] += (u - x) * force;
  moves.get(from)[1] += (v - y) * force;
  moves.get(to)[0] += (x - u) * force;
  moves.get(to)[1] += (y - v) * force;
}

function move(position, by, most) {
  const length = Math.max(1, Math.hypot(...by));
  const scale = Math.min(length, most) / length;
  position[0] = Math.max(MARGIN, Math.min(WIDTH - MARGIN, position[0] + by[0] * scale));
  position[1] = Math.max(30, Math.min(HEIGHT - 30, position[1] + by[1] * scale));
}

/**
 * A drawing. `show(names, links)`: links are `{from, to, tone, title, flash?, width?}`, where an end that is no name
 * (such as `*`) becomes one. Positions are worked out anew only when names or ends of links change.
 */
export function graph({ title }) {
  const svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  const note = h("p", { class: "quiet" });
  const element = h("figure", { class: "graph" }, svg, h("figcaption", {}, note));
  const kept = { shape: "", at: new Map() };

  function show(names, links) {
    const drawn = links.slice(0, MAX_LINKS);
    // Linked ones first: who talks to nobody is the first to be left out.
    const ends = new Set(drawn.flatMap(({ from, to }) => [from, to]));
    const all = [...new Set([...ends, ...names])];
    const seen = all.slice(0, MAX_NODES).sort();
    const shape = JSON.stringify([seen, drawn.map(({ from, to }) => [from, to])]);
    if (shape !== kept.shape) {
      kept.shape = shape;
      kept.at = layout(seen, drawn);
    }
    const lines = drawn.filter(({ from, to }) => kept.at.has(from) && kept.at.has(to));
    svg.setAttribute("viewBox", frame([...kept.at.values()].map(([, y]) => y)));
    fill(
      svg,
      arrows(),
      lines.map((one) => line(one, kept.at)),
      seen.map((one) => dot(one, kept.at.get(one))),
    );
    svg.setAttribute(
      "aria-label",
      `${title}: ${seen.length} services and ${lines.length} links, listed in the table`,
    );
    const left = [
      all.length - seen.length && `${all.length - seen.length} services`,
      links.length - lines.length && `${links.length - lines.length} links`,
    ].filter(Boolean);
    note.textContent = left.length ? `Not drawn: ${left.join(" and ")}; the table has them all.` : "";
    element.hidden = seen.length === 0;
  }

  return { element, show };
}

/** The part of the plane that is shown: its whole width, and no more height than there is something on. */
function frame(heights) {
  const [top, bottom] = [Math.min(...heights) - 60, Math.max(...heights) + 50];
  const height = Math.max(MIN_HEIGHT, bottom - top);
  return heights.length
    ? `0 ${(top + bottom - height) / 2} ${WIDTH} ${height}`
    : `0 0 ${WIDTH} ${MIN_HEIGHT}`;
}

function arrows() {
  return s(
    "defs",
    {},
    ["good", "bad", "fair", "plain"].map((tone) =>
      s(
        "marker",
        {
          id: `arrow-${tone}`,
          viewBox: "0 0 10 10",
          refX: 10,
          refY: 5,
          markerWidth: 7,
          markerHeight: 7,
          orient: "auto-start-reverse",
        },
        s("path", { d: "M0 0 L10 5 L0 10 z", class: `tip ${tone}` }),
      ),
    ),
  );
}

function line({ from, to, tone, title, flash, width }, at) {
  const [[x, y], [u, v]] = [at.get(from), at.get(to)];
  const length = Math.max(1, Math.hypot(u - x, v - y));
  const [dx, dy] = [(u - x) / length, (v - y) / length];
  const d =
    from === to
      ? `M${x - 8} ${y - 10} C${x - 45} ${y - 60} ${x + 45} ${y - 60} ${x + 8} ${y - 10}`
      : // A little bent, so that both directions can be seen.
        `M${x + dx * 14} ${y + dy * 14} Q${(x + u) / 2 - dy * 24} ${(y + v) / 2 + dx * 24} ${u - dx * 15} ${v - dy * 15}`;
  const props = {
    d,
    class: `line ${tone}${flash ? " flash" : ""}`,
    "marker-end": `url(#arrow-${tone})`,
    "stroke-width": width ?? 2,
  };
  return s("path", props, s("title", {}, shown(title)));
}

function dot(one, [x, y]) {
  const text = one === "*" ? "any service" : shown(one);
  const short = text.length > 22 ? `${text.slice(0, 21)}…` : text;
  return s(
    "g",
    {},
    s("title", {}, text),
    s("circle", { cx: x, cy: y, r: 10, class: one === "*" ? "dot any" : "dot" }),
    s("text", { x, y: y + 26, "text-anchor": "middle" }, short),
  );
}
