# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fault on this node, and its undoing, as commands: the undoing is written down and timed before anything is done.

So whoever dies in the middle, the module, Ansible or the controller, the node is whole again after C(max_seconds).
"""

from __future__ import annotations

import glob
import ipaddress
import json
import os
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils import _chaos

DIRECTORY = "/run/mesh-fault"
#: What a unit keeps, and what fills up when the disk is full.
DATA = {_chaos.AGENT: "/var/lib/consul", _chaos.ETCD: "/var/lib/etcd/mesh"}
WIRE_UNIT = "mesh-fault-wire"
#: Faults of the wire that a program of ours does: many kernels lack netem.
WIRED = ("delay", "duplicate", "reorder")
#: Mebibytes that a small disk has beside what is on it already.
ROOM_MIB = 16
MAX_DISK_MIB = 1024
TUN, BLKIO = "/dev/net/tun", "/sys/fs/cgroup/blkio"
#: Debian's libfaketime, which gives one process a wall clock of its own.
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"
UNITS = "/run/systemd/system"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")

Command = tuple[str, ...]


class FaultError(Exception):
    """The fault can't be done or undone here; C(str()) says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """``do`` and then ``undo``, each in order; ``script`` says whether ``do`` needs the program of the wire."""

    do: tuple[Command, ...]
    undo: tuple[Command, ...]
    script: bool = False


@dataclass(frozen=True)
class Place:
    """What a plan has to know of its node. ``device`` is the numbers of the disk (254:0), ``faketime`` a path."""

    address: str = ""
    peers: tuple[str, ...] = ()
    dns_port: int = 8600
    data: str = ""
    data_mib: int = 0
    device: str = ""
    python: str = "/usr/bin/python3"
    faketime: str = ""


def check_service(fault: str, service: str) -> None:
    """Refuse a service that the fault, if it is of the catalogue, is not for."""
    kind = _chaos.CATALOGUE.get(fault)
    if kind is not None and service not in kind.services:
        raise FaultError(f"service: {fault} is not for {service!r}: write {' or '.join(kind.services)}")


def plan(fault: str, service: str, amount: float, place: Place) -> Plan:
    """The commands of a fault of the catalogue."""
    kind = _chaos.CATALOGUE.get(fault)
    if kind is None:
        raise FaultError(f"fault: {fault!r} is not known")
    check_service(fault, service)
    for name, value in (("peers", place.peers), ("address", (place.address,))):
        for each in value if fault in {"cut", "cut_in", "cut_out", "loss", *WIRED} else ():
            _check_address(name, each)
    amount = amount or kind.amount
    makers: dict[str, Callable[[], Plan]] = {
        "kill": lambda: _kill(service),
        "pause": lambda: Plan((_signal(service, "STOP"),), (_signal(service, "CONT"),)),
        "dns": lambda: _rules(
            [("INPUT", "-p", way, "--dport", str(place.dns_port)) for way in ("udp", "tcp")], ()
        ),
        "disk_full": lambda: _disk_full(service, place),
        "slow_disk": lambda: _slow_disk(place, int(amount)),
        "clock": lambda: _clock(service, int(amount), place.faketime),
    }
    if fault in WIRED:
        return _wire(fault, amount, place)
    return makers[fault]() if fault in makers else _packets(fault, amount, place.peers)


