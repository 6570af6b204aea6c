/** What runs, who leads, and what is about to end. */

import { fill, h, link, name, shown } from "../core/dom.js";
import { count, daysLeft, moment } from "../core/format.js";
import { badge, figure, pairs, panel } from "../parts/states.js";
import { proofInShort } from "./proof.js";

/** Days before its end at which a certificate is shown as a concern. */
const SOON = 7;

/** The overview. */
export function overview(view) {
  view.page(
    "Overview",
    { about: "What runs, who leads, and what is about to end." },
    panel("Health", view.live("/v1/internal/ui/nodes", health, { label: "nodes and services" })),
    h(
      "div",
      { class: "columns" },
      panel("Servers", view.polled("/v1/operator/autopilot/health", 15, servers, { label: "servers" })),
      panel("This agent", view.polled("/v1/agent/self", 30, thisAgent, { label: "the agent" })),
    ),
    panel("Is every wire encrypted?", proofInShort(view)),
    panel(
      "Certificates of this node",
      view.polled("/v1/agent/certs", 60, certificates, { label: "certificates" }),
    ),
  );
}

/** Worst state of checks. */
export function worst(checks) {
  const states = checks.map((check) => check.Status);
  return ["critical", "warning"].find((state) => states.includes(state)) ?? "passing";
}

function health(nodes) {
  const states = nodes.map((node) => worst(node.Checks.filter((check) => !check.ServiceName)));
  const services = new Set(nodes.flatMap((node) => node.Services.map((service) => service.Service)));
  const checks = nodes.flatMap((node) => node.Checks);
  const bad = checks.filter((check) => check.Status !== "passing");
  const failing = states.filter((state) => state === "critical").length;
  const figures = h(
    "dl",
    { class: "figures" },
    figure(
      "Nodes",
      link(["nodes"], count(nodes.length, "node")),
      failing ? `${failing} failing` : "all well",
      failing ? "bad" : "good",
    ),
    figure("Services", link(["services"], count(services.size, "service")), ""),
    figure(
      "Checks",
      count(checks.length, "check"),
      bad.length ? `${bad.length} not passing` : "all passing",
      bad.length ? "bad" : "good",
    ),
  );
  return h(
    "div",
    {},
    figures,
    bad.length
      ? troubles(bad)
      : nodes.length === 0 &&
          h(
            "p",
            { class: "quiet" },
            "No node can be seen. If access control is on, use a token that may read nodes.",
          ),
  );
}

function troubles(bad) {
  const first = [...bad].sort((a, b) => (a.Status < b.Status ? -1 : 1)).slice(0, 12);
  return h(
    "div",
    {},
    h("h3", {}, "Not passing"),
    h(
      "ul",
      { class: "bare" },
      first.map((check) =>
        h(
          "li",
          {},
          badge(check.Status),
          " ",
          check.ServiceName
            ? link(["services", check.ServiceName], name(check.ServiceName))
            : name(check.Name),
          " on ",
          link(["nodes", check.Node], name(check.Node)),
          check.Output && h("span", { class: "quiet" }, `: ${shown(check.Output.slice(0, 160))}`),
        ),
      ),
    ),
    bad.length > first.length &&
      h("p", { class: "quiet" }, `and ${bad.length - first.length} more: see the nodes`),
  );
}

function servers(health) {
  const rows = health.Servers.map((server) =>
    h(
      "tr",
      {},
      h(
        "td",
        {},
        link(["nodes", server.Name], name(server.Name)),
        server.Leader && h("strong", {}, " leader"),
      ),
      h("td", {}, badge(server.Healthy ? "passing" : "critical", server.Healthy ? "good" : "bad")),
      h("td", {}, server.Voter ? "votes" : "no vote"),
      h("td", { class: "wide" }, shown(server.Address)),
    ),
  );
  return h(
    "div",
    {},
    h(
      "p",
      {},
      badge(health.Healthy ? "healthy" : "not healthy", health.Healthy ? "good" : "bad"),
      ` ${count(health.FailureTolerance, "server")} may fail without an outage.`,
    ),
    h(
      "div",
      { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Servers" },
      h(
        "table",
        {},
        h("caption", { class: "unseen" }, "Servers"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Server", "Health", "Vote"].map((head) => h("th", { scope: "col" }, head)),
            h("th", { scope: "col", class: "wide" }, "Address"),
          ),
        ),
        h("tbody", {}, rows),
      ),
    ),
  );
}

function thisAgent(agent) {
  const keys = agent.Meshnode.GossipKeyFingerprints;
  const engine = agent.DebugConfig.state_log?.engine;
  return pairs([
    ["Node", link(["nodes", agent.Config.NodeName], name(agent.Config.NodeName))],
    ["Datacenter", name(agent.Config.Datacenter)],
    ["Role", agent.Config.Server ? "server" : "client"],
    ["Version", shown(`${agent.Meshnode.Version} (Consul ${agent.Config.Version})`)],
    ["Leader", shown(agent.Stats.consul?.leader_addr ?? "")],
    ["State", engine === "etcd" ? "replicated by etcd" : agent.Config.Server ? "SQLite on one server" : ""],
    [
      "Gossip key",
      keys.length ? keys.map((key) => h("code", {}, `${shown(key)} `)) : badge("not encrypted", "bad"),
    ],
    [
      "Key phase",
      keys.length > 1
        ? `rotation: ${keys.length} keys are known, the first is used`
        : keys.length
          ? "one key"
          : "",
    ],
    [
      "Access control",
      agent.DebugConfig.acls?.enabled
        ? `on, by default ${shown(agent.DebugConfig.acls.default_policy)}`
        : "off",
    ],
    ["Mutual TLS of servers", agent.DebugConfig.tls?.verify_incoming_rpc ? "required" : "not required"],
  ]);
}

/** The certificates of a node as a list, with the days that are left. */
export function certificates(rows, region) {
  if (!rows.length) {
    return h(
      "p",
      { class: "quiet" },
      "None: this agent speaks without TLS. Set cert_file and key_file to change that.",
    );
  }
  const list = h(
    "ul",
    { class: "bare" },
    rows.map((row) => {
      const tone = row.DaysLeft < 0 ? "bad" : row.DaysLeft < SOON ? "fair" : "good";
      return h(
        "li",
        {},
        badge(daysLeft(row.DaysLeft), tone),
        ` ${shown(row.Kind)} `,
        name(row.Name),
        h(
          "span",
          { class: "quiet" },
          " until ",
          moment(row.NotAfter),
          row.Serial && ` · serial ${shown(row.Serial).slice(0, 47)}`,
        ),
      );
    }),
  );
  fill(region, list);
  return null;
}
