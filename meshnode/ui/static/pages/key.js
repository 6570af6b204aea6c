/** One key: its value as text or as bytes, its flags, and what somebody else did to it meanwhile. */

import { ApiError, path, query } from "../core/api.js";
import { button, fill, h, place, shown } from "../core/dom.js";
import { bytes, fromBase64, plainText } from "../core/format.js";
import { valueEditor } from "../parts/value_editor.js";
import { failure, pairs, problem } from "../parts/states.js";
import { field } from "../parts/dialogs.js";
import { crumbs, removeKey } from "./keys.js";

/** Largest value that the agent takes. */
export const MAX_BYTES = 512 * 1024;
const MAX_FLAGS = 2n ** 64n - 1n;

/** The page of the key `wanted`. */
export function key(view, wanted) {
  const address = path`/v1/kv/${wanted}`;
  const notice = h("div", { role: "status" });
  const facts = h("div");
  const trouble = h("div");
  const editor = valueEditor({ changed: () => touched(), announce: (text) => view.announce(text) });
  const flags = h("input", { type: "text", inputMode: "numeric", autocomplete: "off", on: { input: () => touched() } });
  const save = h("button", { type: "submit", class: "primary" }, "Save");
  const remove = button("Delete", deleted, { class: "danger" });
  const state = { known: undefined, dirty: false, saving: false };

  const inner = h(
    "form",
    { class: "editor", noValidate: true, on: { submit: saved } },
    notice,
    editor.element,
    field("Flags", flags, "A whole number from 0 to 2⁶⁴−1, for programs."),
    trouble,
    h("div", { class: "buttons" }, save, remove),
    facts,
  );
  view.unsaved = () => (state.dirty ? "The value was changed and not saved. Leave it?" : "");
  view.page(wanted, { about: crumbs(wanted) }, view.live(address, (rows) => {
    received(rows?.[0] ?? null);
    return inner;
  }, { label: "the key", missing: true, explain: (error) => denied(error) }));

  function denied(error) {
    // What was typed is not thrown away because the right to read went away.
    if (!state.dirty) return null;
    fill(notice, failure(error, { askToken: view.askToken }));
    return inner;
  }

  function touched() {
    state.dirty = true;
    save.disabled = false;
  }

  /** `row` is the key as it is now, `null` when there is none. */
  function received(row) {
    const before = state.known;
    const same = before !== undefined && before?.ModifyIndex === row?.ModifyIndex;
    // While it is saved, the answer to that tells what became of it.
    if (same || state.saving) return;
    if (state.dirty) conflict(row);
    else take(row, before !== undefined);
  }

  function take(row, told = false) {
    state.known = row;
    state.dirty = false;
    fill(notice, row ? "" : h("p", { class: "note" }, "There is no such key yet: saving makes it."));
    fill(trouble);
    editor.set(row ? fromBase64(row.Value) : new Uint8Array());
    flags.value = row ? String(row.Flags) : "0";
    remove.hidden = !row;
    save.textContent = row ? "Save" : "Create";
    describe(row);
    if (told) view.announce("Somebody changed this key: the new value is shown.");
  }

  function describe(row) {
    fill(facts, row && pairs([
      ["Size", bytes(fromBase64(row.Value).length)],
      ["Created at index", row.CreateIndex],
      ["Changed at index", row.ModifyIndex],
      ["Lock", row.Session ? h("code", {}, shown(row.Session)) : row.LockIndex ? `free, held ${row.LockIndex} times` : ""],
    ]));
  }

  /** Somebody else was faster: both versions are kept until one is chosen. */
  function conflict(row) {
    const theirs = row ? plainText(fromBase64(row.Value)) ?? `${bytes(fromBase64(row.Value).length)} that are no text` : "";
    const use = button("Show theirs", () => take(row));
    const keep = button("Keep mine, to save over theirs", () => {
      state.known = row;
      fill(notice, h("p", { class: "note" }, "Your value is kept: saving replaces theirs."));
      describe(row);
    });
    fill(notice, h(
      "div",
      { class: "conflict" },
      h("p", { class: "title" }, row ? "Somebody changed this key while you did" : "Somebody deleted this key while you changed it"),
      row && h("details", {}, h("summary", {}, `Their value (index ${row.ModifyIndex})`), h("pre", { tabIndex: 0, "aria-label": "Their value" }, theirs.slice(0, 4000))),
      h("div", { class: "buttons" }, use, keep),
    ));
    view.announce("Somebody else changed this key. Choose which value to keep.");
  }

  async function saved(event) {
    event.preventDefault();
    fill(trouble);
    try {
      state.saving = true;
      save.disabled = true;
      const content = await editor.get();
      if (content.length > MAX_BYTES) throw new ApiError(413, `The value has ${bytes(content.length)}: at most ${bytes(MAX_BYTES)} fit`);
      const target = query(address, { cas: state.known?.ModifyIndex ?? 0, flags: flagsOf(flags.value) });
      const { value } = await view.call(target, { method: "PUT", body: content });
      const now = await view.call(address, { missing: true });
      if (value === true) {
        take(now.value?.[0] ?? null);
        view.announce("Saved.");
        fill(notice, h("p", { class: "note good" }, "Saved."));
      } else conflict(now.value?.[0] ?? null);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fill(trouble, problem(error));
    } finally {
      state.saving = false;
      save.disabled = false;
    }
  }

  async function deleted() {
    if (await removeKey(view, wanted, state.known.ModifyIndex)) {
      state.dirty = false;
      view.announce("The key was deleted.");
      location.hash = place("kv", ...folder(wanted));
    }
  }
}

function folder(whole) {
  const end = whole.lastIndexOf("/", whole.length - 2);
  return end < 0 ? [] : [whole.slice(0, end + 1)];
}

function flagsOf(text) {
  const written = text.trim() || "0";
  if (!/^\d{1,20}$/.test(written) || BigInt(written) > MAX_FLAGS) {
    throw new ApiError(400, `Flags: "${written.slice(0, 40)}" is no whole number from 0 to ${MAX_FLAGS}`);
  }
  return written;
}
