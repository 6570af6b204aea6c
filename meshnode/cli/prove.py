"""``prove``: judge captures. Which ports were encrypted, which leaked, with the bytes that show it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagSet
from meshnode.prove.capture import Capture, Packet
from meshnode.prove.verdict import PortVerdict, judge

__all__ = ["run"]

DEFAULT_PORTS = "8300,8301,8302,8500,10443"
#: Exit codes: everything as expected; something leaked or is unknown; the run itself proves nothing.
OK, LEAK, VOID = 0, 2, 3


def run(args: list[str]) -> int:
    """Exit 0 when every port is encrypted or silent (with -expect plaintext: when every canary was found)."""
    flags = FlagSet(
        "prove", "Usage: meshnode prove [options] CAPTURE ...", "Judges pcap files, one verdict a port."
    )
    ports = flags.string(
        "ports", "Ports to judge, separated by commas.", default=DEFAULT_PORTS, placeholder="list"
    )
    planted = flags.strings("canary", "A word that was planted in the traffic.", placeholder="word")
    keyring = flags.string(
        "gossip-keyring", "File with the gossip keys, to open sealed frames.", placeholder="file"
    )
    expect = flags.string("expect", "encrypted, or plaintext for a negative control.", default="encrypted")
    allowed = flags.string("plaintext-ports", "Ports that are meant to be readable.", placeholder="list")
    as_json = flags.boolean("json", "Print the verdicts as JSON.")
    parsed = flags.parse(args)
    if not parsed.positionals:
        raise ConfigError("prove: name at least one capture file")
    if parsed[expect] not in {"encrypted", "plaintext"}:
        raise ConfigError(f"-expect: {parsed[expect]!r} is neither encrypted nor plaintext")
    canaries = parsed[planted]
    keys = _read_keys(parsed[keyring]) if parsed[keyring] else ()
    wanted = _port_list(parsed[ports], "-ports")
    with contextlib.ExitStack() as stack:
        captures = [_open(stack, name) for name in parsed.positionals]
        verdicts = judge(_all_packets(captures), wanted, canaries, keys)
    readable = _port_list(parsed[allowed], "-plaintext-ports") if parsed[allowed] else ()
    code = _conclude(verdicts, canaries, parsed[expect], readable)
    truncated = sum(capture.truncated for capture in captures)
    if parsed[as_json]:
        print(
            json.dumps(
                {"verdicts": [v.as_dict() for v in verdicts], "truncated": truncated, "exit": code}, indent=4
            )
        )
    else:
        _print(verdicts)
        print(_sentence(code, parsed[expect]))
    return code


def _conclude(
    verdicts: list[PortVerdict], canaries: tuple[str, ...], expect: str, readable: tuple[int, ...]
) -> int:
    found = {canary for verdict in verdicts for canary in verdict.canaries}
    if not any(verdict.payload_bytes for verdict in verdicts):
        return VOID
    if expect == "plaintext":
        return OK if canaries and found >= set(canaries) else VOID
    strict = [verdict for verdict in verdicts if verdict.port not in readable]
    leaked = any(verdict.judgement in {"plaintext", "unknown"} for verdict in strict)
    return LEAK if leaked or any(verdict.canaries for verdict in strict) else OK


def _sentence(code: int, expect: str) -> str:
    if code == LEAK:
        return "FAILED: not everything is encrypted."
    if code == VOID:
        return "VOID: this run proves nothing: " + (
            "not every canary was found where all of them are readable."
            if expect == "plaintext"
            else "no payload was captured on these ports."
        )
    return "PROVED: " + (
        "the control finds every canary in clear."
        if expect == "plaintext"
        else "no readable byte, no canary."
    )


def _print(verdicts: list[PortVerdict]) -> None:
    from meshnode.cli.table import columns

    rows = [["Port", "Verdict", "Packets", "Bytes", "Seen", "Canaries"]]
    for verdict in verdicts:
        seen = (
            "; ".join(f"{count}x {detail}" for (_, detail), count in verdict.findings.most_common(3)) or "-"
        )
        names = (
            f" certificates: {', '.join(sorted(verdict.certificate_names))}"
            if verdict.certificate_names
            else ""
        )
        canaries = str(len(verdict.canaries)) if verdict.canaries else "none"
        numbers = [str(verdict.packets), str(verdict.payload_bytes)]
        rows.append([str(verdict.port), verdict.judgement, *numbers, seen + names, canaries])
    print(columns(rows))
    for verdict in verdicts:
        if verdict.excerpt:
            print(f"\nPort {verdict.port}, {verdict.judgement}:\n{verdict.excerpt}")
    print()


def _all_packets(captures: list[Capture]) -> Iterator[Packet]:
    for capture in captures:
        yield from capture.packets()


def _open(stack: contextlib.ExitStack, name: str) -> Capture:
    try:
        return Capture(stack.enter_context(Path(name).open("rb")), name)
    except OSError as error:
        raise MeshError(f"can't read the capture {name}: {error.strerror}") from None


def _port_list(text: str, flag: str) -> tuple[int, ...]:
    try:
        found = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"{flag}: {text!r} is not a list of port numbers such as 8300,8301") from None
    if not all(0 < port <= 65535 for port in found):
        raise ConfigError(f"{flag}: ports are numbers from 1 to 65535, got {text!r}")
    return found


def _read_keys(path: str) -> tuple[bytes, ...]:
    """Keys of a keyring file (a JSON list) or of the controller's ``gossip.json``; never printed."""
    import base64
    import binascii

    try:
        content = json.loads(sys.stdin.read() if path == "-" else Path(path).read_text())
        listed = content["keys"] if isinstance(content, dict) else content
        words = [entry["key"] if isinstance(entry, dict) else entry for entry in listed]
        return tuple(base64.b64decode(word, validate=True) for word in words)
    except OSError as error:
        raise MeshError(f"-gossip-keyring: can't read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise ConfigError(f"-gossip-keyring: {path} is not a JSON list of base64 keys") from None
