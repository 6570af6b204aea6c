/** One key: its value as text or as bytes, its flags, and what somebody else did to it meanwhile. */

import { ApiError, path, query } from "../core/api.js";
import { button, fill, h, place, shown } from "../core/dom.js";
import { bytes, fromBase64, plainText } from "../core/format.js";
import { field } from "../parts/dialogs.js";
import { failure, pairs, problem } from "../parts/states.js";
import { ValueEditor } from "../parts/value_editor.js";
import { crumbs, removeKey } from "./keys.js";

/** Largest value that the agent takes. */
export const MAX_BYTES = 512 * 1024;
const MAX_FLAGS = 2n ** 64n - 1n;
/** Characters of somebody else's value that a conflict shows. */
const MAX_SHOWN = 4000;

/** The page of the key `wanted`. */
export function key(view, wanted) {
  new KeyPage(view, wanted).open();
}

class KeyPage {
  #view;
  #key;
  #address;
  /** The key as it was when what is edited was read: `null` when there was none, `undefined` before that. */
  #known = undefined;
  #dirty = false;
  #saving = false;
  #notice = h("div", { role: "status" });
  #facts = h("div");
  #trouble = h("div");
  #save = h("button", { type: "submit", class: "primary" }, "Save");
  #remove = button("Delete", () => this.#delete(), { class: "danger" });
  #flags = h("input", {
    type: "text",
    inputMode: "numeric",
    autocomplete: "off",
    on: { input: () => this.#touch() },
  });
  #editor;
  #form;

  constructor(view, wanted) {
    this.#view = view;
    this.#key = wanted;
    this.#address = path`/v1/kv/${wanted}`;
    this.#editor = new ValueEditor({ changed: () => this.#touch(), announce: (text) => view.announce(text) });
    this.#form = h(
      "form",
      { class: "editor", noValidate: true, on: { submit: (event) => this.#submit(event) } },
      this.#notice,
      this.#editor.element,
      field("Flags", this.#flags, "A whole number from 0 to 2⁶⁴−1, for programs."),
      this.#trouble,
      h("div", { class: "buttons" }, this.#save, this.#remove),
      this.#facts,
    );
  }

  /** Draw it, and follow the key. */
  open() {
    const view = this.#view;
    view.unsaved = () => (this.#dirty ? "The value was changed and not saved. Leave it?" : "");
    const draw = (rows) => {
      this.#received(rows?.[0] ?? null);
      return this.#form;
    };
    const explain = (error) => this.#failed(error);
    const region = view.live(this.#address, draw, { label: "the key", missing: true, explain });
    view.page(this.#key, { about: crumbs(this.#key) }, region);
  }

  /** What was typed is not thrown away because the right to read went away. */
  #failed(error) {
    if (!this.#dirty) return null;
    fill(this.#notice, failure(error, { askToken: this.#view.askToken }));
    return this.#form;
  }

  #touch() {
    this.#dirty = true;
  }

  /** `row` is the key as it is now, `null` when there is none. */
  #received(row) {
    const before = this.#known;
    const same = before !== undefined && before?.ModifyIndex === row?.ModifyIndex;
    // While it is saved, the answer to that tells what became of it.
    if (same || this.#saving) return;
    if (this.#dirty) this.#conflict(row);
    else this.#take(row, before !== undefined);
  }

  /** Show `row` in place of what is there. */
  #take(row, told = false) {
    this.#dirty = false;
    fill(this.#trouble);
    this.#editor.set(row ? fromBase64(row.Value) : new Uint8Array());
    this.#flags.value = row ? String(row.Flags) : "0";
    this.#describe(row);
    fill(this.#notice, row ? "" : h("p", { class: "note" }, "There is no such key yet: saving makes it."));
    if (told) this.#view.announce("Somebody changed this key: the new value is shown.");
  }

  /** From now on, what is saved takes the place of `row`. */
  #describe(row) {
    this.#known = row;
    this.#remove.hidden = !row;
    this.#save.textContent = row ? "Save" : "Create";
    const free = row?.LockIndex ? `free, held ${row.LockIndex} times` : "";
    const rows = row && [
      ["Size", bytes(fromBase64(row.Value).length)],
      ["Created at index", row.CreateIndex],
      ["Changed at index", row.ModifyIndex],
      ["Lock", row.Session ? h("code", {}, shown(row.Session)) : free],
    ];
    fill(this.#facts, rows && pairs(rows));
  }

  /** Somebody else was faster: both versions are kept until one is chosen. */
  #conflict(row) {
    const keep = () => {
      this.#describe(row);
      fill(this.#notice, h("p", { class: "note" }, "Your value is kept: saving replaces theirs."));
    };
    const title = row
      ? "Somebody changed this key while you did"
      : "Somebody deleted this key while you changed it";
    const buttons = [
      button("Show theirs", () => this.#take(row)),
      button("Keep mine, to save over theirs", keep),
    ];
    fill(
      this.#notice,
      h(
        "div",
        { class: "conflict" },
        h("p", { class: "title" }, title),
        row && theirs(row),
        h("div", { class: "buttons" }, buttons),
      ),
    );
    this.#view.announce("Somebody else changed this key. Choose which value to keep.");
  }

  async #submit(event) {
    event.preventDefault();
    fill(this.#trouble);
    fill(this.#notice);
    try {
      this.#saving = true;
      this.#save.disabled = true;
      await this.#write(this.#editor.get(), flagsOf(this.#flags.value));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fill(this.#trouble, problem(error));
    } finally {
      this.#saving = false;
      this.#save.disabled = false;
      if (document.activeElement === document.body) this.#save.focus();
    }
  }

  async #write(content, flags) {
    if (content.length > MAX_BYTES) {
      throw new ApiError(413, `The value has ${bytes(content.length)}: at most ${bytes(MAX_BYTES)} fit`);
    }
    this.#dirty = false;
    const target = query(this.#address, { cas: this.#known?.ModifyIndex ?? 0, flags });
    let written, row;
    try {
      written = (await this.#view.call(target, { method: "PUT", body: content })).value === true;
      row = (await this.#view.call(this.#address, { missing: true })).value?.[0] ?? null;
    } catch (error) {
      this.#dirty = true;
      throw error;
    }
    if (!written) {
      this.#dirty = true;
      this.#conflict(row);
      return;
    }
    // What was typed while it was saved is still to be saved.
    if (this.#dirty) this.#describe(row);
    else this.#take(row);
    fill(this.#notice, h("p", { class: "note good" }, "Saved."));
    this.#view.announce("Saved.");
  }

  async #delete() {
    if (!(await removeKey(this.#view, this.#key, this.#known.ModifyIndex))) return;
    this.#dirty = false;
    this.#view.announce("The key was deleted.");
    location.hash = place("kv", ...folder(this.#key));
  }
}

function theirs(row) {
  const content = fromBase64(row.Value);
  const text = plainText(content) ?? `${bytes(content.length)} that are no text`;
  const value = h("pre", { tabIndex: 0, "aria-label": "Their value" }, text.slice(0, MAX_SHOWN));
  return h("details", {}, h("summary", {}, `Their value (index ${row.ModifyIndex})`), value);
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
