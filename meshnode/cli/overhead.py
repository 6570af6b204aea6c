"""``overhead``: what encryption costs, measured in turns at addresses that differ in it."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from meshnode import __version__
from meshnode.base.address import Address
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import Flag, FlagSet, Parsed
from meshnode.prove.cost import schedule
from meshnode.prove.cost_report import Costs, html, markdown
from meshnode.runtime.load import Target, measure

__all__ = ["conditions", "load_costs", "measure_targets", "run", "write_reports"]

MAX_REPETITIONS: Final = 100
MAX_CONNECTIONS: Final = 256
_MAX_FILE_BYTES: Final = 16 * 1024 * 1024
_DESCRIPTION: Final = """
Measures HTTP addresses in turns: requests on kept connections, with a connection each, and large answers, with
processor time and bytes on the wire. Each repetition asks every target once, in an order of its own, so that what else
the machine does falls on all of them. Prints a table of medians with their 95 % intervals and a paragraph about them.

  meshnode overhead -target plain=http://127.0.0.1:8500/v1/kv/a?raw \\
      -target tls=https://127.0.0.1:8501/v1/kv/a?raw \\
      -base tls=plain -process plain=4711 -process tls=4711
"""


class _Flags:
    def __init__(self) -> None:
        flags = self.set = FlagSet("overhead", "Usage: meshnode overhead [options]", _DESCRIPTION)
        self.targets = flags.strings("target", "What to measure.", placeholder="name=URL")
        self.bulk = flags.strings("bulk", "Path of a large answer there.", placeholder="name=path")
        self.bases = flags.strings("base", "In terms of which target to tell it.", placeholder="name=name")
        self.processes = flags.strings(
            "process", "A process whose processor time counts.", placeholder="name=PID"
        )
        self.wires = flags.strings(
            "wire", "Whose connections are counted in bytes, behind a sidecar.", placeholder="name=address"
        )
        self.ca = flags.string(
            "ca-file", "CA of the https targets; without it nobody is checked.", placeholder="file"
        )
        self.cert = flags.string("client-cert", "Certificate to show there.", placeholder="file")
        self.key = flags.string("client-key", "Its key.", placeholder="file")
        self.seconds = flags.string("seconds", "Length of each of the three spans.", default="2")
        self.repetitions = flags.integer(
            "repetitions",
            "Times that each target is measured.",
            default=5,
            minimum=1,
            maximum=MAX_REPETITIONS,
        )
        self.connections = flags.integer(
            "connections", "Connections at one time.", default=16, minimum=1, maximum=MAX_CONNECTIONS
        )
        self.given = flags.strings(
            "samples", "Report on what was measured before (-json-file) instead.", placeholder="file"
        )
        self.json_file = flags.string("json-file", "Keep what was measured in this file.", placeholder="file")
        self.html = flags.string("html", "Write a page with plots.", placeholder="file")
        self.markdown = flags.string(
            "markdown", "Write what is printed to this file, too.", placeholder="file"
        )


def run(args: list[str]) -> int:
    """0; raises :class:`MeshError` when a target doesn't answer."""
    flags = _Flags()
    parsed = flags.set.parse(args)
    parsed.reject_positionals()
    given = parsed[flags.given]
    if given:
        costs = load_costs(given, dict(_pair(text, "-base") for text in parsed[flags.bases]))
    else:
        costs = _measure(flags, parsed)
    write_reports(
        costs,
        json_file=parsed[flags.json_file],
        html_file=parsed[flags.html],
        markdown_file=parsed[flags.markdown],
    )
    print(markdown(costs), end="")
    return 0


def _measure(flags: _Flags, parsed: Parsed) -> Costs:
    targets = _targets(flags, parsed)
    bases = _by_name(parsed, flags.bases, targets)
    for name, base in bases.items():
        if base not in targets or base == name:
            raise ConfigError(f"-base: {name}={base}: {base!r} is not another target")
    try:
        seconds = float(parsed[flags.seconds])
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 600:
        raise ConfigError(f"-seconds: {parsed[flags.seconds]!r} is not a number from 0.1 to 600")
    return measure_targets(
        list(targets.values()), bases, seconds, parsed[flags.repetitions], parsed[flags.connections]
    )


def measure_targets(
    targets: Sequence[Target], bases: dict[str, str], seconds: float, repetitions: int, connections: int
) -> Costs:
    """Every target in each repetition, in turns."""
    by_name = {target.name: target for target in targets}
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in by_name}
    before = conditions(seconds, repetitions, connections)
    for name in schedule(list(by_name), repetitions, random.Random(repetitions)):
        samples[name].append(asyncio.run(measure(by_name[name], seconds, connections)))
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    return Costs(samples, bases, (*before, f"Load average of the machine afterwards: {load}."))


