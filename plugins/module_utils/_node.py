# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole wanted state of one node: planned, checked by the agent itself, and then put in place."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils import _before, _release
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import (
    CONFIG_SUFFIXES,
    Drift,
    Layout,
    config_files,
    digest_on_disk,
    drift,
    layout_of,
    load_json,
    running,
)
from ansible_collections.meshnode.lab.plugins.module_utils._files import (
    Absent,
    Directory,
    File,
    KeyringFile,
    Link,
    Ownership,
    gid_of,
    uid_of,
)
from ansible_collections.meshnode.lab.plugins.module_utils._node_spec import render_config
from ansible_collections.meshnode.lab.plugins.module_utils._redact import masked, restore
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import Places, packages_in_use

#: The one file that the launcher reads, see C(_package.LAUNCHER).
CLIENT_ENVIRONMENT = "/etc/meshnode/client.env"
COMMANDS = ("meshnode", "consul")
MAX_VALIDATION_CHARACTERS = 4000

Item = File | Directory | Link | Absent


class NodeError(Exception):
    """The node cannot be brought to the wanted state; nothing was replaced."""


@dataclass(frozen=True)
class Plan:
    """Everything that is to be on the node, in the order in which it is put there."""

    layout: Layout
    user: str
    group: str
    home: str
    package: dict[str, Any]
    directories: list[Directory]
    files: list[File | Absent]
    links: list[Link]
    key_file: str = ""
    tls_files: tuple[str, ...] = ()
    unit: str = ""
    #: Id of the roll that keeps what was before; empty for none.
    roll: str = ""
    places: _before.Places = field(default_factory=_before.Places)
    authorities: str = ""

    @property
    def release(self) -> str:
        return f"{self.layout.releases}/{self.package['digest']}"


def plan_from(params: dict[str, Any]) -> Plan:
    """The plan that the module's parameters describe; C(_files) comes rendered from the controller."""
    user, group = params["user"], params["group"] or params["user"]
    layout = layout_of(params, params["name"])
    tls = params["tls"] or {}
    directories = [
        Directory(layout.install_dir, Ownership(mode=0o755)),
        Directory(layout.releases, Ownership(mode=0o755)),
        Directory(layout.config_dir, Ownership("root", group, 0o750)),
        Directory(params["data_dir"], Ownership(user, group, 0o700)),
    ]
    tls_files = tuple(tls[name] for name in ("ca_file", "cert_file", "key_file") if tls.get(name))
    folders = {os.path.dirname(path) for path in tls_files}
    directories += [
        Directory(path, Ownership("root", group, 0o750)) for path in sorted(folders - {layout.config_dir})
    ]
    files: list[File | Absent] = []
    for entry in params["_files"]:
        if entry["content"] is None:
            files.append(Absent(entry["path"]))
            continue
        ownership = Ownership(entry["owner"], entry["group"], int(entry["mode"], 8))
        content = entry["content"]
        if entry["show"] == "keyring":
            keys = restore(json.loads(content), params["_secrets"] or {})
            files.append(
                KeyringFile(entry["path"], (json.dumps(keys, indent=2) + "\n").encode(), ownership, "digest")
            )
            directories.append(Directory(os.path.dirname(entry["path"]), Ownership(user, group, 0o700)))
            continue
        if entry["show"] == "json":
            content = render_config(restore(json.loads(content), params["_secrets"] or {}))
        files.append(File(entry["path"], content.encode(), ownership, entry["show"]))
        directory = Directory(os.path.dirname(entry["path"]), Ownership(mode=0o755))
        if directory.path == os.path.dirname(CLIENT_ENVIRONMENT):
            directories.append(directory)
    links = [Link(layout.current, f"releases/{params['package']['digest']}")]
    links += [Link(f"/usr/local/bin/{name}", f"{layout.current}/bin/{name}") for name in COMMANDS]
    if params["config_alias"]:
        links.append(Link(params["config_alias"], layout.config_dir))
    return Plan(
        layout, user, group, params["data_dir"], params["package"], directories, files, links,
        key_file=tls.get("key_file") or "", tls_files=tls_files, unit=f"{params['name']}.service",
        roll=params.get("roll") or "", places=places_of(params, layout), authorities=tls.get("ca_file") or "",
    )  # fmt: skip


def places_of(params: dict[str, Any], layout: Layout) -> _before.Places:
    """What a roll replaces beside the release."""
    config = f"{layout.config_dir}/{params['config_file']}"
    return _before.Places(config, layout.unit_file, params["client_environment_file"])


@dataclass
class Outcome:
    """What was (or, in check mode, would be) changed."""

    changes: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    package_needed: bool = False
    replaced: set[str] = field(default_factory=set)

    def note(self, item: Item, words: list[str]) -> None:
        self.changes.append(f"{item.path}: {', '.join(words)}")
        self.diff.append(item.diff())
        self.replaced.add(item.path)


