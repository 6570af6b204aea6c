"""``prove``: judge captures. Which ports were encrypted, which leaked, with the bytes that show it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagSet, Parsed
from meshnode.cli.prove_bundle import judge_paths, verify_bundle, write_bundle
from meshnode.cli.prove_keys import read_keys
from meshnode.cli.prove_print import text_report
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.evidence import EXIT_CODES, Question, document, encode
from meshnode.prove.summary import KV_KEY, encode_summary, summarise

__all__ = ["EXIT_CODES", "port_list", "run"]

DEFAULT_PORTS: Final = "8300,8301,8302,8500,10443"
#: Words of a -canary-file, and its size.
MAX_CANARIES: Final = 256
_MAX_FILE_BYTES: Final = 1 << 20
_DESCRIPTION: Final = """
Judges pcap and pcapng files, one verdict a port and one a pair of nodes: encrypted, plaintext, unknown, unopened or
silent. With -control, captures of the same traffic in a mesh in clear, which have to show every canary: without them a
verdict proves nothing. -bundle keeps captures, verdict and report together; -verify judges a bundle again.

Exits with 0 when all that was captured is encrypted (with -expect=plaintext: when every canary was found), with 2
when something is readable or is not shown to be encrypted, and with 3 when the captures prove nothing: no control, no
traffic, a file that is cut short, sealed gossip without a key. -verify exits as the bundle's verdict does, and with 1
when a byte of it was changed.
"""


class _Flags:
    """The flags of the command."""

    def __init__(self) -> None:
        flags = self.set = FlagSet("prove", "Usage: meshnode prove [options] CAPTURE ...", _DESCRIPTION)
        self.captures = flags.strings("capture", "A capture, as the arguments are.", placeholder="file")
        self.ports = flags.string(
            "ports", "Ports to judge, separated by commas.", default=DEFAULT_PORTS, placeholder="list"
        )
        self.planted = flags.strings("canary", "A word that was planted in the traffic.", placeholder="word")
        self.planted_file = flags.string(
            "canary-file", "File with such words, one a line.", placeholder="file"
        )
        self.keyring = flags.string(
            "gossip-keyring",
            "File with the gossip keys that open sealed frames; - reads standard input.",
            placeholder="file",
        )
        self.expect = flags.string(
            "expect", "encrypted, or plaintext for a control by itself.", default="encrypted"
        )
        self.control = flags.strings(
            "control", "A capture of the same traffic in a mesh in clear.", placeholder="file"
        )
        self.no_control = flags.boolean("no-control", "Judge without one: the control is judged elsewhere.")
        self.allowed = flags.string(
            "plaintext-ports", "Ports that are meant to be readable.", placeholder="list"
        )
        self.required = flags.string(
            "require",
            "Ports that must have carried something; with -expect=plaintext every canary.",
            placeholder="list",
        )
        self.nodes = flags.strings(
            "node", "Name of a node in the report: server1=10.0.0.1.", placeholder="name=address"
        )
        self.configs = flags.strings(
            "config-file", "A configuration whose SHA-256 belongs into the verdict.", placeholder="file"
        )
        self.digests = flags.strings(
            "config-digest", "The same, taken where the file is: server1=SHA256.", placeholder="name=hex"
        )
        self.bundle = flags.string(
            "bundle", "Keep captures, verdict and report in this directory or .tar.gz.", placeholder="path"
        )
        self.bundle_keys = flags.boolean(
            "bundle-keys", "Put the gossip keys into the bundle: for a lab only."
        )
        self.verify = flags.string("verify", "Judge this bundle again, and compare.", placeholder="bundle")
        self.format = flags.string("format", "text or json.", default="text")
        self.as_json = flags.boolean("json", "The same as -format=json.")
        self.json_file = flags.string(
            "json-file", "Write the verdicts as JSON to this file, too.", placeholder="file"
        )
        self.summary_file = flags.string(
            "summary-file",
            f"Write a short form without secrets to this file, for the KV key {KV_KEY}.",
            placeholder="file",
        )


@dataclass(frozen=True, slots=True)
class _Files:
    captures: tuple[Path, ...]
    control: tuple[Path, ...]


def run(args: list[str]) -> int:
    """Exit as ``EXIT_CODES`` says; 1 when the command line or a file can't be read."""
    flags = _Flags()
    parsed = flags.set.parse(args)
    keys, words = read_keys(parsed[flags.keyring]) if parsed[flags.keyring] else (Keyring(), [])
    if parsed[flags.verify]:
        _reject_beside_verify(parsed)
        return verify_bundle(Path(parsed[flags.verify]), keys)
    files = _files(flags, parsed)
    _check_words(flags, parsed)
    question = _question(flags, parsed)
    if parsed[flags.bundle]:
        content, conclusion, mesh, digest = write_bundle(
            Path(parsed[flags.bundle]),
            files.captures,
            files.control,
            question,
            keys,
            key_words=words if parsed[flags.bundle_keys] else (),
        )
    else:
        mesh, control = (
            judge_paths([(str(path), path) for path in paths], question, keys)
            for paths in (files.captures, files.control)
        )
        content, conclusion = document(
            question,
            mesh,
            control if files.control else None,
            keys,
            expect=parsed[flags.expect],
            needs_control=not parsed[flags.no_control],
        )
        digest = ""
    text = encode(content)
    _write_files(flags, parsed, text, digest)
    if parsed[flags.as_json] or parsed[flags.format] == "json":
        print(text)
    else:
        kept = f"Bundle {parsed[flags.bundle]}, SHA-256 of its MANIFEST: {digest}\n\n" if digest else ""
        print(kept + text_report(mesh.verdicts, conclusion, keys, question.nodes))
    return EXIT_CODES[conclusion.outcome]


