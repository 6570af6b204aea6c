/** User events that this agent has seen, newest first, and firing one. */

import { ApiError, path, query } from "../core/api.js";
import { button, h, name } from "../core/dom.js";
import { bytes, fromBase64, hexdump, plainText } from "../core/format.js";
import { field, form } from "../parts/dialogs.js";
import { empty } from "../parts/states.js";
import { table } from "../parts/table.js";

/** The events. */
export function events(view) {
  const list = table({
    caption: "Events",
    key: (row) => row.ID,
    text: (row) => `${row.Name} ${row.ID}`,
    empty: () =>
      empty(
        "This agent has seen no events that you may see.",
        "Fire one with Fire an event, or with ",
        h("code", {}, "meshnode event -name=NAME"),
      ),
    columns: [
      { head: "Event", sort: (row) => row.Name.toLowerCase(), cell: (row) => name(row.Name) },
      { head: "Time (Lamport)", number: true, sort: (row) => row.LTime, cell: (row) => row.LTime },
      {
        head: "For",
        wide: true,
        cell: (row) =>
          name(
            ["NodeFilter", "ServiceFilter", "TagFilter"]
              .filter((one) => row[one])
              .map((one) => `${one.replace("Filter", "").toLowerCase()} ${row[one]}`)
              .join(", ") || "everybody",
          ),
      },
      { head: "Payload", cell: (row) => payload(row.Payload) },
    ],
  });
  view.page(
    "Events",
    {
      about: "User events that this agent has seen since it started, the last 256 of them.",
      actions: [button("Fire an event", () => fire(view), { class: "primary" })],
    },
    view.live("/v1/event/list", (rows) => list.show([...rows].reverse()), { label: "events" }),
  );
}

function payload(encoded) {
  if (!encoded) return h("span", { class: "quiet" }, "none");
  const content = fromBase64(encoded);
  const text = plainText(content);
  if (text !== null && text.length < 80) return name(text);
  return h(
    "details",
    {},
    h("summary", {}, bytes(content.length)),
    h("pre", { tabIndex: 0, "aria-label": "Payload" }, text ?? hexdump(content)),
  );
}

async function fire(view) {
  const input = (more = {}) => h("input", { type: "text", autocomplete: "off", spellcheck: false, ...more });
  const [called, carried, node, service, tag] = [
    input(),
    h("textarea", { rows: 3, spellcheck: false }),
    input(),
    input(),
    input(),
  ];
  const content = h(
    "div",
    {},
    field("Name", called),
    field("Payload", carried, "At most about 100 bytes: it travels in gossip."),
    h(
      "details",
      {},
      h("summary", {}, "Only for some nodes"),
      field("Nodes", node, "A regular expression."),
      field("Services", service, "A regular expression."),
      field("Tags", tag, "A regular expression; needs services."),
    ),
  );
  const done = await form({
    title: "Fire an event",
    content,
    action: "Fire",
    submit: async () => {
      if (!called.value.trim()) throw new ApiError(400, "Write the name of the event");
      const filters = {
        node: node.value || undefined,
        service: service.value || undefined,
        tag: tag.value || undefined,
      };
      await view.call(query(path`/v1/event/fire/${called.value.trim()}`, filters), {
        method: "PUT",
        body: new TextEncoder().encode(carried.value),
      });
    },
  });
  if (done) view.announce("The event was fired.");
}
