/** Making, changing and deleting an intention. */

import { ApiError, path } from "../core/api.js";
import { h, shown } from "../core/dom.js";
import { check, choice, confirm, field, form } from "../parts/dialogs.js";
import { destinationOf, sourceOf, stateOf } from "../parts/rules.js";

const ACTIONS = [
  ["allow", "allow"],
  ["deny", "deny"],
  ["request", "decide by HTTP request"],
];
const EXAMPLE = '[{"Action": "allow", "HTTP": {"PathPrefix": "/v1", "Methods": ["GET"]}}]';

/** The dialog for `known`, or for a new one (`null`) that begins with `fresh`. Resolves to whether it was saved. */
export async function editIntention(view, known, services, fresh = {}) {
  const start = known ?? { SourceName: "", DestinationName: "", Action: "deny", Description: "", ...fresh };
  const text = (value, more) =>
    h("input", { type: "text", value, autocomplete: "off", spellcheck: false, ...more });
  const offered = h(
    "datalist",
    { id: "form-services" },
    services.slice(0, 500).map((value) => h("option", { value })),
  );
  const source = text(sourceOf(start), { list: "form-services" });
  const destination = text(destinationOf(start), { list: "form-services" });
  const action = choice(ACTIONS, start.Permissions?.length ? "request" : start.Action);
  const description = text(start.Description ?? "", { maxLength: 512 });
  const audit = check("Audit only", Boolean(start.Audit), "What it would deny is let through, and reported.");
  const rules = h("textarea", {
    rows: 5,
    spellcheck: false,
    value: start.Permissions?.length ? JSON.stringify(start.Permissions, null, 2) : "",
  });
  const permissions = field(
    "Permissions",
    rules,
    `In JSON, the first that fits decides, for a destination whose protocol is http. For example ${EXAMPLE}`,
  );
  const look = () => {
    permissions.hidden = action.value !== "request";
  };
  action.addEventListener("change", look);
  look();
  const content = h(
    "div",
    {},
    field("Source", source, "A service, or * for any."),
    field("Destination", destination, "A service, or * for any."),
    field("Action", action),
    permissions,
    field("Description", description),
    audit.element,
    offered,
  );
  const saved = await form({
    title: known ? "Change the intention" : "New intention",
    content,
    action: known ? "Save" : "Create",
    submit: async () => {
      const ends = { ...end("Source", source.value), ...end("Destination", destination.value) };
      const shownHere = { Description: description.value, Audit: audit.control.checked };
      await save(view, known, {
        ...kept(start),
        ...ends,
        ...shownHere,
        ...decision(action.value, rules.value),
      });
    },
  });
  if (saved) view.announce(known ? "The intention was saved." : "The intention was created.");
  return saved;
}

async function save(view, known, body) {
  if (!known) return view.call("/v1/connect/intentions", { method: "POST", body });
  await unchanged(view, known);
  return view.call(path`/v1/connect/intentions/${known.ID}`, { method: "PUT", body });
}

/** Ask, and delete `known`. */
export async function removeIntention(view, known) {
  const done = await confirm({
    title: "Delete the intention?",
    text: [
      `${shown(sourceOf(known))} to ${shown(destinationOf(known))} (${stateOf(known)}). Another intention, or the `,
      "default, decides from then on; connections that are denied by it are cut.",
    ],
    action: "Delete",
    submit: async () => {
      await unchanged(view, known);
      await view.call(path`/v1/connect/intentions/${known.ID}`, { method: "DELETE" });
    },
  });
  if (done) view.announce("The intention was deleted.");
  return done;
}

/** Two people may have the same one open: the second must see what the first did. */
async function unchanged(view, known) {
  const { value } = await view.call(path`/v1/connect/intentions/${known.ID}`, { missing: true });
  if (!value)
    throw new ApiError(409, "Somebody deleted this intention meanwhile: cancel, and make a new one");
  if (value.ModifyIndex !== known.ModifyIndex) {
    throw new ApiError(
      409,
      `Somebody changed this intention meanwhile (now ${stateOf(value)}): cancel, and open it again`,
    );
  }
}

function kept({ Meta, DefaultAddr, DefaultPort }) {
  return {
    SourceType: "consul",
    Meta: Meta ?? {},
    DefaultAddr: DefaultAddr ?? "",
    DefaultPort: DefaultPort ?? 0,
  };
}

function end(side, written) {
  const text = written.trim();
  const slash = text.indexOf("/");
  return slash < 0
    ? { [`${side}NS`]: "default", [`${side}Name`]: text }
    : { [`${side}NS`]: text.slice(0, slash), [`${side}Name`]: text.slice(slash + 1) };
}

function decision(action, rules) {
  if (action !== "request") return { Action: action, Permissions: [] };
  let permissions;
  try {
    permissions = JSON.parse(rules);
  } catch (error) {
    throw new ApiError(400, `Permissions are not JSON: ${error.message}`);
  }
  if (!Array.isArray(permissions) || !permissions.length) {
    throw new ApiError(400, `Permissions: write a list with at least one, such as ${EXAMPLE}`);
  }
  return { Action: "", Permissions: permissions };
}
