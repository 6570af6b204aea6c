/** All nodes, as the catalog and as gossip see them. */

import { h, link, name } from "../core/dom.js";
import { badge, empty } from "../parts/states.js";
import { table } from "../parts/table.js";
import { worst } from "./overview.js";

const ABOUT =
  "Health is what the catalog knows, gossip what this agent hears; round trips are estimated from " +
  "coordinates, seen from this agent.";
/** Serf's states, by the numbers of the API. */
export const STATES = ["none", "alive", "leaving", "left", "failed"];

const LISTING = {
  caption: "Nodes",
  key: (row) => row.Node,
  text: (row) => `${row.Node} ${row.Address} ${row.gossip} ${row.role}`,
  empty: () => empty("No nodes can be seen.", "If access control is on, use a token that may read nodes."),
  columns: [
    {
      head: "Node",
      sort: (row) => row.Node.toLowerCase(),
      cell: (row) => [
        link(["nodes", row.Node], name(row.Node)),
        h("span", { class: "quiet" }, ` ${row.role}`),
      ],
    },
    { head: "Health", sort: (row) => row.health, cell: (row) => badge(row.health) },
    { head: "Gossip", sort: (row) => row.gossip, cell: (row) => badge(row.gossip) },
    { head: "Address", wide: true, sort: (row) => row.Address, cell: (row) => name(row.Address) },
    { head: "Services", number: true, sort: (row) => row.services, cell: (row) => row.services },
    {
      head: "Round trip",
      wide: true,
      number: true,
      sort: (row) => row.rtt ?? 1e9,
      cell: (row) => (row.rtt === null ? "–" : `${(row.rtt * 1000).toFixed(2)} ms`),
    },
  ],
};

/** The list of nodes. */
export function nodes(view) {
  let members = new Map();
  let coordinates = new Map();
  let rows = [];
  const draw = () => list.show(rows.map((row) => joined(row, members, coordinates, view)));
  const list = table(LISTING);
  view.page(
    "Nodes",
    { about: ABOUT },
    view.live(
      "/v1/internal/ui/nodes",
      (found) => {
        rows = found;
        return draw();
      },
      { label: "nodes" },
    ),
  );
  view.listen(
    "/v1/agent/members",
    (found) => {
      members = new Map(found.map((member) => [member.Name, member]));
      if (rows.length) draw();
    },
    { seconds: 10 },
  );
  view.listen(
    "/v1/coordinate/nodes",
    (found) => {
      coordinates = new Map(found.map((row) => [row.Node, row.Coord]));
      if (rows.length) draw();
    },
    { seconds: 30 },
  );
}

function joined(row, members, coordinates, view) {
  const member = members.get(row.Node);
  const role = member?.Tags.role === "consul" ? "server" : member ? "client" : "";
  return {
    Node: row.Node,
    Address: row.Address,
    services: row.Services.length,
    health: worst(row.Checks),
    gossip: member ? (STATES[member.Status] ?? "none") : members.size ? "not in gossip" : "unknown",
    role,
    rtt: roundTrip(coordinates.get(view.agent.Config?.NodeName), coordinates.get(row.Node)),
  };
}

/** Seconds of a round trip between two coordinates (Vivaldi, with Serf's height and adjustment); `null`: unknown. */
export function roundTrip(a, b) {
  if (!a || !b || a.Vec.length !== b.Vec.length) return null;
  const distance = Math.hypot(...a.Vec.map((value, at) => value - b.Vec[at])) + a.Height + b.Height;
  const adjusted = distance + a.Adjustment + b.Adjustment;
  return adjusted > 0 ? adjusted : distance;
}