class Node:
    """Brings this host to a plan. C(pretend) is check mode: looks, and changes nothing."""

    def __init__(self, module: Any, plan: Plan, archive: str | None) -> None:
        self.module = module
        self.plan = plan
        self.archive = archive
        self.pretend: bool = module.check_mode
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Do it all, or nothing but the release when the agent refuses the configuration."""
        self._check_python()
        self._mask()
        fault = _release.fault_of(self.plan.release, self.plan.package["digest"])
        if fault and not self.archive and not self.pretend:
            self.outcome.package_needed = True
            return self.outcome
        self._accounts()
        if fault:
            self._unpack(fault)
        pending = [(item, words) for item in self._items() if (words := item.differences())]
        if not fault or not self.pretend:
            self._validate({item.path for item, _words in pending})
        if self.plan.roll and not self.pretend:
            self._keep()
        for item, words in pending:
            self.outcome.note(item, words)
            if not self.pretend:
                item.put()
        if not self.pretend:
            self._settle()
        return self.outcome

    def drift(self) -> Drift:
        """What the running agent lacks; in check mode with what would be replaced counted as replaced."""
        found = drift(self.plan.layout, running(self.plan.layout))
        if not self.pretend or found.restart:
            return found
        config_dir = self.plan.layout.config_dir
        relevant = {self.plan.layout.unit_file, self.plan.layout.current}
        relevant |= {path for path in self.outcome.replaced if os.path.dirname(path) == config_dir}
        changed = sorted(relevant & {change.split(": ")[0] for change in self.outcome.changes})
        return Drift([*(f"{path} would change" for path in changed)], found.reload)

    def _items(self) -> list[Item]:
        items: list[Item] = [*self.plan.directories, *self.plan.files]
        if self.plan.key_file:
            key = File(self.plan.key_file, None, Ownership(self.plan.user, self.plan.group, 0o600), "digest")
            if not os.path.lexists(self.plan.key_file) and not self.pretend:
                raise NodeError(
                    f"{self.plan.key_file}: the node has no private key: run the role mesh_pki before mesh_node,"
                    " or set mesh_tls_enabled: false"
                )
            items.insert(len(self.plan.directories), key)
        # The release is switched last: whatever stops this before leaves the old one current.
        return [*items, *self.plan.links]

    def _check_python(self) -> None:
        package = self.plan.package
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if package.get("python_version", here) != here:
            raise NodeError(
                f"{sys.executable} is Python {here} on this node, the package is for {package['python_version']}:"
                f' set mesh_node_python_version: "{here}" for this host'
            )
        if package.get("architecture", platform.machine()) != platform.machine():
            raise NodeError(
                f"this node is {platform.machine()} and the package is for {package['architecture']}:"
                f" set mesh_node_architecture: {platform.machine()} for this host"
            )

    def _mask(self) -> None:
        """Whatever is secret in the old and the new configuration is blacked out wherever it may turn up."""
        for path in config_files(self.plan.layout.config_dir):
            self.module.no_log_values.update(masked(load_json(path)))
        for file in self.plan.files:
            if isinstance(file, KeyringFile) and file.content:
                self.module.no_log_values.update(masked({"encrypt": json.loads(file.content)}))
            elif isinstance(file, File) and file.show == "json" and file.content:
                self.module.no_log_values.update(masked(json.loads(file.content)))

    def _accounts(self) -> None:
        if gid_of(self.plan.group) < 0:
            self._command(f"group {self.plan.group}: create", ["groupadd", "--system", self.plan.group])
        if uid_of(self.plan.user) < 0:
            command = ["useradd", "--system", "--gid", self.plan.group, "--home-dir", self.plan.home]
            command += ["--no-create-home", "--shell", "/usr/sbin/nologin", self.plan.user]
            self._command(f"user {self.plan.user}: create", command)

    def _command(self, change: str, command: list[str]) -> None:
        self.outcome.changes.append(change)
        if self.pretend:
            return
        code, out, err = self.module.run_command(command)
        if code:
            raise NodeError(f"{command[0]} failed: {(err or out).strip()}")

    def _unpack(self, fault: str) -> None:
        self.outcome.changes.append(f"{self.plan.release}: unpack ({fault})")
        self.outcome.replaced.add(self.plan.release)
        if not self.pretend:
            os.makedirs(self.plan.layout.releases, mode=0o755, exist_ok=True)
            _release.unpack(str(self.archive), self.plan.layout.releases, self.plan.package["digest"])

    def _validate(self, changing: set[str]) -> None:
        """Let the new release judge the new files in a copy of the directory; nothing was replaced when it refuses."""
        config_dir = self.plan.layout.config_dir
        managed = [file for file in self.plan.files if isinstance(file, File)]
        to_come = set(self.plan.tls_files) - {file.path for file in managed}
        if self.pretend and not all(map(os.path.exists, to_come)):
            return  # in the real run the role mesh_pki makes them first
        judged = {file.path for file in managed if file.path.startswith(config_dir + "/")} | {
            self.plan.layout.current
        }
        if not judged & changing:
            return
        staging = tempfile.mkdtemp(dir="/run", prefix="meshnode-validate-")  # in memory: it holds keys
        try:
            self._stage(staging, managed)
            command = [f"{self.plan.release}/bin/meshnode", "validate", staging]
            code, out, err = self.module.run_command(command, cwd="/")
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        if code:
            said = "\n".join(text.strip() for text in (err, out) if text.strip()).replace(staging, config_dir)
            raise NodeError(
                f"the agent refuses the configuration, nothing was replaced: {said[:MAX_VALIDATION_CHARACTERS]}"
            )

    def _stage(self, staging: str, managed: list[File]) -> None:
        config_dir = self.plan.layout.config_dir
        contents = {path: Path(path).read_bytes() for path in config_files(config_dir)}
        contents |= {
            file.path: file.content or b"" for file in managed if file.path.startswith(config_dir + "/")
        }
        for path, content in contents.items():
            target = staging + path.removeprefix(config_dir)
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            if path.endswith(CONFIG_SUFFIXES):  # the certificates it names are the new ones, too
                content = content.replace(f'"{config_dir}/'.encode(), f'"{staging}/'.encode())
            Path(target).write_bytes(content)
        if self.plan.key_file.startswith(config_dir + "/") and os.path.exists(self.plan.key_file):
            link = staging + self.plan.key_file.removeprefix(config_dir)
            os.makedirs(os.path.dirname(link), mode=0o700, exist_ok=True)
            os.symlink(self.plan.key_file, link)

    def _keep(self) -> None:
        """Write down what is here before the first thing is replaced, so that the roll can be taken back."""
        plan, install_dir = self.plan, self.plan.layout.install_dir
        if not _before.ROLL.fullmatch(plan.roll):
            raise NodeError(
                f"roll: {plan.roll!r} is not an id: use up to 64 letters, digits, ':', '.', '_' and '-'. "
                "Nothing was replaced."
            )
        found = _before.look(plan.layout, plan.places)
        contents = {file.path: file.content if isinstance(file, File) else None for file in plan.files}
        texts = {path: None if content is None else content.decode() for path, content in contents.items()}
        paths = {**plan.places.by_name, _before.AUTHORITIES: plan.authorities}
        planned = {name: _before.digest(texts[path]) for name, path in paths.items() if path in texts}
        planned = {**found.digests, **planned, _before.RELEASE: plan.package["digest"]}
        to_come = _before.secrets_of(json.loads(texts.get(plan.places.config) or "{}"))
        try:
            kept = _before.read(install_dir)
        except _before.BeforeError as error:
            raise NodeError(f"{error}. Nothing was replaced.") from None
        record = _before.next_record(kept, plan.roll, found, planned, to_come)
        if record and record != kept:
            _before.write(install_dir, record)

    def _kept_release(self) -> set[str]:
        """The package that a rollback would bring back."""
        try:
            kept = _before.read(self.plan.layout.install_dir)
        except _before.BeforeError:
            return set()
        return {kept.before[_before.RELEASE]} if kept else set()

    def _settle(self) -> None:
        if self.plan.layout.unit_file in self.outcome.replaced:
            code, out, err = self.module.run_command(["systemctl", "daemon-reload"])
            if code:
                raise NodeError(
                    f"systemctl daemon-reload failed: {(err or out).strip()}: is systemd running on this node?"
                )
        in_use = {*packages_in_use(Places()), *self._kept_release()}
        _release.prune(self.plan.layout.releases, self.plan.package["digest"], in_use)


def summary_of(node: Node) -> dict[str, Any]:
    """The module's result without C(changed)."""
    return {
        "changes": node.outcome.changes,
        "diff": node.outcome.diff,
        "package_digest": node.plan.package["digest"],
        **standing(node.plan.layout, node.drift()),
    }


def standing(layout: Layout, found: Drift) -> dict[str, Any]:
    """What is on disk, and what the agent lacks of it, as modules return it."""
    return {
        "config_digest": digest_on_disk(config_files(layout.config_dir)),
        "reload_required": bool(found.reload),
        "restart_reasons": [*found.restart, *found.reload],
        "restart_pending": bool(found.restart or found.reload) and bool(running(layout).pid),
        "restart_required": bool(found.restart),
    }
