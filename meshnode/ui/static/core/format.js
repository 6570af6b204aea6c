/** Values as people read them. */

import { h, shown } from "./dom.js";

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];
const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A moment in local time, with UTC on hover; `text` is a date as the API writes it. */
export function moment(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return h("span", {}, shown(text || "never"));
  return h("time", { dateTime: at.toISOString(), title: `${at.toISOString()} (UTC)` }, LOCAL.format(at));
}

/** `1.5 KiB`. */
export function bytes(count) {
  let unit = 0;
  while (count >= 1024 && unit < BYTES.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit ? count.toFixed(1) : Math.round(count)} ${BYTES[unit]}`;
}

/** `3 d 4 h`, `5 min`, `12 s`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** Days left of a certificate, `6.9 days`, or hours when it is short. */
export function daysLeft(days) {
  if (days < 0) return "expired";
  return days < 2 ? `${(days * 24).toFixed(1)} hours` : `${days.toFixed(1)} days`;
}

/** `1 node`, `2 nodes`. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString()} ${number === 1 ? one : many}`;
}

/** The bytes of a text in base64; `null` is none. */
export function fromBase64(text) {
  return Uint8Array.from(atob(text ?? ""), (character) => character.charCodeAt(0));
}

/** Base64 of bytes. */
export function toBase64(content) {
  let binary = "";
  // fromCharCode takes so many arguments, and no more.
  for (let at = 0; at < content.length; at += 8192) {
    binary += String.fromCharCode(...content.subarray(at, at + 8192));
  }
  return btoa(binary);
}

/**
 * The text that bytes are, or `null` when they are none that a text field would give back unchanged: not UTF-8,
 * control characters, carriage returns.
 */
export function plainText(content) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
    return /[\u0000-\u0008\u000b-\u001f\u007f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** The first `most` bytes as lines of sixteen, as hexdump prints them. */
export function hexdump(content, most = 512) {
  const lines = [];
  for (let at = 0; at < Math.min(content.length, most); at += 16) {
    const row = [...content.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${hex.padEnd(47)}  ${text}`);
  }
  if (content.length > most) lines.push(`… and ${content.length - most} bytes more`);
  return lines.join("\n");
}

/** The service in `spiffe://…/svc/NAME`; any other text as it is. */
export function serviceOf(identity) {
  const found = /\/ns\/([^/]+)\/dc\/[^/]+\/svc\/([^/]+)$/.exec(identity ?? "");
  if (!found) return identity ?? "";
  return found[1] === "default" ? found[2] : `${found[1]}/${found[2]}`;
}
