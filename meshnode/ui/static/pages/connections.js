/** Live connections of the proxies of this agent: who talks to whom now, and who was just refused. */

import { h, link, name, shown } from "../core/dom.js";
import { bytes, duration, serviceOf } from "../core/format.js";
import { graph } from "../parts/graph.js";
import { badge, empty, pairs, panel } from "../parts/states.js";
import { table } from "../parts/table.js";

const ABOUT =
  "What the proxies of this agent's node report: open connections with the rule that let them in, and what was " +
  "refused. Other nodes: open their own page.";
/** Seconds between two looks; the ledger can't be waited for. */
const INTERVAL = 2;
/** Seconds for which a refusal is shown on the graph. */
const FLASH = 15;

/** The live connections. */
export function connections(view) {
  const drawing = graph({ title: "Live connections" });
  const live = liveTable();
  const refused = refusedTable();
  const closed = closedTable();
  const proxies = h("div");
  const known = { bytes: new Map(), at: 0 };
  const whole = h(
    "div",
    {},
    drawing.element,
    panel("Open", live.element),
    panel("Refused", refused.element),
    panel("Closed", closed.element),
    panel("Proxies", proxies),
  );
  view.page(
    "Connections",
    { about: ABOUT },
    view.polled(
      "/v1/agent/connect/connections",
      INTERVAL,
      (found) => {
        const rows = rated(found.Connections, known);
        drawing.show([], links(rows, found.Refused));
        live.show(rows);
        refused.show([...found.Refused].sort((a, b) => a.Ago - b.Ago));
        closed.show([...found.Closed].sort((a, b) => a.EndedAgo - b.EndedAgo));
        proxies.replaceChildren(
          found.Proxies.length ? h("div", { class: "cards" }, found.Proxies.map(card)) : none(),
        );
        return whole;
      },
      { label: "connections" },
    ),
  );
}

function none() {
  return empty(
    "No proxy reports to this agent.",
    "Register a service with a sidecar and start it: ",
    h("code", {}, "meshnode connect proxy -sidecar-for NAME"),
  );
}

/** The rows with bytes a second since the last look. */
function rated(rows, known) {
  const now = performance.now() / 1000;
  const passed = known.at ? now - known.at : 0;
  const before = known.bytes;
  known.bytes = new Map(rows.map((row) => [keyOf(row), row.BytesIn + row.BytesOut]));
  known.at = now;
  return rows.map((row) => {
    const last = before.get(keyOf(row));
    const rate = last === undefined || !passed ? null : (row.BytesIn + row.BytesOut - last) / passed;
    return { ...row, rate: rate === null ? null : Math.max(0, Math.round(rate)) };
  });
}

function keyOf(row) {
  return `${row.ProxyID}\n${row.ID}\n${row.Direction ?? ""}`;
}

/** One link for each pair of services, as wide as there are connections; refusals on top. */
function links(rows, refused) {
  const found = new Map();
  for (const row of rows) {
    const [from, to] = [serviceOf(row.Source), serviceOf(row.Destination)];
    const id = JSON.stringify([from, to]);
    const one = found.get(id) ?? { from, to, tone: "good", sides: {} };
    const side = (one.sides[row.Direction] ??= { count: 0, rate: 0 });
    side.count += 1;
    side.rate += row.rate ?? 0;
    found.set(id, one);
  }
  const open = [...found.values()].map(({ from, to, tone, sides }) => {
    // Both ends on this node: each reports the same connections.
    const { count, rate } = Object.values(sides).reduce((a, b) => (a.count >= b.count ? a : b));
    const title = `${from} to ${to}: ${count} open, ${bytes(rate)}/s`;
    return { from, to, tone, title, width: Math.min(8, 1.5 + Math.log2(count)) };
  });
  const denied = new Map(
    refused
      .filter((row) => row.Ago < FLASH && row.Source)
      .map((row) => {
        const [from, to] = [serviceOf(row.Source), row.Service];
        return [
          JSON.stringify([from, to]),
          { from, to, tone: "bad", flash: true, title: `${from} to ${to}: refused, ${row.Because}` },
        ];
      }),
  );
  return [...open, ...denied.values()];
}

function service(identity) {
  const found = serviceOf(identity);
  return found ? link(["services", found], name(found)) : h("span", { class: "quiet" }, "unknown");
}

const COMMON = {
  id: { head: "ID", number: true, wide: true, sort: (row) => row.ID, cell: (row) => shown(row.ID) },
  source: { head: "Source", sort: (row) => serviceOf(row.Source), cell: (row) => service(row.Source) },
  because: {
    head: "Because",
    wide: true,
    cell: (row) => [row.Audited && [badge("audited", "fair"), " "], name(row.Because || row.Rule || "")],
  },
  peer: { head: "Peer", wide: true, cell: (row) => name(row.Peer) },
};

