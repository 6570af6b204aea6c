/** Is every wire encrypted? The latest verdict of `meshnode prove`, as the key of the KV store says it. */

import { fill, h, link, name, shown } from "../core/dom.js";
import { bytes, count, duration, fromBase64, moment } from "../core/format.js";
import { badge, empty, figure, pairs, panel } from "../parts/states.js";
import { table } from "../parts/table.js";

const ADDRESS = "/v1/kv/meshnode/proof/latest";
const SCHEMA = "meshnode.proof/1";
/** Seconds after which a verdict says little about today. */
const OLD = 86_400;

const OUTCOMES = {
  proved: ["proved", "good", "Everything that was seen on the wire is encrypted, and no canary can be read."],
  failed: ["failed", "bad", "Something could be read, or could not be judged."],
  void: ["void", "fair", "This run proves nothing, in neither direction."],
};
/** From the worst to the best. */
const LEVELS = {
  plaintext: ["✕", "bad"],
  unknown: ["?", "bad"],
  encrypted: ["✓", "good"],
  "encrypted and authenticated": ["✓", "good"],
};
const JUDGEMENTS = { encrypted: "good", plaintext: "bad", unknown: "bad", unopened: "fair", silent: "quiet" };

/** The proof. */
export function proof(view) {
  const verdict = h("div", {});
  view.page(
    "Proof",
    { about: "What was seen on the wire when this mesh was last captured, and judged." },
    view.live(ADDRESS, (found) => draw(view, found, verdict), { label: "the proof", missing: true }),
  );
}

/** A line for the overview. */
export function proofInShort(view) {
  return view.polled(
    ADDRESS,
    60,
    (found) => {
      const said = read(found);
      if (said.problem) return h("p", {}, badge("unreadable", "bad"), ` ${said.problem}`);
      if (said.none) return h("p", { class: "quiet" }, "Nothing has been proved yet. ", more());
      const [word, tone] = outcomeOf(said.summary);
      return h("p", {}, badge(word, tone), " captured ", moment(said.summary.captured_at), ". ", more());
    },
    { label: "the proof", missing: true },
  );
}

function more() {
  return link(["proof"], "See the proof");
}

/** `{summary}`, or `none`, or a `problem`: whoever may write the key may have written anything. */
function read(found) {
  if (found === null || !found.length) return { none: true };
  let summary;
  try {
    summary = JSON.parse(new TextDecoder().decode(fromBase64(found[0].Value)));
  } catch {
    return { problem: "The key meshnode/proof/latest holds no JSON: run the proof again to replace it." };
  }
  if (summary?.schema !== SCHEMA) {
    const schema = shown(String(summary?.schema ?? "none").slice(0, 60));
    return {
      problem: `The key meshnode/proof/latest is of another form (${schema}), this page reads ${SCHEMA}.`,
    };
  }
  return { summary };
}

function draw(view, found, region) {
  const said = read(found);
  if (said.none) {
    fill(
      region,
      empty(
        "Nothing has been proved yet.",
        "In the lab, ",
        h("code", {}, "make prove"),
        " captures every port of every node while it plants canaries, judges the packets, and leaves the verdict here. ",
        "By hand: ",
        h("code", {}, "meshnode prove -summary-file proof.json CAPTURE"),
        ", then ",
        h("code", {}, "meshnode kv put meshnode/proof/latest @proof.json"),
        ".",
      ),
    );
  } else if (said.problem) fill(region, empty("This proof can't be read.", said.problem));
  else fill(region, report(view, said.summary));
  return region;
}

function report(view, summary) {
  const [word, tone, meaning] = outcomeOf(summary);
  const age = (Date.now() - new Date(summary.captured_at).getTime()) / 1000;
  const ports = list(summary.ports);
  const since = h("p", {});
  view.listen("/v1/catalog/nodes", (nodes) => fill(since, newcomers(summary, nodes)), { seconds: 30 });
  return [
    h(
      "dl",
      { class: "figures" },
      figure("Verdict", word, meaning, tone),
      figure(
        "Captured",
        moment(summary.captured_at),
        age > OLD ? `${duration(age)} ago: capture it again` : `${duration(age)} ago`,
        age > OLD ? "bad" : "plain",
      ),
      figure("Canaries", number(summary.canaries), "words planted in the traffic"),
      control(summary.control),
    ),
    summary.at_sockets === true &&
      h("p", {}, badge("at sockets", "fair"), " Seen at the programs' sockets: weaker evidence than the wire."),
    h(
      "ul",
      {},
      list(summary.reasons).map((reason) => h("li", {}, shown(reason))),
    ),
    since,
    panel("Ports", portTable().show(ports)),
    panel("Pairs of nodes", pairTable(summary), leftOut(summary)),
    panel("Evidence", evidence(summary)),
  ];
}

function outcomeOf(summary) {
  return Object.hasOwn(OUTCOMES, summary.outcome)
    ? OUTCOMES[summary.outcome]
    : [String(summary.outcome), "bad", "This page doesn't know such a verdict."];
}

function control(found) {
  if (!found) return figure("Negative control", "none", "nobody has shown that a leak would be found", "bad");
  const good = found.outcome === "proved";
  return figure(
    "Negative control",
    good ? "found every canary" : shown(found.outcome),
    "the same run on a twin in clear",
    good ? "good" : "bad",
  );
}

