/** One node: its services, its checks, its part in gossip, and its certificates where it is this agent's. */

import { path } from "../core/api.js";
import { fill, h, link, name, shown } from "../core/dom.js";
import { badge, empty, pairs, panel } from "../parts/states.js";
import { table, tags } from "../parts/table.js";
import { STATES } from "./nodes.js";
import { certificates, worst } from "./overview.js";
import { checks } from "./service.js";

/** The page of the node `wanted`. */
export function node(view, wanted) {
  const services = table({
    caption: "Services of the node",
    key: (row) => row.service.ID,
    text: (row) => `${row.service.ID} ${row.service.Service}`,
    empty: () => empty("No service runs here.", "None is registered, or your token may not read them."),
    columns: [
      {
        head: "Service",
        sort: (row) => row.service.Service,
        cell: (row) => link(["services", row.service.Service], name(row.service.Service)),
      },
      {
        head: "Health",
        sort: (row) => worst(row.checks),
        cell: (row) =>
          badge(row.checks.length ? worst(row.checks) : "no checks", row.checks.length ? undefined : "quiet"),
      },
      { head: "ID", wide: true, cell: (row) => name(row.service.ID) },
      { head: "Port", number: true, cell: (row) => row.service.Port },
      { head: "Tags", wide: true, cell: (row) => tags(row.service.Tags) },
    ],
  });
  const certificatesHere = h("div");
  view.described.then(() => fill(certificatesHere, ownCertificates(view, wanted)));
  view.page(
    wanted,
    { about: link(["nodes"], "All nodes") },
    view.live(path`/v1/internal/ui/node/${wanted}`, (row) => row && whole(row, services), {
      label: "the node",
      missing: false,
      explain: gone,
    }),
    panel(
      "Gossip",
      view.polled("/v1/agent/members", 10, (members) => gossip(members, wanted), { label: "gossip" }),
    ),
    panel("Certificates", certificatesHere),
  );
}

function ownCertificates(view, wanted) {
  if (view.agent.Config?.NodeName === wanted) {
    return view.polled("/v1/agent/certs", 60, certificates, { label: "certificates" });
  }
  return h(
    "p",
    { class: "quiet" },
    "A node shows its certificates itself: open the page of its own agent, or run ",
    h("code", {}, "meshnode certs"),
    " there.",
  );
}

function gone(error) {
  return (
    error.status === 404 &&
    empty(
      "The catalog has no such node.",
      "It left, or your token may not read it. ",
      link(["nodes"], "All nodes"),
    )
  );
}

function whole(row, services) {
  const rows = row.Services.map((service) => ({
    service,
    checks: row.Checks.filter((check) => check.ServiceID === service.ID),
  }));
  return h(
    "div",
    {},
    panel(
      "Node",
      pairs([
        ["Health", badge(worst(row.Checks))],
        ["Address", name(row.Address)],
        ["ID", h("code", {}, shown(row.ID))],
        ...Object.entries(row.TaggedAddresses ?? {}).map(([kind, address]) => [
          `Address ${shown(kind)}`,
          name(address),
        ]),
        ...Object.entries(row.Meta ?? {}).map(([key, value]) => [name(key), name(value)]),
      ]),
    ),
    panel("Checks", checks(row.Checks)),
    panel("Services", services.show(rows)),
  );
}

function gossip(members, wanted) {
  const member = members.find((one) => one.Name === wanted);
  if (!member)
    return h(
      "p",
      { class: "quiet" },
      "This agent's gossip doesn't know the node: it was registered by hand, or is of another pool.",
    );
  const wanted_tags = Object.entries(member.Tags).sort(([a], [b]) => (a < b ? -1 : 1));
  return pairs([
    ["State", badge(STATES[member.Status] ?? "none")],
    ["Address", name(`${member.Addr}:${member.Port}`)],
    ["Protocol", `${member.ProtocolCur} of ${member.ProtocolMin} to ${member.ProtocolMax}`],
    ...wanted_tags.map(([key, value]) => [name(key), name(value)]),
  ]);
}
