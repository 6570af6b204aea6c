/**
 * The web page of the agent: here it starts. A place is `#/page/name`; a page is a function of `pages/` that is given
 * a View and the names in the place. Nothing is kept but the token, in the tab.
 */

import { ApiError, call } from "./core/api.js";
import { button, fill, h, name, shown } from "./core/dom.js";
import { retryNow, watchConnection } from "./core/live.js";
import { View } from "./core/view.js";
import { empty, failure } from "./parts/states.js";
import { askToken } from "./parts/token.js";
import { certificates } from "./pages/certificates.js";
import { connections } from "./pages/connections.js";
import { events } from "./pages/events.js";
import { intentions } from "./pages/intentions.js";
import { key } from "./pages/key.js";
import { keys } from "./pages/keys.js";
import { node } from "./pages/node.js";
import { nodes } from "./pages/nodes.js";
import { overview } from "./pages/overview.js";
import { proof } from "./pages/proof.js";
import { service } from "./pages/service.js";
import { services } from "./pages/services.js";

/** First word of a place -> the page; with a name behind it, `one`. `title` makes it an entry of the navigation. */
const PAGES = {
  overview: { title: "Overview", all: overview },
  services: { title: "Services", all: services, one: service },
  nodes: { title: "Nodes", all: nodes, one: node },
  intentions: { title: "Intentions", all: intentions, one: intentions },
  connections: { title: "Connections", all: connections },
  kv: { title: "Key/Value", all: keys, one: keys },
  certificates: { title: "Certificates", all: certificates },
  proof: { title: "Proof", all: proof },
  events: { title: "Events", all: events },
  key: { under: "kv", one: key },
};

const main = document.getElementById("main");
let current = null;
let shownPlace = null;
let agent = {};
let described = null;

function start() {
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  document.getElementById("token").addEventListener("click", openToken);
  fill(
    document.getElementById("pages"),
    h(
      "ul",
      {},
      Object.entries(PAGES)
        .filter(([, page]) => page.title)
        .map(([word, page]) => entry(word, page)),
    ),
  );
  window.addEventListener("hashchange", () => go());
  window.addEventListener("beforeunload", (event) => {
    if (current?.unsaved()) event.preventDefault();
  });
  watchConnection(connectionChanged);
  fromOldPlace();
  described = describe();
  go();
}

function entry(word, page) {
  return h("li", {}, h("a", { href: `#/${word}`, data: { page: word } }, page.title));
}

/** Consul's own page has paths such as `/ui/dc1/services/web`: they lead to the same here. */
function fromOldPlace() {
  const parts = location.pathname
    .replace(/^\/ui\/?/, "")
    .split("/")
    .filter(Boolean);
  if (!parts.length || location.hash) return;
  const found = parts[0] in PAGES ? parts : parts.slice(1);
  history.replaceState(null, "", `/ui/#/${found.join("/")}`);
}

/** Draw the page that the address names. */
function go({ again = false } = {}) {
  if (location.hash === shownPlace && !again) return;
  const reason = current?.unsaved();
  if (reason && !again && !window.confirm(reason)) {
    history.replaceState(null, "", shownPlace || "#/");
    return;
  }
  const first = shownPlace === null;
  shownPlace = location.hash;
  const { word, names } = places(location.hash);
  current?.end();
  current = new View(main, { askToken: openToken, agent: () => agent, described });
  mark(word);
  const page = Object.hasOwn(PAGES, word) && PAGES[word];
  const draw = page && (names.length ? page.one : page.all);
  try {
    if (draw && names.length <= 1) draw(current, ...names);
    else lost(current);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    current.page("This can't be shown", {}, failure(error));
  }
  if (!first) {
    main.querySelector("h1")?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

function places(hash) {
  const [path] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter((part, at) => part || at === 0);
  try {
    const [word, ...names] = parts.map(decodeURIComponent);
    return { word: word || "overview", names };
  } catch {
    return { word: "", names: [] };
  }
}

function mark(word) {
  const marked = word === "key" ? PAGES.key.under : word;
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.dataset.page === marked) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function lost(view) {
  view.page(
    "Not found",
    {},
    empty("There is no such page.", h("a", { href: "#/overview" }, "Go to the overview")),
  );
}

async function openToken() {
  if (await askToken()) {
    // Not awaited: what is clicked until the agent has told who it is must belong to the new page.
    described = describe();
    // What was typed and not saved stays; the page asks again by itself.
    if (current.unsaved()) retryNow();
    else go({ again: true });
  }
}

/** Which agent this is; without the right to know it the page works all the same. */
async function describe() {
  const where = document.getElementById("where");
  try {
    agent = (await call("/v1/agent/self")).value;
    fill(
      where,
      name(agent.Config.NodeName),
      h("span", { class: "quiet" }, ` ${shown(agent.Config.Datacenter)}`),
    );
  } catch {
    fill(where, location.host);
  }
}

function connectionChanged(error) {
  const banner = document.getElementById("banner");
  if (error === null) {
    banner.hidden = true;
    fill(banner);
    current?.announce("The agent answers again.");
    if (!agent.Config) described = describe();
    return;
  }
  const text = error.status
    ? `The agent can't answer: ${shown(error.message)}`
    : `${location.host} does not answer. What is shown is from before.`;
  fill(banner, h("span", {}, `${text} It is asked again by itself. `), button("Try now", retryNow));
  banner.hidden = false;
}

start();