/** Nodes that are in the mesh now, and in no row of the proof. */
function newcomers(summary, nodes) {
  const seen = new Set(list(summary.rows).flatMap((row) => [row.source, row.destination]));
  const missing = nodes.filter((node) => !seen.has(node.Address));
  if (!seen.size || !missing.length) return [];
  return [
    badge("not in this proof", "fair"),
    " ",
    missing.slice(0, 12).map((node) => [link(["nodes", node.Node], name(node.Node)), " "]),
    missing.length > 12 && `and ${count(missing.length - 12, "node")} more`,
  ];
}

function portTable() {
  return table({
    caption: "Ports",
    key: (row) => row.port,
    text: (row) => `${row.port} ${row.judgement} ${list(row.seen).join(" ")}`,
    empty: () => h("p", { class: "quiet" }, "No port was watched."),
    columns: [
      { head: "Port", sort: (row) => number(row.port), cell: (row) => shown(row.port) },
      {
        head: "Judgement",
        sort: (row) => String(row.judgement),
        cell: (row) => badge(row.judgement, JUDGEMENTS[row.judgement] ?? "bad"),
      },
      {
        head: "Read",
        number: true,
        cell: (row) => (number(row.canaries) ? badge(`${number(row.canaries)} canaries`, "bad") : "none"),
      },
      { head: "In the control", number: true, cell: (row) => shown(row.control_canaries ?? "–") },
      {
        head: "Packets",
        number: true,
        wide: true,
        sort: (row) => number(row.packets),
        cell: (row) => number(row.packets).toLocaleString(),
      },
      {
        head: "Payload",
        number: true,
        wide: true,
        cell: (row) => [
          bytes(number(row.payload_bytes)),
          number(row.missing_bytes) > 0 && `, ${bytes(number(row.missing_bytes))} not captured`,
        ],
      },
      { head: "Seen", wide: true, cell: (row) => shown(list(row.seen).join("; ")) },
    ],
  });
}

/** Rows are pairs of nodes, columns are ports. */
function pairTable(summary) {
  const rows = list(summary.rows);
  const names = summary.nodes ?? {};
  const named = (address) => (Object.hasOwn(names, address) ? String(names[address]) : String(address));
  const columns = [...new Set(rows.map((row) => number(row.port)))].sort((a, b) => a - b);
  const found = new Map();
  for (const row of rows) {
    const key = JSON.stringify([row.source, row.destination]);
    const pair = found.get(key) ?? { key, from: named(row.source), to: named(row.destination), ports: {} };
    found.set(key, pair);
    const before = pair.ports[number(row.port)];
    pair.ports[number(row.port)] = before && rank(before) <= rank(row.level) ? before : String(row.level);
  }
  const pairsOf = [...found.values()];
  const listing = table({
    caption: "Pairs of nodes by port",
    key: (pair) => pair.key,
    text: (pair) => `${pair.from} ${pair.to} ${Object.values(pair.ports).join(" ")}`,
    empty: () => h("p", { class: "quiet" }, "No pair of nodes was seen."),
    columns: [
      { head: "From", sort: (pair) => pair.from, cell: (pair) => name(pair.from) },
      { head: "To", sort: (pair) => pair.to, cell: (pair) => name(pair.to) },
      ...columns.map((port) => ({ head: String(port), cell: (pair) => level(pair.ports[port]) })),
    ],
  });
  return listing.show(pairsOf);
}

function level(word) {
  if (word === undefined) return h("span", { class: "quiet" }, "–");
  const [sign, tone] = LEVELS[word] ?? ["?", "bad"];
  return h(
    "span",
    { class: `badge ${tone}`, title: shown(word) },
    h("span", { "aria-hidden": "true" }, sign),
    h("span", { class: "unseen" }, shown(word)),
  );
}

function rank(word) {
  const at = Object.keys(LEVELS).indexOf(word);
  return at < 0 ? 1 : at;
}

function leftOut(summary) {
  const left = number(summary.rows_left_out);
  return [
    h("p", { class: "quiet" }, "✓ encrypted, ✕ in clear, ? could not be judged, which counts as failed, – silent."),
    left > 0 && h("p", {}, `${count(left, "row")} more, none worse than these, are in the document of the bundle.`),
  ];
}

function evidence(summary) {
  const bundle = summary.bundle;
  return [
    pairs([
      ["Judged", moment(summary.judged_at)],
      ["Gossip keys tried", list(summary.gossip_keys).map((key) => h("code", {}, `${shown(key)} `))],
      ["Bundle", bundle ? name(bundle.file) : "none was kept"],
      ["Digest of its manifest", bundle ? h("code", {}, shown(bundle.manifest_sha256)) : ""],
    ]),
    bundle &&
      h(
        "p",
        { class: "quiet" },
        "Judge it again on another machine: ",
        h("code", {}, `meshnode prove -verify ${shown(bundle.file)}`),
        " gives the same verdict, and notices a changed byte.",
      ),
  ];
}

function list(value) {
  return Array.isArray(value) ? value.filter((item) => item !== null && item !== undefined) : [];
}

function number(value) {
  return Number.isFinite(value) ? value : 0;
}
