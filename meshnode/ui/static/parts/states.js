/** What stands where there is nothing to show yet, nothing at all, or no right to see it. */

import { reason } from "../core/api.js";
import { button, h, shown } from "../core/dom.js";
import { stateOf } from "./rules.js";

/** While the first answer is on its way. */
export function loading(what = "") {
  return h("p", { class: "state quiet" }, what ? `Loading ${what} …` : "Loading …");
}

/** There is nothing; `next` says what to do about it. */
export function empty(title, ...next) {
  return h("div", { class: "state" }, h("p", { class: "title" }, title), h("p", {}, ...next));
}

/**
 * An error that won't pass by itself. `explain(error)` may give an element of its own, or nothing; `askToken` opens
 * the dialog for another token.
 */
export function failure(error, { askToken, explain } = {}) {
  const own = explain?.(error);
  if (own) return own;
  if (error.denied) {
    return h(
      "div",
      { class: "state denied" },
      h("p", { class: "title" }, "Permission denied"),
      h("p", {}, shown(reason(error))),
      askToken && button("Use another token", askToken),
    );
  }
  return h(
    "div",
    { class: "state failed" },
    h("p", { class: "title" }, "This can't be shown"),
    h("p", {}, shown(reason(error))),
    h("p", { class: "quiet" }, `Status ${error.status}. It is asked again from time to time.`),
  );
}

/** A short line about an error in a form. */
export function problem(error) {
  return h("p", { class: "problem", role: "alert" }, shown(reason(error)));
}

const WORDS = {
  passing: "good",
  alive: "good",
  allowed: "good",
  allow: "good",
  warning: "fair",
  leaving: "fair",
  left: "quiet",
  critical: "bad",
  failed: "bad",
  denied: "bad",
  deny: "bad",
};
const SIGNS = { good: "✓", fair: "!", bad: "✕", quiet: "–", plain: "•" };

/** A state in a word, with a sign and a colour. */
export function badge(word, tone = WORDS[word] ?? "plain") {
  return h(
    "span",
    { class: `badge ${tone}` },
    h("span", { "aria-hidden": "true" }, SIGNS[tone]),
    ` ${shown(word)}`,
  );
}

/** The action of an intention. */
export function action(intention) {
  const state = stateOf(intention);
  return badge(
    { request: "by request", audit: "audit only" }[state] ?? state,
    state === "request" || state === "audit" ? "fair" : undefined,
  );
}

/** A figure with its name. */
export function figure(label, value, note = "", tone = "plain") {
  return h(
    "div",
    { class: `figure ${tone}` },
    h("dt", {}, label),
    h("dd", {}, value, note && h("span", { class: "note" }, note)),
  );
}

/** Pairs of words and values; a value that is `null` leaves its pair out. */
export function pairs(rows) {
  const kept = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h(
    "dl",
    { class: "pairs" },
    kept.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))),
  );
}

/** A titled part of a page. */
export function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), ...children);
}
