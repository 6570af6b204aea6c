# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Etcd on one server, in one call: package, files, unit, membership, health."""

from __future__ import annotations

import contextlib
import glob
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import UNIT_DIGEST
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_control import Control, last_line
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import (
    SETTINGS_DIGEST,
    MemberError,
    Server,
    initial_of_inventory,
    initial_of_members,
    next_step,
    own_entry,
    render_initial,
    render_settings,
    settings_of,
)
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_turn import Turn, spoken
from ansible_collections.meshnode.lab.plugins.module_utils._files import (
    Directory,
    File,
    Ownership,
    gid_of,
    uid_of,
)
from ansible_collections.meshnode.lab.plugins.module_utils._node_spec import render_unit

POLL_INTERVAL = 0.25
#: A member that systemd had to start again this often while we waited will not come up by waiting longer.
MAX_RESTARTS = 3
PROPERTIES = ("ActiveState", "MainPID", "NRestarts", "UnitFileState")
BEGIN_EMPTY = "mesh_etcd_begin_empty"


@dataclass(frozen=True)
class Plan:
    """Everything that is to be on the server; C(tls) has ca, ca_file, certificate, cert_file and key_file."""

    me: Server
    servers: tuple[Server, ...]
    settings: dict[str, Any]
    unit: str
    tls: dict[str, str | None]
    config_dir: str = "/etc/etcd"
    data_dir: str = "/var/lib/etcd/mesh"
    embedded_log: str = ""
    service: str = "etcd"
    user: str = "etcd"
    group: str = "etcd"
    packages: tuple[str, ...] = ("etcd-server", "etcd-client")
    token: str = "mesh"
    may_begin: bool = False
    begin_empty: bool = False
    clear_members: bool = False
    restart: str = "drift"
    wait: bool = True
    timeout: float = 60.0
    unit_folder: str = "/etc/systemd/system"
    programs: tuple[str, ...] = ("/usr/bin/etcd", "/usr/bin/etcdctl")

    @property
    def settings_file(self) -> str:
        return f"{self.config_dir}/etcd.env"

    @property
    def initial_file(self) -> str:
        return f"{self.config_dir}/initial.env"

    @property
    def joined_file(self) -> str:
        """Says that this server was a healthy member once; the other servers' runs ask for it."""
        return f"{self.config_dir}/joined"

    @property
    def unit_file(self) -> str:
        return f"{self.unit_folder}/{self.service}.service"

    def items(self) -> list[Directory | File]:
        """In the order in which they are put."""
        private = Ownership(self.user, self.group, 0o700)
        items: list[Directory | File] = [Directory(self.config_dir, Ownership(mode=0o755))]
        if self.tls:
            folders = {os.path.dirname(str(self.tls[name])) for name in ("ca_file", "cert_file", "key_file")}
            items += [Directory(folder, private) for folder in sorted(folders)]
            for name, path in (("ca", "ca_file"), ("certificate", "cert_file")):
                if content := self.tls[name]:
                    secret = Ownership(self.user, self.group, 0o600)
                    items.append(
                        File(str(self.tls[path]), f"{content.rstrip()}\n".encode(), secret, "digest")
                    )
            items.append(
                File(str(self.tls["key_file"]), None, Ownership(self.user, self.group, 0o600), "digest")
            )
        items.append(Directory(self.data_dir, private))
        authorities = self.tls.get("ca") or _read(self.tls.get("ca_file") or "")
        settings = render_settings(self.settings, authorities)
        items.append(File(self.settings_file, settings.encode(), Ownership()))
        items.append(File(self.unit_file, render_unit(self.unit).encode(), Ownership()))
        return items


@dataclass
class Report:
    """What was, or in check mode would be, done; and how the member is."""

    changes: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    healthy: bool = False
    #: What its ports speak, http or https: for clients, for peers. Empty while it does not run.
    speaks: tuple[str, str] = ("", "")


