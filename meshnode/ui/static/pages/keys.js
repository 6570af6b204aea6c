/** The keys under a prefix, folder by folder. */

import { ApiError, path, query } from "../core/api.js";
import { button, h, link, name, place, shown } from "../core/dom.js";
import { confirm, field, form } from "../parts/dialogs.js";
import { empty } from "../parts/states.js";
import { table } from "../parts/table.js";

/** The folder `prefix`: empty, or a text that ends with a slash. */
export function keys(view, prefix = "") {
  const list = table({
    caption: "Keys",
    key: (row) => row.key,
    text: (row) => row.key.slice(prefix.length),
    empty: () =>
      empty(
        prefix ? "There is nothing under this prefix." : "There are no keys that you may see.",
        "Make one with New key, or with ",
        h("code", {}, "meshnode kv put"),
        ". If access control is on, use a token that may read keys.",
      ),
    columns: [
      { head: "Name", sort: (row) => row.key.toLowerCase(), cell: (row) => entry(row.key, prefix) },
      { head: "Kind", cell: (row) => (row.key.endsWith("/") && row.key !== prefix ? "folder" : "key") },
    ],
  });
  const actions = [
    button("New key", () => create(prefix), { class: "primary" }),
    prefix && button("Delete all under it", () => remove(view, prefix), { class: "danger" }),
  ];
  view.page(
    "Key/Value",
    { about: crumbs(prefix), actions },
    view.live(
      query(path`/v1/kv/${prefix}`, { keys: true, separator: "/" }),
      (found) => list.show((found ?? []).map((one) => ({ key: one }))),
      { label: "keys", missing: true },
    ),
  );
}

/** Where a key or a folder is: each folder on the way is a link. */
export function crumbs(whole) {
  const parts = whole.split("/");
  const folders = parts.slice(0, -1).map((part, at) => [part, `${parts.slice(0, at + 1).join("/")}/`]);
  return h("span", { class: "crumbs" }, [
    link(["kv"], "all keys"),
    ...folders.flatMap(([part, prefix]) => [" / ", link(["kv", prefix], name(part || "(empty)"))]),
    ...(parts.at(-1) ? [" / ", name(parts.at(-1))] : []),
  ]);
}

function entry(key, prefix) {
  if (key === prefix) return link(["key", key], h("em", {}, "the key of this name itself"));
  const rest = key.slice(prefix.length);
  return link([key.endsWith("/") ? "kv" : "key", key], name(rest));
}

async function create(prefix) {
  const input = h("input", { type: "text", value: prefix, autocomplete: "off", spellcheck: false });
  let made = "";
  const done = await form({
    title: "New key",
    content: field("Key", input, "Slashes make folders. The value is written on the next page."),
    action: "Go on",
    submit: async () => {
      made = input.value;
      if (!made) throw new ApiError(400, "Write the name of a key");
      path`/v1/kv/${made}`;
    },
  });
  if (done) location.hash = place("key", made);
}

async function remove(view, prefix) {
  const address = path`/v1/kv/${prefix}`;
  const input = h("input", { type: "text", autocomplete: "off", spellcheck: false });
  const done = await form({
    title: "Delete all under this prefix?",
    content: h(
      "div",
      {},
      h("p", {}, "Every key that begins with ", name(prefix), " is gone at once, for everybody."),
      field("Write the prefix to confirm", input),
    ),
    action: "Delete all",
    danger: true,
    submit: async () => {
      if (input.value !== prefix) throw new ApiError(400, `Write ${shown(prefix)} to confirm`);
      await view.call(query(address, { recurse: true }), { method: "DELETE" });
    },
  });
  if (done) {
    view.announce("The keys were deleted.");
    location.hash = place("kv");
  }
}

/** Ask, and delete the key at `index`; somebody's later change keeps it. */
export function removeKey(view, key, index) {
  return confirm({
    title: "Delete the key?",
    text: h("span", {}, name(key), " is gone at once, for everybody."),
    action: "Delete",
    submit: async () => {
      const { value } = await view.call(query(path`/v1/kv/${key}`, { cas: index }), { method: "DELETE" });
      if (value !== true)
        throw new ApiError(409, "Somebody changed this key meanwhile: cancel, and look at it first");
    },
  });
}
