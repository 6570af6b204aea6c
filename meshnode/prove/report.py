"""A verdict document as one page of HTML that needs nothing else: no script, no address outside of it, no font.

Text of peers (names in certificates, hellos) is in it, so everything is escaped, and the page's own policy forbids what
an escape could have missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from meshnode.prove.flow import Level
from meshnode.prove.report_svg import COLOURS, timeline, topology, worst

__all__ = ["MAX_ROWS", "render"]

#: Rows of the matrix; a page with more would be no help, and the document has them all.
MAX_ROWS: Final = 400
_BADGE: Final = {"proved": Level.AUTHENTICATED, "failed": Level.PLAINTEXT, "void": Level.UNKNOWN}
_PORT_LEVELS: Final = {"plaintext": Level.PLAINTEXT, "encrypted": Level.AUTHENTICATED, "silent": Level.SILENT}
_MARKS: Final = {
    Level.PLAINTEXT: "PLAINTEXT",
    Level.UNKNOWN: "UNKNOWN",
    Level.ENCRYPTED: "encrypted",
    Level.AUTHENTICATED: "encrypted + authenticated",
    Level.SILENT: "silent",
}
_ARROWS: Final = {"to": "asks", "from": "answers", "between": "tells"}
_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; }
body { color: #1c1c1c; background: #fff; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; }
th, td { border: 1px solid #ccc; padding: .3em .6em; text-align: left; vertical-align: top; }
thead th { background: #f2f2f2; } .scroll { overflow-x: auto; }
.mark { display: inline-block; color: #fff; border-radius: 3px; padding: 0 .45em; }
.mark { font-weight: 600; white-space: nowrap; }
.badge { font-size: 1.5em; padding: .1em .6em; } .small { color: #555; font-size: .88em; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(34em, 1fr)); gap: 1em; }
pre { background: #f6f6f6; border: 1px solid #ddd; padding: .6em; overflow-x: auto; font-size: 12.5px; }
svg text { font: 12px system-ui, sans-serif; fill: #1c1c1c; }
.warning { border: 2px solid #c62828; padding: .6em 1em; font-weight: 600; }
"""


def render(content: Mapping[str, Any], *, has_keys: bool = False) -> str:
    """The page for ``content``, a document of :func:`meshnode.prove.evidence.document`.

    ``has_keys`` says that the page lies beside the keys of the gossip, and puts a warning on it.
    """
    names: Mapping[str, str] = content["question"]["nodes"]
    outcome = str(content["outcome"])
    sections = [
        f"<h1>What is on the wire? {_mark(_BADGE[outcome], outcome.upper(), 'badge')}</h1>",
        "<ul>" + "".join(f"<li>{escape(reason)}</li>" for reason in content["reasons"]) + "</ul>",
        _warning() if has_keys else "",
        _weaker() if any(one.get("tapped") for one in content["captures"]) else "",
        "<h2>Who spoke with whom</h2>",
        topology(_pairs(content["verdicts"]), names),
        _legend(),
        "<h2>Pairs of nodes and ports</h2>",
        _matrix(content["verdicts"], names),
        "<h2>Ports</h2>",
        _ports(content),
        "<h2>The bytes</h2>",
        _dumps(content),
        "<h2>When</h2>",
        _when("The mesh", content),
        _when("The control", content["control"]) if content["control"] else "",
        "<h2>What was judged</h2>",
        _sources(content),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(outcome.upper())}: what is on the wire</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, sections))
        + "\n</body>\n</html>\n"
    )


def _warning() -> str:
    return (
        '<p class="warning">This bundle holds the keys of the gossip: whoever has it reads all of that gossip, in '
        "these captures and in others. It is for a lab, and not to be passed on.</p>"
    )


def _weaker() -> str:
    return (
        '<p class="warning">Weaker evidence: a tap kept what passed through sockets. Nobody saw the wire, and what '
        "went past the tap is not here.</p>"
    )


def _mark(level: Level, text: str = "", also: str = "") -> str:
    css = f"mark {also}".strip()
    return f'<span class="{css}" style="background:{COLOURS[level]}">{escape(text or _MARKS[level])}</span>'


def _legend() -> str:
    meanings = {
        Level.AUTHENTICATED: "gossip that a key opened; TLS for which both ends showed a certificate",
        Level.ENCRYPTED: "TLS; who the client is was not seen",
        Level.UNKNOWN: "not recognised, not opened, or not captured: counts as failed",
        Level.PLAINTEXT: "anybody can read it",
    }
    return "<ul>" + "".join(f"<li>{_mark(k)} {escape(text)}</li>" for k, text in meanings.items()) + "</ul>"