def _check_address(name: str, text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise FaultError(f"{name}: {text!r} is not an IP address") from None


def _signal(service: str, name: str) -> Command:
    return "systemctl", "kill", "--signal", name, "--kill-who=main", service


def _start(service: str) -> tuple[Command, ...]:
    return ("systemctl", "reset-failed", service), ("systemctl", "start", "--no-block", service)


def _kill(service: str) -> Plan:
    # The stop finds nothing left to end; it keeps systemd from starting the unit again.
    return Plan((_signal(service, "KILL"), ("systemctl", "stop", service)), _start(service))


def _rules(matches: Sequence[tuple[str, ...]], condition: tuple[str, ...]) -> Plan:
    """Packets that match are dropped; a match begins with its chain."""
    tail = (*condition, "-m", "comment", "--comment", "mesh-fault", "-j", "DROP")
    return Plan(
        tuple(("iptables", "-w", "-I", chain, *match, *tail) for chain, *match in matches),
        tuple(("iptables", "-w", "-D", chain, *match, *tail) for chain, *match in matches),
    )


def _packets(fault: str, amount: float, peers: Sequence[str]) -> Plan:
    chains = {"cut_in": ("INPUT",), "cut_out": ("OUTPUT",)}.get(fault, ("INPUT", "OUTPUT"))
    matches = [(chain, "-s" if chain == "INPUT" else "-d", peer) for peer in peers for chain in chains]
    share = ("-m", "statistic", "--mode", "random", "--probability", f"{amount:g}")
    return _rules(matches, share if fault == "loss" else ())


def _wire(fault: str, amount: float, place: Place) -> Plan:
    config = {"fault": fault, "amount": amount, "address": place.address, "peers": list(place.peers)}
    started = (
        *("systemd-run", f"--unit={WIRE_UNIT}", "--collect", "--quiet", "--property=Type=notify"),
        *("--property=TimeoutStopSec=5", place.python, f"{DIRECTORY}/wire.py", json.dumps(config)),
    )
    return Plan((started,), (("systemctl", "stop", WIRE_UNIT),), script=True)


def _disk_full(service: str, place: Place) -> Plan:
    """The data moves to a small file system in memory, which is filled; what was written there meanwhile moves back.

    The old directory is replaced in one step at the end, so that a node that loses power in between has one of the two.
    """
    if not place.data.startswith("/") or place.data.count("/") < 2:
        raise FaultError(
            f"data_dir: {place.data!r} can't be moved: give the directory with the data of {service}"
        )
    if place.data_mib > MAX_DISK_MIB:
        raise FaultError(
            f"{place.data}: {place.data_mib} MiB are too many to be moved to memory: at most {MAX_DISK_MIB}"
        )
    disk, back = f"{DIRECTORY}/disk", f"{place.data}.mesh-fault"
    size = f"size={place.data_mib + ROOM_MIB}M,mode=0755"
    fill = f"dd if=/dev/zero of={shlex.quote(f'{disk}/data/.mesh-fault')} bs=64k 2>/dev/null || :"
    do: tuple[Command, ...] = (
        ("systemctl", "stop", service),
        ("mkdir", "-p", disk),
        ("mount", "-t", "tmpfs", "-o", size, "mesh-fault", disk),
        ("cp", "-a", place.data, f"{disk}/data"),
        ("mount", "--bind", f"{disk}/data", place.data),
        *_start(service),
        # It is up by then: what is looked at is a disk that fills up, not a start that fails.
        ("sleep", "3"),
        ("sh", "-c", fill),
    )
    undo: tuple[Command, ...] = (
        ("rm", "-f", f"{disk}/data/.mesh-fault"),
        ("systemctl", "stop", service),
        ("rm", "-rf", back),
        ("cp", "-a", f"{disk}/data", back),
        ("umount", place.data),
        ("mv", place.data, f"{back}-old"),
        ("mv", back, place.data),
        ("rm", "-rf", f"{back}-old"),
        ("umount", disk),
        ("rmdir", disk),
        *_start(service),
    )
    return Plan(do, undo)


def _slow_disk(place: Place, bytes_per_second: int) -> Plan:
    """The kernel makes what this node writes through to its disk wait; cgroup v1 has a controller for it."""
    group = f"{DIRECTORY}/blkio"
    file = f"{group}/blkio.throttle.write_bps_device"
    return Plan(
        (
            ("mkdir", "-p", group),
            ("mount", "-t", "cgroup", "-o", "blkio", "blkio", group),
            _write(file, f"{place.device} {bytes_per_second}"),
        ),
        (
            _write(file, f"{place.device} 0"),
            ("umount", group),
            ("rmdir", group),
        ),
    )


def _clock(service: str, seconds: int, library: str) -> Plan:
    """The unit runs with a library between it and the wall clock, which jumps once it is up.

    The monotonic clock goes on as it is: a machine whose time is set keeps that one, too.
    """
    folder = f"{UNITS}/{service}.service.d"
    unit, offset = f"{folder}/mesh-fault.conf", f"{folder}/mesh-fault.clock"
    lines = ["[Service]"]
    for name, value in (
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", offset),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ):
        lines.append(f"Environment={name}={value}")
    again: tuple[Command, ...] = (
        ("systemctl", "daemon-reload"),
        ("systemctl", "stop", service),
        *_start(service),
    )
    return Plan(
        (
            ("mkdir", "-p", folder),
            _write(offset, "+0s"),
            _write(unit, *lines),
            *again,
            # It is up by then: what is looked at is a clock that jumps, not a start at another time.
            ("sleep", "3"),
            _write(offset, f"{seconds:+d}s"),
        ),
        (("rm", "-f", unit, offset), ("rmdir", "--ignore-fail-on-non-empty", folder), *again),
    )


def _write(path: str, *lines: str) -> Command:
    return "sh", "-c", f"printf '%s\\n' {shlex.join(lines)} > {shlex.quote(path)}"


def undo_text(commands: Sequence[Command], name: str) -> str:
    """A program for the shell that runs all ``commands``, says which failed, and removes its own record."""
    lines = [f"{shlex.join(command)} || failed={shlex.quote(command[0])}" for command in commands]
    remove = f"rm -f {shlex.quote(f'{DIRECTORY}/{name}.undo')} {shlex.quote(f'{DIRECTORY}/{name}.json')}"
    return "\n".join(
        ["failed=", *lines, remove, '[ -z "$failed" ] || { echo "$failed failed" >&2; exit 1; }', ""]
    )


def device_of(mounts: str, number: tuple[int, int]) -> str:
    """The disk that a file with device ``number`` is on, or that of the container that holds it; empty if not known.

    ``mounts`` is /proc/self/mountinfo. An overlay has no disk of its own, but the files that an engine binds into a
    container are on the same one (proc(5): the third field is the device, the fifth where it is mounted).
    """
    if number[0]:
        return f"{number[0]}:{number[1]}"
    for line in mounts.splitlines():
        fields = line.split()
        if (
            len(fields) > 4
            and fields[4] in ("/etc/hosts", "/etc/resolv.conf")
            and not fields[2].startswith("0:")
        ):
            return fields[2]
    return ""


class Faults:
    """Those of this node."""

    def __init__(self, module: Any, directory: str = DIRECTORY) -> None:
        self.module = module
        self.directory = Path(directory)

    def refused(self) -> dict[str, str]:
        """Faults that this node can't have, and why."""
        found: dict[str, str] = {}
        if not self._can_open(TUN):
            found |= dict.fromkeys(
                WIRED, f"{TUN} can't be opened on this node: no packet is held up without it"
            )
        if not os.path.isdir(BLKIO):
            found["slow_disk"] = (
                f"this node has no {BLKIO}, the controller of cgroup v1 that makes writes wait"
            )
        elif not self.device(DATA[_chaos.AGENT]):
            found["slow_disk"] = "the disk below this node's file system is not known"
        if not self.faketime():
            found["clock"] = (
                "the wall clock belongs to the whole machine: for one agent's alone install libfaketime on this node"
            )
        for program, faults in {"iptables": ("cut", "cut_in", "cut_out", "loss", "dns"), "ip": WIRED}.items():
            if self.module.get_bin_path(program) is None:
                found |= dict.fromkeys(faults, f"{program} is not installed on this node")
        return found

    def _can_open(self, path: str) -> bool:
        if not os.path.exists(path) and self.module.check_mode:
            return True
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.exists(path):
                os.mknod(path, 0o600 | 0o020000, os.makedev(10, 200))
            os.close(os.open(path, os.O_RDWR))
        except OSError:
            return False
        return True

    def device(self, path: str) -> str:
        """Numbers of the disk that ``path`` is on."""
        found = os.stat(path if os.path.exists(path) else "/").st_dev
        return device_of(Path("/proc/self/mountinfo").read_text(), (os.major(found), os.minor(found)))

    def faketime(self) -> str:
        """Path of the library; empty where it is not installed."""
        return next(iter(sorted(glob.glob(FAKETIME))), "")

    def there(self) -> list[str]:
        """Names of the faults that this node has now."""
        return sorted(path.stem for path in self.directory.glob("*.undo"))

    def begin(self, name: str, what: Plan, max_seconds: float, script: str) -> None:
        """Write the undoing down, time it, and do it; what fails is undone at once."""
        if not _NAME.fullmatch(name):
            raise FaultError(f"name: {name!r} is not possible: use lower-case letters, digits and '_'")
        if self.there():
            raise FaultError(
                f"this node has the fault {self.there()[0]} already: one at a time; undo it first"
            )
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if what.script:
            (self.directory / "wire.py").write_text(script)
        undo = self.directory / f"{name}.undo"
        undo.write_text(undo_text(what.undo, name))
        timed = (
            *("systemd-run", f"--unit=mesh-fault-{name}-undo", f"--on-active={max_seconds:g}", "--collect"),
            *("--quiet", "--timer-property=AccuracySec=100ms", "/bin/sh", str(undo)),
        )
        done = 0
        try:
            for command in (timed, *what.do):
                self._run(command)
                done += 1
        except FaultError:
            if done:
                self.end(name, may_fail=True)
            undo.unlink(missing_ok=True)
            raise

    def end(self, name: str, *, may_fail: bool = False) -> None:
        """Undo it, once: whoever comes first, this or the timer."""
        undo = self.directory / f"{name}.undo"
        if not undo.exists():
            return
        self.module.run_command(["systemctl", "stop", f"mesh-fault-{name}-undo.timer"])
        code, _out, err = self.module.run_command(["/bin/sh", str(undo)])
        if code and not may_fail:
            raise FaultError(
                f"{name} was not undone wholly: {err.strip()[-300:]}: look at this node, or make it again"
            )

    def _run(self, command: Command) -> None:
        code, out, err = self.module.run_command(list(command))
        if code and command[:2] != ("systemctl", "reset-failed"):
            raise FaultError(f"{command[0]} failed: {(err or out).strip()[-300:] or f'exit code {code}'}")


def hold(faults: Faults, name: str, seconds: float) -> float:
    """Let the fault last and undo it; returns when that was done, in seconds since the epoch."""
    time.sleep(seconds)
    faults.end(name)
    return time.time()
