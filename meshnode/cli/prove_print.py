"""What ``prove`` shows: the bytes, a row per port, a row per pair of nodes, and the last line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from meshnode.cli.table import columns
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.conclusion import Conclusion
from meshnode.prove.flow import Flow, Level
from meshnode.prove.verdict import PortVerdict

__all__ = ["MAX_PAIR_ROWS", "text_report"]

#: Rows of pairs that a terminal gets, the worst first; all of them are in the JSON.
MAX_PAIR_ROWS: Final = 40
_ORDER: Final = tuple(Level)


def text_report(
    verdicts: Sequence[PortVerdict], conclusion: Conclusion, keys: Keyring, nodes: Mapping[str, str]
) -> str:
    """The report as text."""
    parts = [
        f"Port {verdict.port}, {verdict.judgement}:\n{verdict.excerpt.lines()}"
        for verdict in verdicts
        if verdict.excerpt
    ]
    rows = [["Port", "Verdict", "Packets", "Bytes", "Canaries", "Seen"]]
    for verdict in verdicts:
        numbers = [str(verdict.packets), str(verdict.payload_bytes)]
        rows.append([str(verdict.port), verdict.judgement, *numbers, _canaries(verdict), _seen(verdict)])
    parts += [*_pairs(verdicts, nodes), columns(rows)]
    if keys:
        parts.append(f"Gossip keys tried: {', '.join(keys.fingerprints)}")
    return "\n\n".join([*parts, str(conclusion)])


def _pairs(verdicts: Sequence[PortVerdict], nodes: Mapping[str, str]) -> list[str]:
    spoken = [
        (verdict.port, flow)
        for verdict in verdicts
        for _, flow in sorted(verdict.flows.items())
        if flow.level is not Level.SILENT
    ]
    if not spoken:
        return []
    spoken.sort(key=lambda one: _ORDER.index(one[1].level))
    rows = [["Pair", "Port", "Says", "Verdict", "Bytes", "Evidence"]]
    for port, flow in spoken[:MAX_PAIR_ROWS]:
        ends = " > ".join(nodes.get(host, host) for host in (flow.key.source, flow.key.destination))
        way = {"to": "asks", "from": "answers"}.get(flow.key.direction, "tells")
        rows.append([ends, str(port), way, flow.level.value, str(flow.payload_bytes), _evidence(flow)])
    more = len(spoken) - MAX_PAIR_ROWS
    return [columns(rows) + (f"\n({more} more rows, none of them worse: -format=json)" if more > 0 else "")]


def _evidence(flow: Flow) -> str:
    parts = [f"{count}x {level.value}" for level, count in flow.counts.most_common() if count]
    parts += [f"{flow.missing_bytes} bytes missing"] if flow.missing_bytes else []
    parts += [f"canaries READABLE: {len(flow.canaries)}"] if flow.canaries else []
    return "; ".join([*parts, *sorted(flow.evidence)[:2]])


def _canaries(verdict: PortVerdict) -> str:
    if verdict.canaries:
        return f"{len(verdict.canaries)} READABLE"
    return f"{len(verdict.sealed_canaries)} sealed" if verdict.sealed_canaries else "none"


def _seen(verdict: PortVerdict) -> str:
    parts = [f"{count}x {detail}" for (_, detail), count in verdict.findings.most_common(3)]
    if len(verdict.findings) > len(parts):
        parts.append(f"{len(verdict.findings) - len(parts)} more kinds")
    if verdict.missing_bytes:
        parts.append(f"{verdict.missing_bytes} bytes missing")
    if verdict.certificate_names:
        parts.append(f"certificates of {', '.join(sorted(verdict.certificate_names)[:4])}")
    return "; ".join(parts) or "-"
