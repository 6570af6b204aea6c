# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container boots systemd on the engine at hand: a pure choice from what the engine says about itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

#: What each node has; /run and /tmp are memory, as systemd expects.
TMPFS = {"/run": "", "/run/lock": "", "/tmp": ""}

#: The first engine that can give a container its own writable cgroup tree on cgroup v2.
WRITABLE_CGROUPS_SINCE = (28, 0)

MODES = ("auto", "private", "writable", "host", "privileged")


def choose_mode(wanted: str, cgroup_version: str, engine_version: str) -> str:
    """private, writable, host or privileged.

    On cgroup v1 a private namespace and SYS_ADMIN are enough: systemd mounts its own tree, and a bind of /sys/fs/cgroup
    would make all nodes share the host's. On v2 the tree is mounted read-only: engines from 28.0 make it writable on
    request, and for older ones the host's tree is bound. Only v1 was measured by us.
    """
    if wanted != "auto":
        return wanted
    if cgroup_version != "2":
        return "private"
    return "writable" if _version(engine_version) >= WRITABLE_CGROUPS_SINCE else "host"


def _version(text: str) -> tuple[int, int]:
    numbers = [int(part) for part in text.split("+", 1)[0].split("-", 1)[0].split(".")[:2] if part.isdigit()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def host_options(mode: str, security_options: Collection[str]) -> dict[str, Any]:
    """The engine's HostConfig for the mode, as the SDK's create_host_config takes it."""
    options: dict[str, Any] = {"tmpfs": dict(TMPFS), "security_opt": []}
    if any("name=apparmor" in option for option in security_options):
        options["security_opt"].append(
            "apparmor=unconfined"
        )  # the default profile forbids mount, which systemd needs
    if mode == "writable":
        options["security_opt"].append("writable-cgroups=true")
    if mode == "host":
        options["binds"] = ["/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    if mode == "privileged":
        options["privileged"] = True
    return options


def cgroup_namespace(mode: str) -> str:
    return "host" if mode == "host" else "private"