def conditions(seconds: float, repetitions: int, connections: int) -> tuple[str, ...]:
    """Sentences about the machine and the measurement."""
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return (
        f"meshnode {__version__}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {platform.machine()}, "
        f"{os.cpu_count()} processors.",
        f"{repetitions} repetitions in turns, spans of {seconds:g} s, {connections} connections; began {at}.",
        f"Load average of the machine before: {load}.",
    )


def load_costs(names: Sequence[str], more_bases: Mapping[str, str] | None = None) -> Costs:
    """What ``-json-file`` kept, of several runs together; raises :class:`ConfigError` naming the file."""
    samples: dict[str, list[dict[str, float]]] = {}
    bases = dict(more_bases or {})
    told: list[str] = []
    for name in names:
        try:
            with Path(name).open("rb") as file:
                content: Any = json.loads(file.read(_MAX_FILE_BYTES))
            if content["schema"] != "meshnode.cost/1":
                raise ValueError
            for mode, repetitions in content["samples"].items():
                samples.setdefault(str(mode), []).extend(
                    {str(key): float(value) for key, value in one.items()} for one in repetitions
                )
            bases |= {str(one): str(other) for one, other in content["bases"].items()}
            told += [str(sentence) for sentence in content["conditions"]]
        except OSError as error:
            raise MeshError(f"-samples: can't read {name}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ConfigError(f"-samples: {name} is not what -json-file writes") from None
    return Costs(
        samples, {one: other for one, other in bases.items() if other in samples}, tuple(dict.fromkeys(told))
    )


def write_reports(costs: Costs, *, json_file: str = "", html_file: str = "", markdown_file: str = "") -> None:
    """Write what has a name; raises :class:`MeshError`."""
    made: tuple[tuple[str, Callable[[], str]], ...] = (
        (json_file, lambda: json.dumps(costs.as_dict(), indent=1) + "\n"),
        (html_file, lambda: html(costs)),
        (markdown_file, lambda: markdown(costs)),
    )
    for name, text in made:
        try:
            if name:
                Path(name).write_text(text())
        except OSError as error:
            raise MeshError(f"can't write {name}: {error.strerror}") from None


def _targets(flags: _Flags, parsed: Parsed) -> dict[str, Target]:
    if not parsed[flags.targets]:
        raise ConfigError("overhead: name at least one -target, or -samples")
    urls = dict(_pair(text, "-target") for text in parsed[flags.targets])
    bulk = _by_name(parsed, flags.bulk, urls)
    wires = _by_name(parsed, flags.wires, urls)
    processes: dict[str, list[int]] = {}
    for text in parsed[flags.processes]:
        name, pid = _pair(text, "-process")
        if name not in urls or not pid.isascii() or not pid.isdigit():
            raise ConfigError(f"-process: {text!r} is not a target's name with a process ID")
        processes.setdefault(name, []).append(int(pid))
    context = _context(parsed[flags.ca], parsed[flags.cert], parsed[flags.key])
    found = {}
    for name, url in urls.items():
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None:
            raise ConfigError(f"-target: {url!r} is not an http:// or https:// address")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        found[name] = Target(
            name,
            Address(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)),
            path,
            context if parts.scheme == "https" else None,
            bulk.get(name, ""),
            _wire(wires[name]) if name in wires else None,
            tuple(processes.get(name, ())),
        )
    return found


def _wire(text: str) -> Address:
    """``host:port``, or ``:port`` of whatever host."""
    port = text.removeprefix(":")
    if text != port and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return Address("", int(port))
    return Address.parse(text)


def _context(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # What is measured is the cost. Names of nodes are checked by those who trust the answers.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
    try:
        if ca:
            context.load_verify_locations(ca)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except OSError as error:  # ssl.SSLError is one
        named = ", ".join(filter(None, (ca, certificate, key)))
        raise ConfigError(f"can't use {named}: {error.strerror or error}") from None
    return context


def _by_name(parsed: Parsed, flag: Flag[tuple[str, ...]], known: dict[str, Any]) -> dict[str, str]:
    found = dict(_pair(text, f"-{flag.name}") for text in parsed[flag])
    for name in found:
        if name not in known:
            raise ConfigError(f"-{flag.name}: {name!r} is not the name of a -target")
    return found


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"{flag}: {text!r} is not a name, = and a value")
    return name, value