function liveTable() {
  return table({
    caption: "Open connections",
    key: keyOf,
    text: (row) =>
      `${row.ID} ${row.Source} ${row.Destination} ${row.Because} ${row.Peer} ${row.Serial} ${row.ProxyID}`,
    empty: () => empty("No connection is open.", "They appear here within two seconds."),
    columns: [
      COMMON.id,
      COMMON.source,
      {
        head: "Destination",
        sort: (row) => serviceOf(row.Destination),
        cell: (row) => service(row.Destination),
      },
      { head: "Direction", wide: true, cell: (row) => shown(row.Direction) },
      { head: "Age", number: true, sort: (row) => row.Age, cell: (row) => duration(row.Age) },
      {
        head: "Rate",
        number: true,
        sort: (row) => row.rate ?? -1,
        cell: (row) => (row.rate === null ? "–" : `${bytes(row.rate)}/s`),
      },
      {
        head: "In / out",
        number: true,
        wide: true,
        sort: (row) => row.BytesIn + row.BytesOut,
        cell: (row) => `${bytes(row.BytesIn)} / ${bytes(row.BytesOut)}`,
      },
      COMMON.because,
      COMMON.peer,
    ],
  });
}

function refusedTable() {
  return table({
    caption: "Refused connections",
    key: keyOf,
    text: (row) =>
      `${row.ID} ${row.Connection} ${row.Source} ${row.Service} ${row.Kind} ${row.Request} ${row.Because} ${row.Peer}`,
    empty: () => h("p", { class: "state quiet" }, "None was refused lately."),
    columns: [
      COMMON.id,
      COMMON.source,
      {
        head: "Destination",
        sort: (row) => row.Service,
        cell: (row) => link(["services", row.Service], name(row.Service)),
      },
      { head: "Kind", cell: (row) => badge(row.Kind || "refused", "bad") },
      { head: "Ago", number: true, sort: (row) => row.Ago, cell: (row) => duration(row.Ago) },
      {
        head: "Request",
        wide: true,
        cell: (row) =>
          name([row.Request, row.Connection && `on connection ${row.Connection}`].filter(Boolean).join(", ")),
      },
      COMMON.because,
      COMMON.peer,
    ],
  });
}

function closedTable() {
  return table({
    caption: "Closed connections",
    key: keyOf,
    text: (row) => `${row.ID} ${row.Source} ${row.Destination} ${row.CloseCause} ${row.Peer}`,
    empty: () => h("p", { class: "state quiet" }, "None was closed lately."),
    columns: [
      COMMON.id,
      COMMON.source,
      {
        head: "Destination",
        sort: (row) => serviceOf(row.Destination),
        cell: (row) => service(row.Destination),
      },
      {
        head: "Ended",
        number: true,
        sort: (row) => row.EndedAgo,
        cell: (row) => `${duration(row.EndedAgo)} ago`,
      },
      { head: "Lived", number: true, wide: true, sort: (row) => row.Age, cell: (row) => duration(row.Age) },
      { head: "Cause", cell: (row) => name(row.CloseCause) },
      {
        head: "In / out",
        number: true,
        wide: true,
        cell: (row) => `${bytes(row.BytesIn)} / ${bytes(row.BytesOut)}`,
      },
    ],
  });
}

function card(proxy) {
  const counters = Object.entries(proxy.Counters)
    .map(([key, value]) => `${shown(key)} ${value}`)
    .join(" · ");
  return h(
    "section",
    { class: "card" },
    h("h3", {}, name(proxy.ProxyID)),
    pairs([
      ["Service", link(["services", proxy.Service], name(proxy.Service))],
      ["Identity", name(proxy.Identity)],
      ["Certificate", h("code", {}, shown(proxy.Serial))],
      [
        "Listeners",
        h(
          "ul",
          { class: "bare" },
          proxy.Listeners.map((one) =>
            h(
              "li",
              {},
              name(`${one.Name} ${one.Address}`),
              one.Serial === proxy.Serial
                ? ""
                : h("span", { class: "quiet" }, ` presents ${shown(one.Serial)}`),
            ),
          ),
        ),
      ],
      ["Last report", `${duration(proxy.Age)} ago`],
      ["Counters", counters],
      ["Not listed", proxy.Omitted ? `${proxy.Omitted} connections` : ""],
    ]),
  );
}
