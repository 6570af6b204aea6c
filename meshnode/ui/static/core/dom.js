/**
 * Elements. Text only ever becomes text: no function here, or anywhere in the page, reads markup from a string.
 */

const SVG = "http://www.w3.org/2000/svg";
/** Addresses that a link may have: places in this page, files of this page, and data that it made itself. */
const LINKS = /^(#|\/ui\/|blob:)/;

/**
 * An element. `props`: `class`, `on` (event -> listener), `data` (dataset); names with a dash, `role`, `for` and the
 * like become attributes, all others properties. Children: nodes, texts, numbers; arrays are flattened, `null` and
 * `false` left out.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "on") listen(element, value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "href") element.setAttribute("href", checked(value));
    else if (name.includes("-") || name === "role" || name === "for" || name === "list" || name === "scope") {
      element.setAttribute(name, value);
    } else element[name] = value;
  }
  element.append(...flat(children));
  return element;
}

/** An SVG element; `attributes` as they are written in SVG. */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...flat(children));
  return element;
}

/** Puts `children` in the place of all that is in `element`. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
}

/** A text as it is safe to show: what has no shape of its own, or turns text around, is written out. */
export function shown(text) {
  return String(text).replace(
    /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A name that somebody chose: apart from its surroundings in direction, broken anywhere when it is long. */
export function name(text) {
  return h("bdi", { class: "name" }, shown(text));
}

/** A link to a place in this page, such as `["services", "web"]`. */
export function link(parts, ...children) {
  return h("a", { href: place(...parts) }, ...children);
}

/** The address of a place in this page. */
export function place(...parts) {
  return `#/${parts.map((part) => encodeURIComponent(part)).join("/")}`;
}

/** A button that calls `click`. */
export function button(text, click, props = {}) {
  return h("button", { type: "button", on: { click }, ...props }, text);
}

function checked(address) {
  if (!LINKS.test(address)) throw new Error(`a link to ${shown(address)} is not one of this page`);
  return address;
}

function listen(element, listeners) {
  for (const [event, listener] of Object.entries(listeners)) element.addEventListener(event, listener);
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}
