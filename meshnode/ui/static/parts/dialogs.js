/** Dialogs: a question, a form. They are modal, closed by Escape, and give the focus back. */

import { ApiError } from "../core/api.js";
import { button, fill, h } from "../core/dom.js";
import { problem } from "./states.js";

let dialogs = 0;

/**
 * Open a form. `submit()` does the work and may throw ApiError, which is shown in the dialog; when it is done the
 * dialog closes and this resolves to `true`; `false` when it was given up. `danger` marks the button.
 */
export function form({ title, content, action, submit, danger = false }) {
  dialogs += 1;
  const titleId = `dialog${dialogs}`;
  const trouble = h("div");
  const act = h("button", { type: "submit", class: danger ? "danger" : "primary" }, action);
  const cancel = button("Cancel", () => dialog.close());
  const inner = h(
    "form",
    { noValidate: true },
    content,
    trouble,
    h("div", { class: "buttons" }, cancel, act),
  );
  const dialog = h("dialog", { "aria-labelledby": titleId }, h("h2", { id: titleId }, title), inner);
  let done = false;
  inner.addEventListener("submit", async (event) => {
    event.preventDefault();
    act.disabled = true;
    fill(trouble);
    try {
      await submit();
      done = true;
      dialog.close();
    } catch (error) {
      // The page that it was about was left while it asked.
      if (error.name === "AbortError") return dialog.close();
      if (!(error instanceof ApiError)) throw error;
      fill(trouble, problem(error));
    } finally {
      act.disabled = false;
      // A button that is disabled loses the focus.
      if (!done && document.activeElement === document.body) act.focus();
    }
  });
  return opened(dialog, () => done);
}

/** Ask before something that can't be undone. Resolves to whether it was done. */
export function confirm({ title, text, action, submit }) {
  return form({ title, content: h("p", {}, text), action, submit, danger: true });
}

/** Show something until it is closed; `actions` are buttons beside Close, which close it as well. */
export function notice({ title, content, actions = [] }) {
  dialogs += 1;
  const titleId = `dialog${dialogs}`;
  const dialog = h(
    "dialog",
    { "aria-labelledby": titleId },
    h("h2", { id: titleId }, title),
    content,
    h(
      "div",
      { class: "buttons" },
      button("Close", () => dialog.close()),
      actions,
    ),
  );
  for (const action of actions) action.addEventListener("click", () => dialog.close());
  return opened(dialog, () => true);
}

function opened(dialog, result) {
  document.body.append(dialog);
  // The page was left: a dialog about it has nothing to say any more.
  const leave = () => dialog.close();
  window.addEventListener("hashchange", leave);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      window.removeEventListener("hashchange", leave);
      dialog.remove();
      resolve(result());
    });
    dialog.showModal();
  });
}

let fields = 0;

/** A labelled control; `hint` explains it. The control gets an id and is described by the hint. */
export function field(label, control, hint = "") {
  fields += 1;
  control.id = `field${fields}`;
  if (hint) control.setAttribute("aria-describedby", `hint${fields}`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, label),
    control,
    hint && h("p", { class: "hint", id: `hint${fields}` }, hint),
  );
}

/** A check box with its label. */
export function check(label, checked, hint = "") {
  const control = h("input", { type: "checkbox", checked });
  const whole = h(
    "label",
    { class: "check" },
    control,
    ` ${label}`,
    hint && h("span", { class: "hint" }, ` ${hint}`),
  );
  return { control, element: whole };
}

/** One of several words. */
export function choice(options, chosen) {
  return h(
    "select",
    {},
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
}
