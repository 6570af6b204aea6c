/** All services. */

import { h, link, name } from "../core/dom.js";
import { badge, empty } from "../parts/states.js";
import { table, tags } from "../parts/table.js";

/** The list of services. */
export function services(view) {
  const list = table({
    caption: "Services",
    key: (row) => row.Name,
    text: (row) => `${row.Name} ${(row.Tags ?? []).join(" ")} ${row.Nodes.join(" ")}`,
    empty: () =>
      empty(
        "No services can be seen.",
        "Register one with ",
        h("code", {}, "meshnode services register"),
        " or in the agent's configuration. If access control is on, use a token that may read services.",
      ),
    columns: [
      {
        head: "Service",
        sort: (row) => row.Name.toLowerCase(),
        cell: (row) => [
          link(["services", row.Name], name(row.Name)),
          row.Kind && h("span", { class: "quiet" }, " proxy"),
        ],
      },
      {
        head: "Health",
        sort: (row) => -row.ChecksCritical * 1e6 - row.ChecksWarning,
        cell: (row) => state(row),
      },
      { head: "Instances", number: true, sort: (row) => row.Nodes.length, cell: (row) => row.Nodes.length },
      { head: "Tags", wide: true, cell: (row) => tags(row.Tags) },
      { head: "Nodes", wide: true, cell: (row) => tags([...new Set(row.Nodes)], 3) },
    ],
  });
  view.page(
    "Services",
    { about: "Every service of the catalog, with the worst of its checks." },
    view.live("/v1/internal/ui/services", (rows) => list.show(rows), { label: "services" }),
  );
}

function state(row) {
  if (row.ChecksCritical) return [badge("critical"), ` ${row.ChecksCritical} of ${total(row)}`];
  if (row.ChecksWarning) return [badge("warning"), ` ${row.ChecksWarning} of ${total(row)}`];
  return total(row) ? badge("passing") : badge("no checks", "quiet");
}

function total(row) {
  return row.ChecksPassing + row.ChecksWarning + row.ChecksCritical;
}
