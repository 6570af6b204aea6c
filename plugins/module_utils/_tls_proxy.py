# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TLS proxy on its node in one call: package, programs, certificates, listeners and units, checked, then run."""

from __future__ import annotations

import hashlib
import os
import tempfile
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils import _release
from ansible_collections.meshnode.lab.plugins.module_utils._files import Directory, File, Link, Ownership
from ansible_collections.meshnode.lab.plugins.module_utils._node_spec import PACKAGE_OPTION
from ansible_collections.meshnode.lab.plugins.module_utils._program import Program, digest_of
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import (
    ServicesError,
    Unit,
    unit_from,
)
from ansible_collections.meshnode.lab.plugins.module_utils._units import Item, Report, Units

UNIT_DIR = "/etc/systemd/system"
#: What is sent, beside the paths of programs.
PACKAGE = "package"
MAX_SAID_CHARACTERS = 4000

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "files": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            # Listeners can hold keys as text.
            "content": {"type": "str", "no_log": True},
            "digest": {"type": "str"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0644"},
            "path": {"type": "path", "required": True},
            "source": {"type": "path"},
        },
    },
    "install_dir": {"type": "path", "default": "/opt/meshnode"},
    "package": PACKAGE_OPTION,
    "timeout": {"type": "float", "default": 60},
    "units": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "restarted_by": {"type": "list", "elements": "path", "default": []},
            "text": {"type": "str", "required": True},
        },
    },
    "validate": {"type": "list", "elements": "str", "default": []},
    "validated": {"type": "path"},
}
#: What the action adds; not for users.
PRIVATE_SPEC: dict[str, dict[str, Any]] = {"_sent": {"type": "dict"}}


class TlsProxy(Units):
    """Brings this node to what C(options), the module's, describe; C(unit_dir) is where systemd looks."""

    def __init__(
        self, module: Any, options: dict[str, Any], *, unit_dir: str = UNIT_DIR, **rest: Any
    ) -> None:
        self.options = options
        self.package: dict[str, Any] = options["package"] or {}
        self.sent: dict[str, str] = options["_sent"] or {}
        self.unit_dir = unit_dir
        self.releases = f"{options['install_dir']}/releases"
        self.files = [self._file(entry) for entry in options["files"]]
        super().__init__(module, self._units(), timeout=options["timeout"], **rest)

    def _file(self, entry: dict[str, Any]) -> File:
        ownership = Ownership("root", entry["group"], int(entry["mode"], 8))
        if entry["digest"]:
            sent = self.sent.get(entry["path"], "")
            return Program(entry["path"], None, ownership, digest=entry["digest"], sent=sent)
        show = "digest" if "BEGIN" in (entry["content"] or "") else "text"
        return File(entry["path"], (entry["content"] or "").encode(), ownership, show)

    def _units(self) -> list[Unit]:
        """Each carries the digest of all that it is started with."""
        known = {
            file.path: file.digest
            if isinstance(file, Program)
            else hashlib.sha256(file.content or b"").hexdigest()
            for file in self.files
        }
        known[self.options["install_dir"]] = str(self.package.get("digest", ""))
        made = []
        for unit in self.options["units"]:
            strange = [path for path in unit["restarted_by"] if path not in known]
            if strange:
                raise ServicesError(
                    f"units: {unit['name']}: restarted_by: {strange[0]} is neither in files nor install_dir"
                )
            inputs = [f"{path}\0{known[path]}" for path in unit["restarted_by"]]
            made.append(unit_from(unit["name"], unit["text"], "", *inputs))
        return made

    @property
    def release(self) -> str:
        """Where the package is unpacked; empty without one."""
        return f"{self.releases}/{self.package['digest']}" if self.package else ""

    def needed(self) -> list[str]:
        """What has to be sent first: the package, paths of programs."""
        lacking = [
            file.path
            for file in self.files
            if isinstance(file, Program) and not file.sent and digest_of(file.path) != file.digest
        ]
        fault = self.release and _release.fault_of(self.release, self.package["digest"])
        return lacking + ([PACKAGE] if fault and PACKAGE not in self.sent else [])

    def run(self) -> Report:
        """Do what is due; nothing but the release is touched when the configuration is refused."""
        self._unpack()
        pending = [item for item in self._items() if item.differences()]
        named = [item for item in pending if self._is_named(item)]
        unnamed = [item for item in pending if not self._is_named(item)]
        # What the listeners name is there before they are judged: folders, programs, certificates.
        for item in named:
            self.put(item)
        self._validate({item.path for item in unnamed})
        for item in unnamed:
            self.put(item)
        if any(item.path.startswith(f"{self.unit_dir}/") for item in pending):
            self.do(["systemctl", "daemon-reload"])
        restarts = self.start()
        while not self.pretend and (lacking := self.not_running(restarts)):
            self.pause("; ".join(lacking), *(unit.name for unit in self.units))
        if self.release and not self.pretend:
            _release.prune(self.releases, self.package["digest"])
        return self.report

    def _items(self) -> list[Item]:
        folders = sorted({os.path.dirname(file.path) for file in self.files})
        items: list[Item] = [
            Directory(path, Ownership(mode=0o755)) for path in folders if not os.path.isdir(path)
        ]
        items += self.files
        if self.release:
            current = f"{self.options['install_dir']}/current"
            items.append(Link(current, f"releases/{self.package['digest']}"))
        return items + [
            File(f"{self.unit_dir}/{unit.name}", unit.text.encode(), Ownership()) for unit in self.units
        ]

    def _is_named(self, item: Item) -> bool:
        return isinstance(item, Directory | Program) or (isinstance(item, File) and item.show == "digest")

    def _unpack(self) -> None:
        fault = self.release and _release.fault_of(self.release, self.package["digest"])
        if not fault:
            return
        self.report.changes.append(f"{self.release}: unpack ({fault})")
        if not self.pretend:
            os.makedirs(self.releases, mode=0o755, exist_ok=True)
            _release.unpack(self.sent[PACKAGE], self.releases, self.package["digest"])

    def _validate(self, changing: set[str]) -> None:
        """Let the new release judge the new listeners in a copy; the certificates that they name are beside them."""
        path = self.options["validated"]
        current = f"{self.options['install_dir']}/current"
        if not path or not {path, current} & changing or (self.pretend and self.needed()):
            return
        content = next((file.content for file in self.files if file.path == path), None)
        if content is None:
            raise ServicesError(f"validated: {path} is not in files, or is a program")
        if self.pretend and any(
            self._is_named(file) and not os.path.exists(file.path) for file in self.files
        ):
            return
        number, copy = tempfile.mkstemp(dir="/run", prefix="meshnode-validate-", suffix=".json")
        try:
            with os.fdopen(number, "wb") as out:
                out.write(content)
            words = [copy if word == path else word for word in self.options["validate"]]
            words = [
                word.replace(current, self.release, 1) if word.startswith(current) else word for word in words
            ]
            code, out_text, err = self.module.run_command(words, cwd="/")
        finally:
            os.unlink(copy)
        if code:
            said = "\n".join(text.strip() for text in (err, out_text) if text.strip()).replace(copy, path)
            raise ServicesError(
                f"the listeners are refused, and not put in place: {said[:MAX_SAID_CHARACTERS]}"
            )
