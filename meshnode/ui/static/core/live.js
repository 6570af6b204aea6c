/**
 * Staying up to date: one waiting question for each page, none while the tab can't be seen, back-off while the agent
 * is away.
 */

import { ApiError, call, query } from "./api.js";

/** Milliseconds between two answers of one question, however fast things change. */
const MIN_PAUSE = 500;
const MAX_BACKOFF = 15_000;
/** How long a question waits for a change; the agent adds up to a sixteenth. */
const WAIT_SECONDS = 55;

/** A pause between two looks lasts so many times as long as the answer and its drawing took, but no longer than this. */
const LEISURE = 20;
const MAX_LEISURE = 30_000;

/** Called with an ApiError when the agent went away, and with `null` when it answers again. */
const watchers = new Set();
/** Who waits to try again; the button of the banner wakes them. */
const sleepers = new Set();
let away = null;

/** Be told when the agent goes away and when it is back. */
export function watchConnection(watcher) {
  watchers.add(watcher);
}

/** Try again now. */
export function retryNow() {
  for (const wake of [...sleepers]) wake();
}

/**
 * Ask `address` for as long as `signal` is not aborted: the answer to `show(value)` each time that it changed. An
 * error that won't pass by itself goes to `failed(error)`, and is asked again slowly. 404 is `null` with `missing`.
 */
export async function follow(address, { signal, show, failed, missing = false }) {
  let index = 0;
  await repeatedly(
    signal,
    async (visible) => {
      const before = index;
      const waiting = index ? { index, wait: `${WAIT_SECONDS}s` } : {};
      // After a failure the next question doesn't wait for a change: that it is answered is news.
      index = 0;
      const answer = await call(query(address, waiting), {
        signal: visible,
        missing,
        timeout: (WAIT_SECONDS + 15) * 1000,
      });
      // An index that went back is of another life of the cluster: begin again.
      const known = answer.index === before && before !== 0;
      index = answer.index < before ? 0 : answer.index;
      if (!known) show(answer.value);
      return index ? MIN_PAUSE : MIN_PAUSE * 4;
    },
    failed,
  );
}

/**
 * Ask `address`, which can't wait for a change, every `seconds`, or more rarely when answers take long. As `follow`
 * otherwise.
 */
export async function repeat(address, seconds, { signal, show, failed, missing = false }) {
  await repeatedly(
    signal,
    async (visible) => {
      const began = performance.now();
      show((await call(address, { signal: visible, missing })).value);
      const leisurely = (performance.now() - began) * LEISURE;
      return Math.max(seconds * 1000, Math.min(leisurely, MAX_LEISURE));
    },
    failed,
  );
}

async function repeatedly(signal, ask, failed) {
  let failures = 0;
  while (!signal.aborted) {
    await seen(signal);
    if (signal.aborted) return;
    const visible = whileSeen(signal);
    let pause;
    try {
      pause = await ask(visible.signal);
      failures = 0;
      changed(null);
    } catch (error) {
      if (signal.aborted) return;
      if (visible.signal.aborted) continue;
      if (!(error instanceof ApiError)) {
        failed(new ApiError(500, `the page itself failed: ${error.message}`));
        throw error;
      }
      failures += 1;
      if (error.passing) changed(error);
      else {
        changed(null);
        failed(error);
      }
      pause = backoff(failures);
    } finally {
      visible.end();
    }
    await sleep(pause, signal);
  }
}

function changed(error) {
  if (error === null && away === null) return;
  away = error;
  for (const watcher of watchers) watcher(error);
}

function backoff(failures) {
  const most = Math.min(MAX_BACKOFF, 1000 * 2 ** (failures - 1));
  return most * (0.75 + Math.random() / 4);
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      sleepers.delete(wake);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, milliseconds);
    sleepers.add(wake);
    signal.addEventListener("abort", wake);
  });
}

/** Resolves once the tab can be seen. */
function seen(signal) {
  return new Promise((resolve) => {
    if (!document.hidden || signal.aborted) return resolve();
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
  });
}

/** A signal that is aborted with `signal`, and when the tab is hidden: a browser has few connections to one agent. */
function whileSeen(signal) {
  const controller = new AbortController();
  const stop = () => controller.abort();
  const look = () => document.hidden && stop();
  document.addEventListener("visibilitychange", look);
  signal.addEventListener("abort", stop);
  return {
    signal: controller.signal,
    end() {
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", stop);
    },
  };
}
