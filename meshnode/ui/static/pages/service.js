/** One service: its instances, their checks, and who may talk to it. */

import { path } from "../core/api.js";
import { h, link, name, shown } from "../core/dom.js";
import { action, badge, empty, pairs, panel } from "../parts/states.js";
import { table, tags } from "../parts/table.js";
import { worst } from "./overview.js";

/** The page of the service `wanted`. */
export function service(view, wanted) {
  const list = table({
    caption: "Instances",
    key: (row) => `${row.Node.Node}\n${row.Service.ID}`,
    text: (row) => `${row.Service.ID} ${row.Node.Node} ${(row.Service.Tags ?? []).join(" ")}`,
    empty: () =>
      empty(
        "There is no instance.",
        "It was deregistered, or your token may not read it. ",
        link(["services"], "All services"),
      ),
    columns: [
      { head: "Instance", sort: (row) => row.Service.ID, cell: (row) => instance(row) },
      { head: "Health", sort: (row) => worst(row.Checks), cell: (row) => badge(worst(row.Checks)) },
      {
        head: "Node",
        sort: (row) => row.Node.Node,
        cell: (row) => link(["nodes", row.Node.Node], name(row.Node.Node)),
      },
      {
        head: "Address",
        wide: true,
        cell: (row) => name(`${row.Service.Address || row.Node.Address}:${row.Service.Port}`),
      },
      { head: "Tags", wide: true, cell: (row) => tags(row.Service.Tags) },
    ],
  });
  const children = [
    panel(
      "Instances",
      view.live(path`/v1/health/service/${wanted}`, (rows) => list.show(rows), { label: "instances" }),
    ),
  ];
  children.push(
    panel(
      "Who may talk to it",
      view.polled(
        `${path`/v1/connect/intentions/match?by=destination&name=${wanted}`}`,
        20,
        (found) => incoming(found[wanted] ?? []),
        { label: "intentions" },
      ),
    ),
  );
  view.page(
    wanted,
    { about: link(["services"], "All services"), actions: [link(["intentions"], "Intentions")] },
    ...children,
  );
}

function instance(row) {
  const more = h("details", {}, h("summary", {}, name(row.Service.ID)), details(row));
  return more;
}

function details(row) {
  const meta = Object.entries(row.Service.Meta ?? {});
  return h(
    "div",
    {},
    pairs([
      ["Address", shown(`${row.Service.Address || row.Node.Address}:${row.Service.Port}`)],
      ["Weights", `${row.Service.Weights.Passing} passing, ${row.Service.Weights.Warning} warning`],
      ["Proxy of", row.Service.ProxyDestination ? name(row.Service.ProxyDestination) : ""],
      ...meta.map(([key, value]) => [name(key), name(value)]),
    ]),
    checks(row.Checks),
  );
}

/** Checks with what they printed. */
export function checks(rows) {
  if (!rows.length) return h("p", { class: "quiet" }, "No checks.");
  return h(
    "ul",
    { class: "checks" },
    rows.map((check) =>
      h(
        "li",
        {},
        badge(check.Status),
        " ",
        name(check.Name || check.CheckID),
        check.Notes && h("span", { class: "quiet" }, ` ${shown(check.Notes)}`),
        check.Output &&
          h("pre", { tabIndex: 0, "aria-label": `Output of ${shown(check.Name)}` }, output(check.Output)),
      ),
    ),
  );
}

/** Output keeps its lines; the rest of what has no shape is written out. */
function output(text) {
  return text
    .split("\n")
    .map((line) => shown(line.replace(/\t/g, "    ")))
    .join("\n");
}

function incoming(rows) {
  if (!rows.length)
    return h(
      "p",
      { class: "quiet" },
      "No intention is about it: the default decides. ",
      link(["intentions"], "Make one"),
    );
  return h(
    "ol",
    { class: "bare" },
    rows.map((row) =>
      h(
        "li",
        {},
        action(row),
        " from ",
        row.SourceName === "*" ? "any service" : link(["services", row.SourceName], name(row.SourceName)),
        row.DestinationName === "*" && h("span", { class: "quiet" }, " to any service"),
        row.Description && h("span", { class: "quiet" }, ` · ${shown(row.Description)}`),
      ),
    ),
  );
}
