/**
 * Calls to the agent that served this page. The token is kept for the tab (session storage) and goes into a header,
 * never into an address.
 */

const TOKEN = "meshnode.token";
/** Milliseconds that an answer that isn't waited for on purpose may take. */
const TIMEOUT = 20_000;

/** An answer that is an error: `status` (0: none came), `message` in the agent's own words. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the token's rights are the reason. */
  get denied() {
    return this.status === 401 || this.status === 403;
  }

  /** Whether trying again may help: nobody answers, or nobody leads. */
  get passing() {
    return (
      this.status === 0 || this.status === 429 || this.status >= 502 || /No cluster leader/.test(this.message)
    );
  }
}

/** The token of this tab, or the empty text. */
export function token() {
  return sessionStorage.getItem(TOKEN) ?? "";
}

/** Keep `value` for this tab; the empty text forgets it. */
export function setToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

/**
 * A path of the API: fixed parts and names, such as ``path`/v1/health/service/${name}` ``. A name is one segment,
 * slashes in it included, so it can't lead elsewhere; throws ApiError for one that a browser can't send.
 */
export function path(fixed, ...names) {
  return fixed.reduce((whole, part, number) => whole + segment(names[number - 1]) + part);
}

/** `address` with a query of `fields`; `true` is a flag without a value, `undefined` left out. */
export function query(address, fields) {
  const parts = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== false)
    .map(([key, value]) => (value === true ? key : `${key}=${encodeURIComponent(value)}`));
  return parts.length ? `${address}${address.includes("?") ? "&" : "?"}${parts.join("&")}` : address;
}

/**
 * One call: `{status, value, index}`. `body` is sent as JSON, or as it is when it is bytes. With `missing`, 404 is an
 * answer whose value is `null`. Numbers too large for JavaScript (flags of keys) come as text. Throws ApiError.
 */
export async function call(
  address,
  { method = "GET", body, signal, missing = false, timeout = TIMEOUT } = {},
) {
  const headers = { Accept: "application/json" };
  if (token()) headers["X-Consul-Token"] = token();
  const raw = body instanceof Uint8Array || body === undefined;
  const ended = AbortSignal.timeout(timeout);
  let response, text;
  try {
    response = await fetch(address, {
      method,
      headers,
      body: raw ? body : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, ended]) : ended,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(
      0,
      ended.aborted ? `no answer within ${timeout / 1000} s` : "the agent does not answer",
    );
  }
  const index = Number(response.headers.get("X-Consul-Index") ?? 0);
  if (missing && response.status === 404) return { status: 404, value: null, index };
  if (!response.ok) throw new ApiError(response.status, text.trim() || `status ${response.status}`);
  return { status: response.status, value: parsed(text), index };
}

/** What a 403 without a reason and an unknown token mean, in a sentence. */
export function reason(error) {
  if (error.denied && /ACL not found/.test(error.message)) {
    return "The agent doesn't know this token: it has expired, or was deleted.";
  }
  return error.message;
}

function segment(text) {
  if (text === "." || text === "..") {
    throw new ApiError(400, `The name "${text}" can't be put into an address: use the command line for it`);
  }
  try {
    return encodeURIComponent(text);
  } catch {
    throw new ApiError(400, "The name is not whole text: half of a pair of UTF-16 is missing");
  }
}

function parsed(text) {
  if (!text) return null;
  // In JSON a quote inside a text is escaped, so this is the name of a field and nothing else.
  const exact = text.replace(/"Flags":\s*(\d{16,})/g, '"Flags":"$1"');
  try {
    return JSON.parse(exact);
  } catch {
    throw new ApiError(502, "the answer is no JSON: is another program listening there?");
  }
}
