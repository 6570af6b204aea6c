/** Why a pair of services may talk, or may not. */

import { ApiError, query } from "../core/api.js";
import { button, fill, h, name, shown } from "../core/dom.js";
import { field, notice } from "../parts/dialogs.js";
import { decide, destinationOf, names, sourceOf } from "../parts/rules.js";
import { action, badge, failure, loading, pairs } from "../parts/states.js";
import { editIntention, removeIntention } from "./intention_form.js";

/** A form that asks about any pair; the answer, or why there is none, is given to `answered`. */
export function explainForm(view, known, answered) {
  const offered = h("datalist", { id: "offered-services" });
  const input = (text) =>
    h("input", {
      type: "text",
      autocomplete: "off",
      spellcheck: false,
      placeholder: text,
      list: "offered-services",
      required: true,
      on: {
        focus: () =>
          fill(
            offered,
            names(known.services, known.intentions ?? [])
              .slice(0, 500)
              .map((value) => h("option", { value })),
          ),
      },
    });
  const [source, destination] = [input("web"), input("db")];
  const method = h("input", { type: "text", placeholder: "GET", autocomplete: "off" });
  const path = h("input", { type: "text", placeholder: "/admin", autocomplete: "off", spellcheck: false });
  const header = h("input", {
    type: "text",
    placeholder: "x-role:admin",
    autocomplete: "off",
    spellcheck: false,
  });
  const ask = async (event) => {
    event.preventDefault();
    answered(loading("the answer"));
    answered(
      await explained(view, source.value.trim(), destination.value.trim(), {
        method: method.value.trim() || undefined,
        path: path.value.trim() || undefined,
        header: header.value.trim() || undefined,
      }),
    );
  };
  return h(
    "form",
    { noValidate: true, on: { submit: ask } },
    field("Source", source, "The service that connects; namespace/name for another namespace."),
    field("Destination", destination, "The service that is connected to."),
    h(
      "details",
      {},
      h("summary", {}, "About one HTTP request"),
      field("Method", method),
      field("Path", path),
      field("Header", header, "name:value"),
    ),
    offered,
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Explain")),
  );
}

/** Explain a pair in a dialog, from which its intention can be made, changed or deleted. */
export function explainPair(view, source, destination, known) {
  const body = h("div", { class: "explained" });
  const { intention, exact } = decide(known.intentions, source, destination);
  const fresh = { SourceName: source, DestinationName: destination };
  const acts = exact
    ? [
        button("Edit", () => editIntention(view, intention, known.services), { class: "primary" }),
        button("Delete", () => removeIntention(view, intention), { class: "danger" }),
      ]
    : [
        button("New intention for this pair", () => editIntention(view, null, known.services, fresh), {
          class: "primary",
        }),
      ];
  const done = notice({ title: `${shown(source)} → ${shown(destination)}`, content: body, actions: acts });
  if (source === "*" || destination === "*") {
    fill(
      body,
      h(
        "p",
        {},
        intention
          ? `About every service: ${shown(sourceOf(intention))} to ${shown(destinationOf(intention))} is what fits.`
          : "No intention is about every service here: the default decides.",
      ),
    );
  } else {
    fill(body, loading("the reason"));
    explained(view, source, destination).then((drawn) => fill(body, drawn));
  }
  return done;
}

async function explained(view, source, destination, request = {}) {
  try {
    const { value } = await view.call(
      query("/v1/connect/intentions/explain", { source, destination, ...request }),
    );
    return answer(value);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return failure(error, { askToken: view.askToken });
  }
}

function answer(found) {
  const candidates = found.Candidates.map((one) =>
    h(
      "li",
      { class: one.ID === found.IntentionID ? "decides" : "" },
      action(one),
      " ",
      name(`${sourceOf(one)} → ${destinationOf(one)}`),
      h("span", { class: "quiet" }, ` precedence ${one.Precedence}`),
      one.ID === found.IntentionID && h("strong", {}, " decides"),
    ),
  );
  return h(
    "div",
    {},
    h(
      "p",
      { class: "verdict" },
      badge(found.Allowed ? "allowed" : "denied"),
      " ",
      name(`${found.Source} → ${found.Destination}`),
    ),
    h("p", {}, shown(found.Reason)),
    pairs([
      ["Audited", found.Audited ? "yes: this connection would be counted as a hit" : ""],
      ["Permission", found.Permission ? h("code", {}, shown(JSON.stringify(found.Permission))) : ""],
      [
        "Where nothing fits",
        `${found.Default.Allowed ? "allowed" : "denied"}: ${shown(found.Default.Reason)}`,
      ],
    ]),
    candidates.length > 0 && h("h3", {}, "What fits, in the order it is looked at"),
    candidates.length > 0 && h("ol", { class: "bare" }, candidates),
  );
}
