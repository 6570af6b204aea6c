"""``prove``: judge captures. Which ports were encrypted, which leaked, with the bytes that show it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import sys
from pathlib import Path
from typing import Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagSet
from meshnode.cli.table import columns
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.capture import Capture
from meshnode.prove.conclusion import Conclusion, Outcome, conclude, conclude_control
from meshnode.prove.verdict import PortVerdict, judge

__all__ = ["EXIT_CODES", "run"]

DEFAULT_PORTS: Final = "8300,8301,8302,8500,10443"
EXIT_CODES: Final = {Outcome.PROVED: 0, Outcome.FAILED: 2, Outcome.VOID: 3}
_DESCRIPTION: Final = """
Judges pcap and pcapng files, one verdict a port: encrypted, plaintext, unknown, unopened or silent.

Exits with 0 when all that was captured is encrypted (with -expect=plaintext: when every canary was found), with 2
when something is readable or is not shown to be encrypted, and with 3 when the captures prove nothing: no traffic, a
file that is cut short, sealed gossip without a key.
"""


def run(args: list[str]) -> int:
    """Exit as ``EXIT_CODES`` says; 1 when the command line or a file can't be read."""
    flags = FlagSet("prove", "Usage: meshnode prove [options] CAPTURE ...", _DESCRIPTION)
    ports = flags.string(
        "ports", "Ports to judge, separated by commas.", default=DEFAULT_PORTS, placeholder="list"
    )
    planted = flags.strings("canary", "A word that was planted in the traffic.", placeholder="word")
    keyring = flags.string(
        "gossip-keyring",
        "File with the gossip keys that open sealed frames; - reads standard input.",
        placeholder="file",
    )
    expect = flags.string("expect", "encrypted, or plaintext for a negative control.", default="encrypted")
    allowed = flags.string("plaintext-ports", "Ports that are meant to be readable.", placeholder="list")
    required = flags.string(
        "require",
        "Ports that must have carried something; with -expect=plaintext every canary.",
        placeholder="list",
    )
    as_json = flags.boolean("json", "Print the verdicts as JSON.")
    json_file = flags.string("json-file", "Write the verdicts as JSON to this file, too.", placeholder="file")
    parsed = flags.parse(args)
    if not parsed.positionals:
        raise ConfigError("prove: name at least one capture file")
    if parsed.misplaced():
        raise ConfigError(f"prove: {parsed.misplaced()[0]} must come before the capture files")
    if parsed[expect] not in {"encrypted", "plaintext"}:
        raise ConfigError(f"-expect: {parsed[expect]!r} is neither encrypted nor plaintext")
    wanted = _port_list(parsed[ports], "-ports")
    readable, needed = (
        _port_list(parsed[flag], f"-{flag.name}") if parsed[flag] else () for flag in (allowed, required)
    )
    for port in needed:
        if port not in wanted:
            raise ConfigError(f"-require: port {port} is not among the ports to judge: add it to -ports")
    keys = _read_keys(parsed[keyring]) if parsed[keyring] else Keyring()
    canaries = parsed[planted]
    verdicts, captures = _judge(parsed.positionals, wanted, canaries, keys)
    problems = [problem for capture in captures for problem in capture.problems()]
    if parsed[expect] == "plaintext":
        conclusion = conclude_control(verdicts, canaries, needed, problems)
    else:
        conclusion = conclude(verdicts, canaries, readable, needed, problems)
    document = _document(verdicts, captures, conclusion, parsed[expect])
    if parsed[json_file]:
        _write(parsed[json_file], document)
    print(document if parsed[as_json] else _report(verdicts, conclusion, keys))
    return EXIT_CODES[conclusion.outcome]


def _judge(
    names: tuple[str, ...], ports: tuple[int, ...], canaries: tuple[str, ...], keys: Keyring
) -> tuple[list[PortVerdict], list[Capture]]:
    with contextlib.ExitStack() as stack:
        captures = [_open(stack, name) for name in names]
        try:
            return judge((capture.packets() for capture in captures), ports, canaries, keys), captures
        except OSError as error:
            raise MeshError(f"can't read the captures: {error.strerror}") from None


def _document(
    verdicts: list[PortVerdict], captures: list[Capture], conclusion: Conclusion, expect: str
) -> str:
    content = {
        "outcome": conclusion.outcome,
        "reasons": conclusion.reasons,
        "exit": EXIT_CODES[conclusion.outcome],
        "expect": expect,
        "verdicts": [verdict.as_dict() for verdict in verdicts],
        "captures": [
            {
                "file": capture.name,
                "frames": capture.frames,
                "skipped": capture.skipped,
                "damaged": capture.damaged,
                "lost_fragments": capture.lost,
                "cut": capture.cut,
            }
            for capture in captures
        ],
    }
    return json.dumps(content, indent=4)


def _report(verdicts: list[PortVerdict], conclusion: Conclusion, keys: Keyring) -> str:
    parts = [
        f"Port {verdict.port}, {verdict.judgement}:\n{verdict.excerpt.lines()}"
        for verdict in verdicts
        if verdict.excerpt
    ]
    rows = [["Port", "Verdict", "Packets", "Bytes", "Canaries", "Seen"]]
    for verdict in verdicts:
        numbers = [str(verdict.packets), str(verdict.payload_bytes)]
        rows.append([str(verdict.port), verdict.judgement, *numbers, _canaries(verdict), _seen(verdict)])
    parts.append(columns(rows))
    if keys:
        parts.append(f"Gossip keys tried: {', '.join(keys.fingerprints)}")
    return "\n\n".join([*parts, str(conclusion)])


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


def _open(stack: contextlib.ExitStack, name: str) -> Capture:
    try:
        return Capture(stack.enter_context(Path(name).open("rb")), name)
    except OSError as error:
        raise MeshError(f"can't read the capture {name}: {error.strerror}") from None


def _write(name: str, document: str) -> None:
    try:
        Path(name).write_text(document + "\n")
    except OSError as error:
        raise MeshError(f"-json-file: can't write {name}: {error.strerror}") from None


def _port_list(text: str, flag: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) <= 5 for word in words):
        raise ConfigError(f"{flag}: {text!r} is not a list of port numbers such as 8300,8301")
    found = tuple(dict.fromkeys(map(int, words)))
    if not all(0 < port <= 65535 for port in found):
        raise ConfigError(f"{flag}: ports are numbers from 1 to 65535, got {text!r}")
    return found


def _read_keys(path: str) -> Keyring:
    """Keys of a keyring file (a JSON list) or of the controller's ``gossip.json``; never printed."""
    shown = "standard input" if path == "-" else path
    try:
        content = json.loads(sys.stdin.read() if path == "-" else Path(path).read_text())
        listed = content["keys"] if isinstance(content, dict) else content
        words = [entry["key"] if isinstance(entry, dict) else entry for entry in listed]
        keys = [base64.b64decode(word, validate=True) for word in words]
    except OSError as error:
        raise MeshError(f"-gossip-keyring: can't read {shown}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise ConfigError(f"-gossip-keyring: {shown} is not a JSON list of base64 keys") from None
    if not keys:
        raise ConfigError(f"-gossip-keyring: {shown} holds no key")
    try:
        return Keyring(keys)
    except MeshError as error:
        raise ConfigError(f"-gossip-keyring: {shown}: {error}") from None
