# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent on this node runs with, against what is on disk: the difference says whether it must be restarted.

Nothing is remembered between runs, so a run that was killed half-way is picked up by the next one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Variable of the unit that carries the digest of the unit's text into the process that was started from it.
UNIT_DIGEST = "MESHNODE_UNIT_DIGEST"
CONFIG_SUFFIXES = (".json", ".hcl")
MAX_STATE_BYTES = 64 * 1024
NOT_RUNNING = "the agent is not running"
OTHER_CONFIG = "the configuration on disk is not the one that the agent runs with"


def config_files(folder: str) -> list[str]:
    """Paths that the agent loads from C(folder), in its order."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    paths = (os.path.join(folder, name) for name in names if name.endswith(CONFIG_SUFFIXES))
    return [path for path in paths if os.path.isfile(path)]


def digest_files(contents: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 hex over path, NUL, content, NUL of each file, in the order given."""
    digest = hashlib.sha256()
    for path, content in contents:
        digest.update(os.fsencode(path) + b"\0" + content + b"\0")
    return digest.hexdigest()


def digest_on_disk(paths: Iterable[str]) -> str:
    """C(digest_files) of what is on disk; a file that cannot be read counts as empty."""
    return digest_files((path, _read(path)) for path in paths)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def tls_files(folder: str) -> list[str]:
    """The CA and certificate files that the JSON files in C(folder) name, sorted. The key follows from the latter."""
    named: dict[str, str] = {}
    for path in config_files(folder):
        settings = load_json(path)
        named |= {
            key: settings[key] for key in ("ca_file", "cert_file") if isinstance(settings.get(key), str)
        }
    return sorted(path for path in named.values() if path)


def load_json(path: str) -> dict[str, Any]:
    """The object in a JSON file; empty when there is no such file or no object in it."""
    try:
        value = json.loads(_read(path))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Layout:
    """Where things are on the node."""

    config_dir: str = "/etc/consul.d"
    install_dir: str = "/opt/meshnode"
    state_file: str = "/run/consul/state.json"
    unit_file: str = "/etc/systemd/system/consul.service"

    @property
    def releases(self) -> str:
        return f"{self.install_dir}/releases"

    @property
    def current(self) -> str:
        return f"{self.install_dir}/current"


#: Options of the modules that work beside an agent, documented in the fragment node_agent.
LAYOUT_OPTIONS: dict[str, dict[str, Any]] = {
    "config_dir": {"type": "path", "default": Layout.config_dir},
    "install_dir": {"type": "path", "default": Layout.install_dir},
    "state_file": {"type": "path", "default": Layout.state_file},
}


def layout_of(options: Mapping[str, Any], unit: str) -> Layout:
    """From the parameters of a module; C(unit) is the agent's, without C(.service)."""
    return Layout(*(options[name] for name in LAYOUT_OPTIONS), f"/etc/systemd/system/{unit}.service")


@dataclass(frozen=True)
class Running:
    """What the running agent reported at its start, and again at each reload; pid 0 when none runs.

    C(loaded_at) is the time of that report. C(tls_digest) is optional.
    """

    pid: int = 0
    config_digest: str = ""
    package_digest: str = ""
    tls_digest: str = ""
    loaded_at: float = 0.0
    unit_digest: str = ""


@dataclass(frozen=True)
class Drift:
    """Why the agent must be restarted, or told to reload; both empty when it runs with what is on disk."""

    restart: list[str] = field(default_factory=list)
    reload: list[str] = field(default_factory=list)


def running(layout: Layout) -> Running:
    """Read the state file; a file whose process is gone says nothing."""
    state = load_json(layout.state_file) if _size(layout.state_file) <= MAX_STATE_BYTES else {}
    pid = state.get("pid")
    if not isinstance(pid, int) or pid <= 0 or not os.path.isdir(f"/proc/{pid}"):
        return Running()
    environment = dict(
        entry.partition("=")[::2]
        for entry in _read(f"/proc/{pid}/environ").decode(errors="replace").split("\0")
    )
    return Running(
        pid=pid,
        config_digest=str(state.get("config_digest", "")),
        package_digest=str(state.get("package_digest", "")),
        tls_digest=str(state.get("tls_digest", "")),
        loaded_at=_modified(layout.state_file),
        unit_digest=environment.get(UNIT_DIGEST, ""),
    )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def unit_digest_on_disk(layout: Layout) -> str:
    """What the unit file says its digest is; empty when it says nothing."""
    found = re.search(
        rf"^Environment={UNIT_DIGEST}=(\w+)$", _read(layout.unit_file).decode(errors="replace"), re.MULTILINE
    )
    return found.group(1) if found else ""


def package_digest_on_disk(layout: Layout) -> str:
    """Name of the release that C(current) points to; empty when it points nowhere."""
    try:
        return os.path.basename(os.readlink(layout.current).rstrip("/"))
    except OSError:
        return ""


def drift(layout: Layout, agent: Running | None = None) -> Drift:
    """Compare what runs with what is on disk."""
    agent = agent or running(layout)
    if not agent.pid:
        return Drift(restart=[NOT_RUNNING])
    found = Drift()
    if agent.config_digest != digest_on_disk(config_files(layout.config_dir)):
        found.restart.append(OTHER_CONFIG)
    if agent.package_digest != package_digest_on_disk(layout):
        found.restart.append("the installed package is not the one that runs")
    if agent.unit_digest != unit_digest_on_disk(layout):
        found.restart.append("the unit was changed since the agent was started")
    certificates = tls_files(layout.config_dir)
    if agent.tls_digest and agent.tls_digest != digest_on_disk(certificates):
        found.reload.append("the certificates on disk are not the ones that the agent presents")
    elif not agent.tls_digest and any(_modified(path) > agent.loaded_at for path in certificates):
        found.reload.append("a certificate was written after the agent loaded its own")
    return found


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