class Etcd:
    """Brings this server to a plan. In check mode it looks, and changes nothing. The clock is the module's."""

    def __init__(
        self,
        module: Any,
        plan: Plan,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        knock: Callable[[str], str] = spoken,
    ) -> None:
        self.module = module
        self.plan = plan
        self.control = Control(module, plan.programs[1], plan.tls)
        self.turn = Turn(self.control, plan.me, plan.servers, self.pause, knock, plan.clear_members)
        self.pretend: bool = module.check_mode
        self.clock = clock
        self.sleep = sleep
        self.report = Report()
        #: Whether this run brings the server into a cluster that there is.
        self.joining = False
        self.ends = clock() + plan.timeout

    def run(self) -> Report:
        """Do what is due; raises MemberError."""
        self.install()
        self.put_files()
        if not self.pretend and self.plan.tls and not os.path.exists(str(self.plan.tls["key_file"])):
            raise MemberError(
                f"{self.plan.tls['key_file']}: the server has no private key for etcd: run the role mesh_pki before"
            )
        begun = self.has_data()
        if not begun:
            self.become_member()
        restarts = self.bring_up()
        if self.pretend:
            if begun and self.running():
                self.look()
                self.settle()
            return self.report
        # One that joins a cluster that there is waits for nobody, and nobody else may join until it is a voter.
        if self.plan.wait or self.joining:
            self.wait_until_healthy(restarts)
            self.put(File(self.plan.joined_file, f"{self.plan.token}\n".encode(), Ownership()))
            self.settle()
        return self.report

    # What is on disk

    def has_data(self) -> bool:
        """Whether this server is a member by its own memory: a start that failed leaves folders, and no log."""
        return bool(glob.glob(f"{glob.escape(self.plan.data_dir)}/member/wal/*.wal"))

    def install(self) -> None:
        """Debian's packages, from the host's own mirrors. Their unit is not let start: it would serve in clear."""
        if all(map(os.path.exists, self.plan.programs)):
            return
        packages = list(self.plan.packages)
        self.report.changes.append(f"packages {' '.join(packages)}: install")
        if self.pretend:
            return
        unit = f"{self.plan.service}.service"
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
        self.command(["systemctl", "mask", "--runtime", unit])
        try:
            code, _out, _err = self.module.run_command(install, environ_update=environment)
            if code:  # the lists may be old, or not there at all
                self.command(["apt-get", "update"], environ_update=environment)
                self.command(install, environ_update=environment)
        finally:
            self.module.run_command(["systemctl", "unmask", "--runtime", unit])

    def put_files(self) -> None:
        """All files; systemd hears of a new unit."""
        if gid_of(self.plan.group) < 0:
            self.report.changes.append(f"group {self.plan.group}: create")
            self.do(["groupadd", "--system", self.plan.group])
        if uid_of(self.plan.user) < 0:
            words = ["useradd", "--system", "--gid", self.plan.group, "--home-dir", "/var/lib/etcd"]
            words += ["--no-create-home", "--shell", "/usr/sbin/nologin", self.plan.user]
            self.report.changes.append(f"user {self.plan.user}: create")
            self.do(words)
        for item in self.plan.items():
            key_to_come = isinstance(item, File) and item.content is None and not os.path.exists(item.path)
            if not key_to_come:
                self.put(item)
        if any(change.startswith(f"{self.plan.unit_file}:") for change in self.report.changes):
            self.do(["systemctl", "daemon-reload"])

    def put(self, item: File | Directory) -> None:
        if words := item.differences():
            self.report.changes.append(f"{item.path}: {', '.join(words)}")
            self.report.diff.append(item.diff())
            if not self.pretend:
                item.put()

    # Membership

    def become_member(self) -> None:
        """Find out how, and leave it in the file that etcd reads at its first start."""
        if self.pretend:
            self.report.changes.append("become a member of the cluster")
            return
        # One that was left trying with what is no longer so would hold the data directory.
        self.module.run_command(["systemctl", "stop", f"{self.plan.service}.service"])
        me, trouble = self.plan.me, ""
        while True:
            others = self.turn.others()
            listed = self.control.members(others)
            # Its own old record counts as well: the data may be gone by hand.
            may_begin = self.plan.may_begin and not os.path.exists(self.plan.joined_file)
            step = next_step(listed, me, may_begin=may_begin)
            if step == "begin":
                self.guard_embedded_log()
                self.initial(initial_of_inventory(self.plan.servers), "new", "begin a cluster")
                return
            self.joining = step != "wait"
            if step == "join" and listed:
                self.initial(initial_of_members(listed, me), "existing", "join the cluster")
                return
            if step == "replace" and listed and (entry := own_entry(listed, me)):
                trouble = self.control.complaint(others, "member", "remove", f"{entry.number:x}")
            elif step == "add":
                trouble = self.add(others)
            else:
                trouble = "no other server's etcd answers"
            if not trouble:
                done = "remove the old member" if step == "replace" else "add this member"
                self.report.changes.append(done)
                continue
            self.pause(
                f"{me.name} has no data and cannot join the cluster that there is: {trouble}. See that a majority of"
                " the servers is up, and run again for all servers together"
            )

    def add(self, others: list[Server]) -> str:
        """Why this server was not added; empty when it was. A learner counts in no majority until it has the data."""
        words = ("member", "add", self.plan.me.name, f"--peer-urls={self.plan.me.peer}")
        trouble = self.control.complaint(others, *words, "--learner")
        if "unknown flag" in trouble:  # etcd before 3.4
            return self.control.complaint(others, *words)
        return trouble

    def guard_embedded_log(self) -> None:
        """An empty cluster in place of state that is there would be a loss that nobody asked for."""
        log = self.plan.embedded_log
        if log and os.path.exists(log) and not self.plan.begin_empty:
            raise MemberError(
                f"{log}: this server keeps the cluster's state in the embedded log, and etcd would begin without it:"
                f" run 'consul snapshot save state.snap', this again with -e {BEGIN_EMPTY}=true, and "
                "'consul snapshot restore state.snap'; or set mesh_state_log: embedded"
            )

    def initial(self, cluster: str, state: str, words: str) -> None:
        self.report.changes.append(words)
        text = render_initial(cluster, state, self.plan.token)
        self.put(File(self.plan.initial_file, text.encode(), Ownership()))

    # The unit

    def properties(self) -> dict[str, str]:
        words = ["systemctl", "show", f"{self.plan.service}.service"]
        code, out, err = self.module.run_command([*words, *(f"--property={name}" for name in PROPERTIES)])
        if code:
            raise MemberError(
                f"systemctl show failed: {(err or out).strip()}: is systemd running on this node?"
            )
        return dict.fromkeys(PROPERTIES, "") | dict(line.partition("=")[::2] for line in out.splitlines())

    def running(self) -> bool:
        return self.properties()["ActiveState"] == "active"

    def bring_up(self) -> int:
        """Enable, start or restart where that is due; the restarts that systemd has counted until now."""
        unit = self.properties()
        name = f"{self.plan.service}.service"
        if unit["UnitFileState"] != "enabled":
            self.report.changes.append(f"{name}: enable")
            self.do(["systemctl", "enable", name])
        verb = ""
        if unit["ActiveState"] not in {"active", "reloading"}:
            verb = "start"
        elif reasons := self.drift(unit["MainPID"]):
            verb = "restart" if self.plan.restart == "drift" else ""
            self.report.pending = [] if verb else reasons
        if verb:
            if verb == "restart" and not self.pretend:
                self.turn.others_are_well()
                self.told(self.turn.announce())
            self.report.changes.append(f"{name}: {verb}")
            if not self.pretend:  # a unit that failed too often is refused a start until this is said
                self.module.run_command(["systemctl", "reset-failed", name])
            self.do(["systemctl", verb, "--no-block", name])
        return 0 if verb else int(unit["NRestarts"] or 0)

    def drift(self, pid: str) -> list[str]:
        """Why etcd runs with something else than what is on disk. New certificates are read with each connection."""
        environment = settings_of(_read(f"/proc/{pid}/environ").replace("\0", "\n"))
        settings = settings_of(_read(self.plan.settings_file))
        unit = settings_of(_read(self.plan.unit_file).replace("Environment=", ""))
        found = []
        if environment.get(SETTINGS_DIGEST) != settings.get(SETTINGS_DIGEST):
            found.append("the settings on disk are not the ones that etcd runs with")
        if environment.get(UNIT_DIGEST) != unit.get(UNIT_DIGEST):
            found.append("the unit was changed since etcd was started")
        return found

    def look(self) -> None:
        """Whether reads and writes work, which takes a majority; and who has run."""
        me = self.turn.reached(self.plan.me)
        self.report.speaks = self.turn.knock(me.client), self.turn.knock(me.peer)
        self.report.healthy = self.control.healthy(me.client)
        listed = self.control.members([me]) if self.report.healthy else None
        self.report.members = sorted(
            entry.name for entry in listed or [] if entry.started and not entry.learner
        )

    def settle(self) -> None:
        """Have the others know it by the one URL that it listens at, unless a restart is still to come."""
        if not self.report.pending and self.report.speaks[1] == self.plan.me.peer.partition("://")[0]:
            self.told(self.turn.settle(pretend=self.pretend))

    def told(self, change: str) -> None:
        if change:
            self.report.changes.append(change)

    def wait_until_healthy(self, restarts: int) -> None:
        while True:
            unit = self.properties()
            if unit["ActiveState"] == "failed" or int(unit["NRestarts"] or 0) - restarts >= MAX_RESTARTS:
                raise MemberError(f"{self.plan.service}.service does not stay up with what is on disk")
            if unit["ActiveState"] == "active":
                self.look()
                if self.report.healthy and self.plan.me.name in self.report.members:
                    return
                self.told(self.turn.promote())
            self.pause(
                f"etcd is not healthy: it needs a majority of {len(self.plan.servers)} servers at their ports for peers"
            )

    # Commands

    def pause(self, trouble: str) -> None:
        if self.clock() >= self.ends:
            raise MemberError(f"{trouble} (given up after {self.plan.timeout:g} s)")
        self.sleep(POLL_INTERVAL)

    def do(self, command: list[str]) -> None:
        if not self.pretend:
            self.command(command)

    def command(self, command: list[str], **options: Any) -> None:
        code, out, err = self.module.run_command(command, **options)
        if code:
            raise MemberError(f"{' '.join(command[:2])} failed: {last_line(err or out)}")

    def journal(self, lines: int = 20) -> list[str]:
        """The unit's last lines."""
        command = ["journalctl", "--no-pager", "--output=cat", f"--unit={self.plan.service}.service"]
        _code, out, _err = self.module.run_command([*command, f"--lines={lines}"])
        return str(out).splitlines()


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_bytes().decode(errors="replace")
    return ""
