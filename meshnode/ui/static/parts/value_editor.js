/** A value of a key: edited as text where that loses nothing, else as base64 or as a file; bytes in, bytes out. */

import { ApiError } from "../core/api.js";
import { button, fill, h } from "../core/dom.js";
import { bytes, fromBase64, hexdump, plainText, toBase64 } from "../core/format.js";
import { check, field } from "./dialogs.js";

/** `set(bytes)`, `get()` (a promise of bytes; throws ApiError), `element`. `changed()` is called when it was edited. */
export function valueEditor({ changed, announce }) {
  let content = new Uint8Array();
  const area = h("textarea", { rows: 14, spellcheck: false, autocomplete: "off", on: { input: () => edited() } });
  const labelled = field("Value", area);
  const base64 = check("As base64", false, "the only way for bytes that are no text");
  const dump = h("pre", { class: "dump", tabIndex: 0, "aria-label": "The bytes of the value" });
  const size = h("span", { class: "quiet" });
  const file = h("input", { type: "file", class: "unseen", tabIndex: -1, "aria-hidden": "true", on: { change: () => loaded() } });
  const tools = h(
    "div",
    { class: "tools" },
    base64.element,
    size,
    button("Load a file", () => file.click()),
    button("Download", () => download()),
    file,
  );
  base64.control.addEventListener("change", () => switched());
  const element = h("div", {}, labelled, tools, dump);

  function edited() {
    size.textContent = base64.control.checked ? "" : bytes(new TextEncoder().encode(area.value).length);
    changed();
  }

  function draw() {
    const text = plainText(content);
    if (text === null) base64.control.checked = true;
    base64.control.disabled = text === null;
    area.value = base64.control.checked ? toBase64(content) : text;
    area.classList.toggle("binary", base64.control.checked);
    size.textContent = bytes(content.length);
    dump.hidden = text !== null;
    fill(dump, text === null ? hexdump(content) : "");
  }

  function switched() {
    try {
      // The other way round: the box has its new state already.
      content = base64.control.checked ? new TextEncoder().encode(area.value) : decoded(area.value);
    } catch {
      announce("This is not base64.");
      base64.control.checked = true;
      return;
    }
    draw();
  }

  async function loaded() {
    const [chosen] = file.files;
    if (!chosen) return;
    content = new Uint8Array(await chosen.arrayBuffer());
    base64.control.checked = false;
    draw();
    file.value = "";
    changed();
  }

  async function download() {
    const url = URL.createObjectURL(new Blob([await get()], { type: "application/octet-stream" }));
    h("a", { href: url, download: "value" }).click();
    URL.revokeObjectURL(url);
  }

  function set(found) {
    content = found;
    base64.control.checked = false;
    draw();
  }

  async function get() {
    return base64.control.checked ? decoded(area.value) : new TextEncoder().encode(area.value);
  }

  return { element, set, get };
}

function decoded(text) {
  try {
    return fromBase64(text.replace(/\s+/g, ""));
  } catch {
    throw new ApiError(400, "The value is not base64: letters, digits, + and /, filled with = to a multiple of four");
  }
}