def _write_files(flags: _Flags, parsed: Parsed, text: str, digest: str) -> None:
    if parsed[flags.json_file]:
        _write(parsed[flags.json_file], text + "\n", "-json-file")
    if parsed[flags.summary_file]:
        kept_in = Path(parsed[flags.bundle]).name if parsed[flags.bundle] else ""
        summary = summarise(
            json.loads(text), judged_at=datetime.now(UTC), bundle=kept_in, manifest_sha256=digest
        )
        _write(parsed[flags.summary_file], encode_summary(summary).decode(), "-summary-file")


def _files(flags: _Flags, parsed: Parsed) -> _Files:
    if parsed.misplaced():
        raise ConfigError(f"prove: {parsed.misplaced()[0]} must come before the capture files")
    captures = tuple(Path(name) for name in parsed[flags.captures] + parsed.positionals)
    if not captures:
        raise ConfigError("prove: name at least one capture file")
    control = tuple(Path(name) for name in parsed[flags.control])
    for path in control:
        if path in captures:
            raise ConfigError(
                f"-control: {path} is judged as the mesh, too: a control is another mesh, in clear"
            )
    return _Files(captures, control)


def _check_words(flags: _Flags, parsed: Parsed) -> None:
    """Flags that contradict each other."""
    if parsed[flags.expect] not in {"encrypted", "plaintext"}:
        raise ConfigError(f"-expect: {parsed[flags.expect]!r} is neither encrypted nor plaintext")
    if parsed[flags.format] not in {"text", "json"}:
        raise ConfigError(f"-format: {parsed[flags.format]!r} is neither text nor json")
    control, without = parsed[flags.control], parsed[flags.no_control]
    if control and without:
        raise ConfigError("-no-control and -control contradict each other: leave one out")
    alone = parsed[flags.expect] == "plaintext"
    if alone and control:
        raise ConfigError("-expect=plaintext judges a control by itself: leave out -control")
    if parsed[flags.bundle] and (alone or without):
        raise ConfigError(
            "-bundle keeps a mesh with its control: give -control, without -expect and -no-control"
        )
    if parsed[flags.bundle_keys] and not (parsed[flags.bundle] and parsed[flags.keyring]):
        raise ConfigError("-bundle-keys needs -bundle, and -gossip-keyring with the keys")


def _reject_beside_verify(parsed: Parsed) -> None:
    others = sorted(parsed.given_names() - {"verify", "gossip-keyring"})
    if others:
        raise ConfigError(f"-verify asks what the bundle was asked: leave out -{others[0]}")
    parsed.reject_positionals()


def _question(flags: _Flags, parsed: Parsed) -> Question:
    wanted = port_list(parsed[flags.ports], "-ports")
    readable, needed = (
        port_list(parsed[flag], f"-{flag.name}") if parsed[flag] else ()
        for flag in (flags.allowed, flags.required)
    )
    for port in needed:
        if port not in wanted:
            raise ConfigError(f"-require: port {port} is not among the ports to judge: add it to -ports")
    words = parsed[flags.planted] + _canary_words(parsed[flags.planted_file])
    nodes = dict(_node(text) for text in parsed[flags.nodes])
    configs = dict(_config(text) for text in parsed[flags.configs])
    configs |= dict(_digest(text) for text in parsed[flags.digests])
    return Question(wanted, readable, needed, tuple(dict.fromkeys(words)), nodes, configs)


def _canary_words(name: str) -> tuple[str, ...]:
    if not name:
        return ()
    words = tuple(filter(None, map(str.strip, _text(name, "-canary-file").splitlines())))
    if not 0 < len(words) <= MAX_CANARIES:
        raise ConfigError(
            f"-canary-file: {name} holds {len(words)} words: write 1 to {MAX_CANARIES}, one a line"
        )
    return words


def _node(text: str) -> tuple[str, str]:
    name, equals, address = text.partition("=")
    try:
        if not (name and equals):
            raise ValueError
        return str(ip_address(address)), name
    except ValueError:
        raise ConfigError(f"-node: {text!r} is not a name with an address such as server1=10.0.0.1") from None


def _config(name: str) -> tuple[str, str]:
    try:
        with Path(name).open("rb") as file:
            return name, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MeshError(f"-config-file: can't read {name}: {error.strerror}") from None


def _digest(text: str) -> tuple[str, str]:
    name, _, digest = text.rpartition("=")
    if not name or len(digest) != 64 or digest.strip("0123456789abcdef"):
        raise ConfigError(f"-config-digest: {text!r} is not a name with a SHA-256 such as server1=9f86d0...")
    return name, digest


def _text(name: str, flag: str) -> str:
    try:
        with Path(name).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ConfigError(f"{flag}: {name} is larger than {_MAX_FILE_BYTES} bytes")
        return data.decode()
    except OSError as error:
        raise MeshError(f"{flag}: can't read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{flag}: {name} is not text") from None


def _write(name: str, text: str, flag: str) -> None:
    try:
        Path(name).write_text(text)
    except OSError as error:
        raise MeshError(f"{flag}: can't write {name}: {error.strerror}") from None


def port_list(text: str, flag: str) -> tuple[int, ...]:
    """Port numbers separated by commas; raises :class:`ConfigError` naming ``flag``."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) <= 5 for word in words):
        raise ConfigError(f"{flag}: {text!r} is not a list of port numbers such as 8300,8301")
    found = tuple(dict.fromkeys(map(int, words)))
    if not all(0 < port <= 65535 for port in found):
        raise ConfigError(f"{flag}: ports are numbers from 1 to 65535, got {text!r}")
    return found
