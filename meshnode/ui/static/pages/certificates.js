/** The mesh's certificate authority: its roots, a rotation in progress, and the certificates of this node. */

import { h, link, name, shown } from "../core/dom.js";
import { moment } from "../core/format.js";
import { badge, empty, pairs, panel } from "../parts/states.js";
import { table } from "../parts/table.js";
import { certificates as ownCertificates } from "./overview.js";

/** The phases of a rotation, in order, with what happens in each. */
const PHASES = [
  ["distribute", "every node learns the new root"],
  ["acknowledge", "every node says that it trusts it"],
  ["switch", "the new root signs"],
  ["reissue", "leaves of the old root are replaced"],
  ["retire", "the old root goes"],
];

/** Roots, rotation, certificates. */
export function certificates(view) {
  view.page(
    "Certificates",
    { about: "The authority that signs the identities of services, and what this node presents." },
    panel("Rotation", view.live("/v1/connect/ca/rotation", rotation, { label: "the rotation", explain })),
    panel("Roots", view.polled("/v1/connect/ca/roots", 15, roots, { label: "roots", explain })),
    panel(
      "Signing",
      view.polled("/v1/connect/ca/configuration", 60, configuration, { label: "the configuration", explain }),
    ),
    panel("This node", view.polled("/v1/agent/certs", 30, ownCertificates, { label: "certificates" })),
  );
}

function explain(error) {
  return (
    /Connect must be enabled/.test(error.message) &&
    empty(
      "Connect is off.",
      "Set ",
      h("code", {}, "connect { enabled = true }"),
      " on the servers, and start them again.",
    )
  );
}

function rotation(found) {
  const steps = h(
    "ol",
    { class: "steps" },
    PHASES.map(([phase, text], at) => {
      const now = PHASES.findIndex(([word]) => word === found.Phase);
      const state = now < 0 ? "" : at < now ? "done" : at === now ? "now" : "";
      return h(
        "li",
        { class: state, "aria-current": state === "now" ? "step" : null },
        h("strong", {}, phase),
        h("span", { class: "quiet" }, ` ${text}`),
      );
    }),
  );
  return h(
    "div",
    {},
    found.Phase
      ? h(
          "p",
          {},
          badge(found.Paused ? `paused in ${found.Phase}` : found.Phase, "fair"),
          " since ",
          moment(found.Since),
          ", begun ",
          moment(found.Started),
        )
      : h("p", {}, badge("no rotation runs", "good")),
    found.Phase && steps,
    found.Phase &&
      pairs([
        ["From root", h("code", {}, shown(found.OldRootID))],
        ["To root", h("code", {}, shown(found.NewRootID))],
      ]),
    trust(found),
  );
}

function trust(found) {
  const list = table({
    caption: "What each node trusts and uses",
    key: (row) => row.Node,
    text: (row) => row.Node,
    empty: () => h("p", { class: "quiet" }, "No node has reported yet which roots it trusts."),
    columns: [
      { head: "Node", sort: (row) => row.Node, cell: (row) => link(["nodes", row.Node], name(row.Node)) },
      {
        head: "Trusts",
        cell: (row) =>
          found.NewRootID
            ? badge(
                row.Roots.includes(found.NewRootID) ? "the new root" : "not the new root yet",
                row.Roots.includes(found.NewRootID) ? "good" : "fair",
              )
            : ids(row.Roots),
      },
      { head: "Leaves of", wide: true, cell: (row) => ids(row.LeafRoots) },
    ],
  });
  return list.show(found.Nodes);
}

function ids(roots) {
  return roots.length
    ? roots.map((root) => h("code", { title: shown(root) }, `${shown(root).slice(0, 11)} `))
    : h("span", { class: "quiet" }, "none");
}

function roots(found) {
  return h(
    "div",
    { class: "cards" },
    found.Roots.map((root) =>
      h(
        "section",
        { class: "card" },
        h(
          "h3",
          {},
          name(root.Name),
          " ",
          root.ID === found.ActiveRootID ? badge("signs", "good") : badge("trusted", "quiet"),
        ),
        pairs([
          ["Fingerprint", h("code", {}, shown(root.ID))],
          ["Serial", root.SerialNumber ? h("code", {}, shown(root.SerialNumber)) : ""],
          ["From", root.NotBefore ? moment(root.NotBefore) : ""],
          ["Until", root.NotAfter ? moment(root.NotAfter) : ""],
          ["Trust domain", name(found.TrustDomain)],
        ]),
        root.RootCert &&
          h(
            "details",
            {},
            h("summary", {}, "PEM"),
            h("pre", { tabIndex: 0, "aria-label": "PEM of the root" }, root.RootCert),
          ),
      ),
    ),
  );
}

function configuration(found) {
  return pairs([
    ["Provider", shown(found.Provider)],
    ...Object.entries(found.Config ?? {}).map(([key, value]) => [
      shown(key),
      name(typeof value === "string" ? value : JSON.stringify(value)),
    ]),
  ]);
}
