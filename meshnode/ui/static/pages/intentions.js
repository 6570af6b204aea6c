/** Who may talk to whom: as a matrix, as a graph, as a list, and the reason for any pair. */

import { button, fill, h, link, name, place, shown } from "../core/dom.js";
import { count, moment } from "../core/format.js";
import { graph } from "../parts/graph.js";
import { matrix } from "../parts/matrix.js";
import { decide, destinationOf, names, sourceOf, stateOf } from "../parts/rules.js";
import { action, empty, panel } from "../parts/states.js";
import { table } from "../parts/table.js";
import { explainForm, explainPair } from "./explain.js";
import { editIntention, removeIntention } from "./intention_form.js";

const TABS = { matrix: "Matrix", graph: "Graph", list: "List", explain: "Explain" };

/** The intentions; `tab` is one of matrix, graph, list, explain. */
export function intentions(view, tab = "matrix") {
  if (!Object.hasOwn(TABS, tab)) {
    view.page("Not found", {}, empty("There is no such page.", link(["intentions"], "Go to the intentions")));
    return;
  }
  const known = { services: [], intentions: null };
  const create = button("New intention", () => editIntention(view, null, known.services), {
    class: "primary",
  });
  const shownAs = { matrix: asMatrix, graph: asGraph, list: asList, explain: asExplain }[tab](view, known);
  view.page(
    "Intentions",
    {
      about: "Who may talk to whom. The most exact intention decides; where none fits, the default does.",
      actions: [create],
    },
    h(
      "nav",
      { class: "tabs", "aria-label": "Ways to see intentions" },
      h(
        "ul",
        {},
        Object.entries(TABS).map(([word, title]) =>
          h(
            "li",
            {},
            h("a", { href: place("intentions", word), "aria-current": word === tab ? "page" : null }, title),
          ),
        ),
      ),
    ),
    view.live(
      "/v1/connect/intentions",
      (rows) => {
        known.intentions = rows;
        return shownAs();
      },
      { label: "intentions" },
    ),
  );
  view.listen(
    "/v1/internal/ui/services",
    (rows) => {
      known.services = rows.filter((row) => !row.Kind).map((row) => row.Name);
      if (known.intentions) shownAs();
    },
    { seconds: 20 },
  );
}

function asMatrix(view, known) {
  const cells = matrix({
    decide: (source, destination) => decide(known.intentions, source, destination),
    chosen: (source, destination) => explainPair(view, source, destination, known),
  });
  // What the default is, the agent says; any pair that no intention fits would tell.
  view.listen(
    "/v1/connect/intentions/explain?source=meshnode-page&destination=meshnode-page",
    (found) => {
      cells.setDefault(found.Default);
      if (known.intentions) draw();
    },
    { seconds: 60 },
  );
  const draw = () => cells.show(["*", ...names(known.services, known.intentions)]);
  return draw;
}

function asGraph(view, known) {
  const drawing = graph({ title: "Intentions between services" });
  const rows = asList(view, known);
  const region = h("div", {}, drawing.element);
  return () => {
    const links = known.intentions.map((one) => ({
      from: sourceOf(one),
      to: destinationOf(one),
      tone: { allow: "good", deny: "bad" }[stateOf(one)] ?? "fair",
      title: `${sourceOf(one)} to ${destinationOf(one)}: ${stateOf(one)}`,
    }));
    drawing.show(names(known.services, known.intentions), links);
    const list = rows();
    if (region.lastChild !== list) region.append(list);
    return region;
  };
}

function asList(view, known) {
  const list = table({
    caption: "Intentions",
    key: (row) => row.ID,
    text: (row) => `${sourceOf(row)} ${destinationOf(row)} ${row.Action} ${row.Description}`,
    empty: () =>
      empty(
        "There are no intentions that you may see.",
        "The default decides about every pair. Make the first one with New intention, ",
        "or use a token that may read intentions.",
      ),
    columns: [
      { head: "Source", sort: sourceOf, cell: (row) => end(row.SourceName, sourceOf(row)) },
      {
        head: "Destination",
        sort: destinationOf,
        cell: (row) => end(row.DestinationName, destinationOf(row)),
      },
      { head: "Action", sort: stateOf, cell: (row) => [action(row), hits(row)] },
      {
        head: "Precedence",
        number: true,
        wide: true,
        sort: (row) => -row.Precedence,
        cell: (row) => row.Precedence,
      },
      { head: "Description", wide: true, cell: (row) => name(row.Description) },
      { head: "Changed", wide: true, sort: (row) => row.UpdatedAt, cell: (row) => moment(row.UpdatedAt) },
      {
        head: "Change",
        cell: (row) =>
          h("span", { class: "buttons" }, [
            button("Edit", () => editIntention(view, row, known.services), {
              "aria-label": `Edit ${title(row)}`,
            }),
            button("Delete", () => removeIntention(view, row), { "aria-label": `Delete ${title(row)}` }),
          ]),
      },
    ],
  });
  const draw = () =>
    list.show(known.intentions.map((row) => (row.Audit ? { ...row, hits: known.audited?.get(row.ID) } : row)));
  view.listen(
    "/v1/agent/connect/connections",
    (found) => {
      known.audited = audited(found);
      if (known.intentions) draw();
    },
    { seconds: 10 },
  );
  return draw;
}

/** How many connections of this agent's node each intention would have denied, and only audits. */
function audited(found) {
  const counts = new Map();
  for (const row of [...found.Connections, ...found.Closed]) {
    if (row.Audited) counts.set(row.Rule, (counts.get(row.Rule) ?? 0) + 1);
  }
  return counts;
}

function hits(row) {
  if (!row.Audit) return null;
  return h("span", { class: "quiet" }, ` ${count(row.hits ?? 0, "hit")} on this node`);
}

function asExplain(view, known) {
  const answer = h("div", { "aria-live": "polite" });
  const whole = h(
    "div",
    { class: "columns" },
    panel(
      "A pair of services",
      explainForm(view, known, (drawn) => fill(answer, drawn)),
    ),
    panel("Answer", answer),
  );
  fill(
    answer,
    h(
      "p",
      { class: "quiet" },
      "Name two services: the agent says whether they may talk, and because of what.",
    ),
  );
  return () => whole;
}

function end(bare, written) {
  return bare === "*" ? h("span", {}, `any (${shown(written)})`) : link(["services", written], name(written));
}

function title(row) {
  return `${shown(sourceOf(row))} to ${shown(destinationOf(row))}`;
}
