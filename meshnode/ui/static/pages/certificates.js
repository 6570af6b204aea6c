/** The mesh's certificate authority: its roots, a rotation in progress, and the certificates of this node. */

import { h, name, shown } from "../core/dom.js";
import { moment } from "../core/format.js";
import { badge, empty, pairs, panel } from "../parts/states.js";
import { certificates as ownCertificates } from "./overview.js";
import { rotationPanel } from "./rotation.js";

/** Roots, rotation, certificates. */
export function certificates(view) {
  view.page(
    "Certificates",
    { about: "The authority that signs the identities of services, and what this node presents." },
    rotationPanel(view, explain),
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
