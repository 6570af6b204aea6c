/** What a page is given: where to draw, how to stay up to date, and that all of it ends with the page. */

import { ApiError, call } from "./api.js";
import { fill, h, shown } from "./dom.js";
import { follow, repeat } from "./live.js";
import { failure, loading } from "../parts/states.js";

/** One visit of a page. `askToken` opens the dialog for the token; `agent()` is what is known of the agent. */
export class View {
  #ended = new AbortController();
  #agent;

  constructor(root, { askToken, agent, described }) {
    this.root = root;
    this.askToken = askToken;
    /** Resolves once the agent was asked who it is, whether it told or not. */
    this.described = described;
    this.#agent = agent;
    /** Asked before the page is left; a text is a reason to stay. */
    this.unsaved = () => "";
  }

  /** What `/v1/agent/self` says; empty while it is unknown. */
  get agent() {
    return this.#agent();
  }

  /** Aborted when the page is left. */
  get signal() {
    return this.#ended.signal;
  }

  /** The page is left: no answer reaches it any more. */
  end() {
    this.#ended.abort();
  }

  /** Draw the title and what stands below it; `actions` are buttons beside the title. */
  page(title, { about, actions = [] } = {}, ...children) {
    document.title = `${shown(title)} · meshnode`;
    const heading = h("h1", { tabIndex: -1 }, h("bdi", {}, shown(title)));
    const head = h("div", { class: "head" }, heading, h("div", { class: "actions" }, actions));
    fill(this.root, head, about && h("p", { class: "about" }, about), ...children);
  }

  /** Tell those who can't see it. */
  announce(text) {
    document.getElementById("announcer").textContent = shown(text);
  }

  /** A region that shows `draw(value)` of the newest answer of `address`, and why there is none. */
  live(address, draw, options = {}) {
    return this.#region(options, draw, (handlers) => follow(address, handlers));
  }

  /** As `live`, for an address that can't wait: asked every `seconds`. */
  polled(address, seconds, draw, options = {}) {
    return this.#region(options, draw, (handlers) => repeat(address, seconds, handlers));
  }

  /** The answers of `address` to `show`; errors are let pass. For what only adds to a region. */
  listen(address, show, { seconds = 0, failed = () => {}, missing = false } = {}) {
    const handlers = { signal: this.signal, show, failed, missing };
    if (seconds) repeat(address, seconds, handlers);
    else follow(address, handlers);
  }

  /** One call, ended with the page. */
  call(address, options = {}) {
    return call(address, { ...options, signal: this.signal });
  }

  #region({ label, missing = false, explain }, draw, start) {
    const region = h("div", { class: "region", "aria-busy": "true" }, loading(label));
    const show = (value) => {
      region.removeAttribute("aria-busy");
      const drawn = draw(value, region);
      if (drawn && (region.childNodes.length !== 1 || region.firstChild !== drawn)) fill(region, drawn);
    };
    const failed = (error) => {
      region.removeAttribute("aria-busy");
      fill(region, failure(error, { askToken: this.askToken, explain }));
    };
    try {
      start({ signal: this.signal, show, failed, missing });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      failed(error);
    }
    return region;
  }
}
