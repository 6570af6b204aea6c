/** A value of a key: edited as text where that loses nothing, else as base64 or as a file; bytes in, bytes out. */

import { ApiError } from "../core/api.js";
import { button, fill, h } from "../core/dom.js";
import { bytes, fromBase64, hexdump, plainText, toBase64 } from "../core/format.js";
import { check, field } from "./dialogs.js";

/**
 * `set(bytes)`, `get()` (bytes; throws ApiError), `element`. `changed()` is called when it was edited, `announce(text)`
 * when something has to be told.
 */
export class ValueEditor {
  #changed;
  #announce;
  #content = new Uint8Array();
  #area = h("textarea", {
    rows: 14,
    spellcheck: false,
    autocomplete: "off",
    on: { input: () => this.#edited() },
  });
  #base64 = check("As base64", false, "the only way for bytes that are no text");
  #dump = h("pre", { class: "dump", tabIndex: 0, "aria-label": "The bytes of the value" });
  #size = h("span", { class: "quiet" });
  #file = h("input", {
    type: "file",
    class: "unseen",
    tabIndex: -1,
    "aria-hidden": "true",
    on: { change: () => this.#loaded() },
  });

  constructor({ changed, announce }) {
    this.#changed = changed;
    this.#announce = announce;
    this.#base64.control.addEventListener("change", () => this.#switched());
    const tools = h(
      "div",
      { class: "tools" },
      this.#base64.element,
      this.#size,
      button("Load a file", () => this.#file.click()),
      button("Download", () => this.#download()),
      this.#file,
    );
    this.element = h("div", {}, field("Value", this.#area), tools, this.#dump);
  }

  set(content) {
    this.#content = content;
    this.#base64.control.checked = false;
    this.#draw();
  }

  get() {
    const text = this.#area.value;
    return this.#base64.control.checked ? decoded(text) : new TextEncoder().encode(text);
  }

  #edited() {
    const text = this.#area.value;
    this.#size.textContent = this.#base64.control.checked ? "" : bytes(new TextEncoder().encode(text).length);
    this.#changed();
  }

  #draw() {
    const text = plainText(this.#content);
    const box = this.#base64.control;
    if (text === null) box.checked = true;
    box.disabled = text === null;
    this.#area.value = box.checked ? toBase64(this.#content) : text;
    this.#area.classList.toggle("binary", box.checked);
    this.#size.textContent = bytes(this.#content.length);
    this.#dump.hidden = text !== null;
    fill(this.#dump, text === null ? hexdump(this.#content) : "");
  }

  #switched() {
    const box = this.#base64.control;
    try {
      // The other way round: the box has its new state already.
      this.#content = box.checked ? new TextEncoder().encode(this.#area.value) : decoded(this.#area.value);
    } catch {
      this.#announce("This is not base64.");
      box.checked = true;
      return;
    }
    this.#draw();
  }

  async #loaded() {
    const [chosen] = this.#file.files;
    if (!chosen) return;
    this.set(new Uint8Array(await chosen.arrayBuffer()));
    this.#file.value = "";
    this.#changed();
  }

  #download() {
    const url = URL.createObjectURL(new Blob([this.get()], { type: "application/octet-stream" }));
    h("a", { href: url, download: "value" }).click();
    URL.revokeObjectURL(url);
  }
}

function decoded(text) {
  try {
    return fromBase64(text.replace(/\s+/g, ""));
  } catch {
    throw new ApiError(
      400,
      "The value is not base64: letters, digits, + and /, filled with = to a multiple of four",
    );
  }
}