def _pairs(verdicts: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    seen: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        for flow in verdict["flows"]:
            one, other = sorted((str(flow["source"]), str(flow["destination"])))
            if flow["level"] != Level.SILENT:
                seen.setdefault((one, other), []).append(str(flow["level"]))
    return {pair: worst(levels) for pair, levels in seen.items()}


def _matrix(verdicts: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    cells: dict[tuple[str, str], dict[int, list[Mapping[str, Any]]]] = {}
    for verdict in verdicts:
        for flow in verdict["flows"]:
            if flow["level"] != Level.SILENT:
                row = cells.setdefault((str(flow["source"]), str(flow["destination"])), {})
                row.setdefault(int(verdict["port"]), []).append(flow)
    if not cells:
        return "<p>No payload.</p>"
    ports = [int(verdict["port"]) for verdict in verdicts]
    head = "".join(f"<th>{port}</th>" for port in ports)
    rows = []
    for (source, destination), row in sorted(cells.items())[:MAX_ROWS]:
        where = f"<th>{_node(source, names)}</th><th>{_node(destination, names)}</th>"
        rows.append(
            "<tr>" + where + "".join(f"<td>{_cell(row.get(port, ()))}</td>" for port in ports) + "</tr>"
        )
    more = len(cells) - len(rows)
    note = f'<p class="small">{more} more pairs are in verdict.json.</p>' if more else ""
    return (
        f'<div class="scroll"><table><thead><tr><th>from</th><th>to</th>{head}</tr></thead><tbody>'
        + "\n".join(rows)
        + f"</tbody></table></div>{note}"
    )


def _node(host: str, names: Mapping[str, str]) -> str:
    name = names.get(host)
    return f'{escape(name)}<br><span class="small">{escape(host)}</span>' if name else escape(host)


def _cell(flows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for flow in flows:
        seen = f"{_ARROWS[flow['direction']]}, {flow['payload_bytes']} B in {flow['packets']} packets"
        seen += f", {flow['missing_bytes']} B missing" if flow["missing_bytes"] else ""
        seen += f", canaries readable: {len(flow['canaries'])}" if flow["canaries"] else ""
        seen += "".join(f"; {text}" for text in flow["evidence"])
        lines.append(f'{_mark(Level(flow["level"]))}<br><span class="small">{escape(seen)}</span>')
    return "<br>".join(lines) or '<span class="small">&ndash;</span>'


def _port_level(verdict: Mapping[str, Any]) -> Level:
    if verdict["judgement"] == "encrypted":
        return Level(worst([flow["level"] for flow in verdict["flows"] if flow["level"] != Level.SILENT]))
    return _PORT_LEVELS.get(str(verdict["judgement"]), Level.UNKNOWN)


def _ports(content: Mapping[str, Any]) -> str:
    control = {one["port"]: one for one in content["control"]["verdicts"]} if content["control"] else {}
    rows = []
    for verdict in content["verdicts"]:
        seen = "; ".join(f"{one['count']} &times; {escape(one['detail'])}" for one in verdict["findings"][:8])
        names = ", ".join(escape(name) for name in verdict["certificate_names"][:8])
        twin = control.get(verdict["port"])
        found = f"readable: {len(twin['canaries'])}" if twin and twin["canaries"] else "-"
        rows.append(
            f"<tr><th>{verdict['port']}</th><td>{_mark(_port_level(verdict))}</td><td>{verdict['packets']}</td>"
            f"<td>{verdict['payload_bytes']}</td><td>{verdict['missing_bytes']}</td><td>{len(verdict['canaries'])}</td>"
            f"<td>{len(verdict['sealed_canaries'])}</td><td>{found}</td><td>{seen}</td><td>{names}</td></tr>"
        )
    heads = "port,verdict,packets,bytes,missing,canaries readable,canaries sealed,in the control,seen,certificates"
    head = "".join(f"<th>{escape(one)}</th>" for one in heads.split(","))
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )


def _dumps(content: Mapping[str, Any]) -> str:
    control = {one["port"]: one for one in content["control"]["verdicts"]} if content["control"] else {}
    parts = []
    for verdict in content["verdicts"]:
        twin = control.get(verdict["port"])
        if not verdict["excerpt"] and not (twin and twin["excerpt"]):
            continue
        parts.append(
            f'<h3>Port {verdict["port"]}</h3><div class="pair"><div><h4>In clear (the control)</h4>'
            f"{_dump(twin)}</div><div><h4>In this mesh</h4>{_dump(verdict)}</div></div>"
        )
    return "\n".join(parts) or "<p>No payload.</p>"


def _dump(verdict: Mapping[str, Any] | None) -> str:
    shown = verdict["excerpt"] if verdict else None
    if not shown:
        return "<p>Nothing was captured here.</p>"
    head = f"{shown['time']} {shown['transport'].upper()} {shown['source']} > {shown['destination']}"
    return f"<pre>{escape(head)}\n{escape(chr(10).join(shown['dump']))}</pre>"


def _when(title: str, part: Mapping[str, Any]) -> str:
    levels = {str(verdict["port"]): _port_level(verdict).value for verdict in part["verdicts"]}
    line = part["timeline"]
    return (
        f'<h3>{title}</h3><p class="small">From {escape(line["start"])}; '
        f"a bar is {line['width_seconds']} s of payload.</p>"
        f'<div class="scroll">{timeline(line, levels)}</div>'
    )


def _sources(content: Mapping[str, Any]) -> str:
    parts = [("the mesh", content["captures"])]
    parts += [("the control", content["control"]["captures"])] if content["control"] else []
    rows = [
        f"<tr><td>{escape(one['file'])}</td><td>{whose}</td><td>{one['frames']}</td><td>{one['damaged']}</td>"
        f"<td>{one['lost_fragments']}</td><td>{'yes' if one['cut'] else 'no'}</td></tr>"
        for whose, captures in parts
        for one in captures
    ]
    heads = "".join(
        f"<th>{head}</th>" for head in ("capture", "of", "frames", "damaged", "incomplete", "cut short")
    )
    question = content["question"]
    digests = [f"canary, SHA-256 {one['sha256']}" for one in question["canaries"]]
    digests += [f"configuration {name}, SHA-256 {digest}" for name, digest in question["configs"].items()]
    digests += [f"gossip key {fingerprint}" for fingerprint in content["gossip_keys"]]
    listed = "".join(f"<li>{escape(text)}</li>" for text in digests)
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f"<ul>{listed}</ul><p>Every file of the bundle and its SHA-256 is in MANIFEST. <code>meshnode prove "
        "-verify BUNDLE</code> compares them, judges the captures again, and says whether it comes to the same.</p>"
    )
