/** A rotation of the mesh's root: how far it is, who is waited for, and starting, pausing and giving it up. */

import { ApiError, query } from "../core/api.js";
import { button, fill, h, link, name, shown } from "../core/dom.js";
import { moment } from "../core/format.js";
import { check, confirm, form } from "../parts/dialogs.js";
import { badge, pairs, panel, problem } from "../parts/states.js";
import { table } from "../parts/table.js";

const ADDRESS = "/v1/connect/ca/rotation";
/** The phases, in order, with what happens in each. */
const PHASES = [
  ["distribute", "every node learns the new root"],
  ["acknowledge", "every node says that it trusts it"],
  ["switch", "the new root signs"],
  ["reissue", "leaves of the old root are replaced"],
  ["retire", "the old root goes"],
];
/** Phases in which it can be given up: the new root signs nothing yet. */
const EARLY = ["distribute", "acknowledge"];

/** The panel; `explain(error)` may give an element in place of an error. */
export function rotationPanel(view, explain) {
  const status = h("div");
  const nodes = trustTable();
  const controls = new Controls(view);
  // One element for good: what is drawn anew doesn't take the focus along.
  const whole = h("div", {}, status, controls.element, nodes.element);
  return panel(
    "Rotation",
    view.live(
      ADDRESS,
      (found) => {
        fill(status, progress(found));
        controls.show(found);
        nodes.show(found.Nodes.map((row) => ({ ...row, old: found.OldRootID, wanted: found.NewRootID })));
        return whole;
      },
      { label: "the rotation", explain },
    ),
  );
}

function progress(found) {
  if (!found.Phase) return h("p", {}, badge("no rotation runs", "good"));
  const now = PHASES.findIndex(([word]) => word === found.Phase);
  return [
    h(
      "p",
      {},
      badge(found.Paused ? `paused in ${found.Phase}` : found.Phase, "fair"),
      " since ",
      moment(found.Since),
      ", begun ",
      moment(found.Started),
    ),
    h(
      "ol",
      { class: "steps" },
      PHASES.map(([phase, text], at) =>
        h(
          "li",
          { class: at < now ? "done" : at === now ? "now" : "", "aria-current": at === now ? "step" : null },
          h("strong", {}, phase),
          h("span", { class: "quiet" }, ` ${text}`),
        ),
      ),
    ),
    found.Total > 0 &&
      h("progress", { max: found.Total, value: found.Done, "aria-label": "Nodes that are done" }),
    h("p", {}, name(found.Status ?? "")),
    pairs([
      ["From root", h("code", {}, shown(found.OldRootID))],
      ["To root", h("code", {}, shown(found.NewRootID))],
      ["The old root goes by", found.RetiresBy ? moment(found.RetiresBy) : ""],
    ]),
  ];
}

/** Buttons that stay where they are while the rotation goes on; which of them are there follows its state. */
class Controls {
  #view;
  #found = {};
  #trouble = h("div");
  #start = button("Rotate the root", () => start(this.#view));
  #pause = button("Pause", () => this.#toggle());
  #abort = button("Give it up", () => this.#giveUp(), { class: "danger" });

  constructor(view) {
    this.#view = view;
    const row = h("div", { class: "buttons" }, this.#start, this.#pause, this.#abort);
    this.element = h("div", { class: "controls" }, row, this.#trouble);
  }

  show(found) {
    this.#found = found;
    this.#start.hidden = Boolean(found.Phase) && found.Phase !== "reissue";
    this.#pause.hidden = !found.Phase;
    this.#pause.textContent = found.Paused ? "Resume" : "Pause";
    this.#abort.hidden = !EARLY.includes(found.Phase);
  }

  async #toggle() {
    const action = this.#found.Paused ? "resume" : "pause";
    fill(this.#trouble);
    try {
      // Not disabled meanwhile: the servers wait for the switch a moment, and a disabled button loses the focus.
      await act(this.#view, { Action: action });
      this.#view.announce(action === "pause" ? "The rotation is paused." : "The rotation goes on.");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fill(this.#trouble, problem(error));
    }
  }

  async #giveUp() {
    const done = await confirm({
      title: "Give the rotation up?",
      text: "The root stays as it is, and the new one is thrown away.",
      action: "Give it up",
      submit: () => act(this.#view, { Action: "abort" }),
    });
    if (done) this.#view.announce("The rotation was given up.");
  }
}

async function start(view) {
  const steps = h("ol", {}, h("li", { class: "quiet" }, "Asking the servers …"));
  const paused = check("Stop before the new root signs", false, "Resume does the rest.");
  tell(view, steps);
  const done = await form({
    title: "Rotate the root",
    content: h(
      "div",
      {},
      h("p", {}, "A new root takes the place of the present one, and no connection is cut:"),
      steps,
      paused.element,
    ),
    action: "Rotate",
    submit: () => act(view, { Action: "start", Paused: paused.control.checked }),
  });
  if (done) view.announce("The rotation was started.");
}

/** Fill `steps` with what a rotation would do now, in the servers' words. */
async function tell(view, steps) {
  try {
    const { value } = await view.call(query(ADDRESS, { "dry-run": true }), {
      method: "PUT",
      body: { Action: "start" },
    });
    fill(
      steps,
      value.Plan.map((step) => h("li", {}, shown(step))),
    );
  } catch (error) {
    if (!(error instanceof ApiError)) return;
    fill(steps, h("li", {}, problem(error)));
  }
}

function act(view, body) {
  return view.call(ADDRESS, { method: "PUT", body });
}

function trustTable() {
  return table({
    caption: "What each node trusts and uses",
    key: (row) => row.Node,
    text: (row) => row.Node,
    empty: () => h("p", { class: "quiet" }, "No node has reported yet which roots it trusts."),
    columns: [
      { head: "Node", sort: (row) => row.Node, cell: (row) => whose(row) },
      { head: "Trusts", cell: (row) => (row.wanted ? trusts(row) : ids(row.Roots, row)) },
      { head: "Leaves of", wide: true, cell: (row) => ids(row.LeafRoots, row) },
    ],
  });
}

function whose(row) {
  return [link(["nodes", row.Node], name(row.Node)), row.Alive === false && [" ", badge("down", "quiet")]];
}

function trusts(row) {
  const already = row.Roots.includes(row.wanted);
  return badge(already ? "the new root" : "not the new root yet", already ? "good" : "fair");
}

function ids(roots, { old, wanted }) {
  if (!roots.length) return h("span", { class: "quiet" }, "none");
  const words = { [old]: "the old root ", [wanted]: "the new root " };
  return roots.map((root) =>
    root && Object.hasOwn(words, root)
      ? h("span", { title: shown(root) }, words[root])
      : h("code", { title: shown(root) }, `${shown(root).slice(0, 11)} `),
  );
}
