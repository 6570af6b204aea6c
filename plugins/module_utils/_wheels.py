# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dependencies of the package: for which Python, in which versions, and how they are fetched. On the controller."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: glibc levels whose wheels run on Debian 11 and later, newest first.
MANYLINUX = ("2_28", "2_27", "2_26", "2_24", "2_17", "2014")
PIP_TIMEOUT = 600


class PackageError(Exception):
    """The archive cannot be made; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Target:
    """The Python that will run the package."""

    python_version: str = "3.11"
    architecture: str = "x86_64"
    interpreter: str = "/usr/bin/python3"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.\d{1,2}", self.python_version):
            raise PackageError(
                f'python_version: "{self.python_version}" is not a minor version: write it quoted, such as "3.11"'
            )
        if not self.interpreter.startswith("/") or " " in self.interpreter:
            raise PackageError(f'interpreter: "{self.interpreter}" is not an absolute path without spaces')

    @property
    def abi(self) -> str:
        return "cp" + self.python_version.replace(".", "")

    @property
    def tag(self) -> str:
        return "py" + self.python_version.replace(".", "")

    @property
    def platforms(self) -> list[str]:
        levels = (name if name == "2014" else "_" + name for name in MANYLINUX)
        return [f"manylinux{level}_{self.architecture}" for level in levels]

    @property
    def compiled_here(self) -> bool:
        """Whether this interpreter writes the byte code that the target reads."""
        ours = f"{sys.version_info.major}.{sys.version_info.minor}"
        return sys.implementation.name == "cpython" and ours == self.python_version


def pinned(requirements: Iterable[str], target: Target) -> tuple[str, ...]:
    """C(name==version) of everything that the requirements bring, in the versions that this controller runs itself.

    So that the nodes get what was tested here. What is not installed here stays unpinned: pip chooses.
    """
    # Comes with ansible-core; here, so that whoever only reads this module, as ansible-test does, needs none.
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    environment = _environment(target)
    found: dict[str, str] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate(environment)):
            continue
        try:
            here = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if here.version not in wanted.specifier:
            continue
        found[name] = f"{name}=={here.version}"
        waiting.extend(Requirement(text) for text in here.requires or ())
    return tuple(sorted(found.values()))


def _environment(target: Target) -> dict[str, str]:
    from packaging.markers import default_environment

    return {
        **default_environment(),
        "extra": "",
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": target.architecture,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{target.python_version}.0",
        "python_version": target.python_version,
        "sys_platform": "linux",
    }


def install_wheels(
    requirements: tuple[str, ...], pins: tuple[str, ...], target: Target, folder: Path, wheels: Path
) -> None:
    """Put the wheels that the target wants into C(wheels); raises PackageError."""
    folder.joinpath("requirements.txt").write_text("\n".join(requirements) + "\n")
    folder.joinpath("constraints.txt").write_text("\n".join(pins) + "\n")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += [
        "--no-compile",
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={target.python_version}",
    ]
    command += [f"--abi={abi}" for abi in (target.abi, "abi3", "none")]
    command += [f"--platform={platform}" for platform in target.platforms]
    command += [
        "--retries=2",
        "--timeout=15",
        f"--target={wheels}",
        f"--requirement={folder / 'requirements.txt'}",
    ]
    command += [f"--constraint={folder / 'constraints.txt'}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise PackageError(
            f"pip had not finished after {PIP_TIMEOUT} s: see that the package index answers"
        ) from None
    if done.returncode:
        raise PackageError(explain_pip(done.stderr, target))


def explain_pip(stderr: str, target: Target) -> str:
    """What pip's error means here, in a sentence or two that say what to do."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")] or lines[-2:]
    brief = re.sub(r"\s*\(from versions: [^)]{80,}\)", "", "; ".join(dict.fromkeys(errors)))[:500]
    brief = re.sub(r"//[^/@\s]+@", "//", brief)  # an index address may carry a password
    if "No module named pip" in stderr:
        return f"{sys.executable} has no pip: install it (python3 -m ensurepip), it fetches the agent's dependencies"
    if re.search(
        r"NewConnectionError|name resolution|Connection refused|Network is unreachable|Read timed out|ProxyError",
        stderr,
    ):
        return f"pip cannot reach a package index from here: check the network, proxy or pip.conf. pip says: {brief}"
    if "No matching distribution" in stderr or "ResolutionImpossible" in stderr:
        return (
            f"there is no wheel for Python {target.python_version} on {target.architecture}:"
            f" check mesh_node_python_version and mesh_node_architecture against the node. pip says: {brief}"
        )
    return f"pip could not fetch the agent's dependencies: {brief}"
