# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of the package on a node: unpacked beside each other, one of them current, the last two kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

KEEP = 2


class ReleaseError(Exception):
    """The release cannot be installed; the text says why."""


def manifest_of(release: str) -> dict[str, Any]:
    """The package's own list of its files; empty when there is none."""
    try:
        manifest = json.loads(Path(release, "package.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def fault_of(release: str, digest: str) -> str:
    """The first thing that is wrong with an unpacked release, or an empty string. Reads every file: 40 MB in 0.1 s."""
    if not os.path.isdir(release):
        return "not installed"
    manifest = manifest_of(release)
    files = manifest.get("files")
    if manifest.get("digest") != digest or not isinstance(files, dict):
        return "package.json is missing or damaged"
    for name, expected in files.items():
        try:
            found = hashlib.sha256(Path(release, name).read_bytes()).hexdigest()
        except OSError:
            return f"{name} is missing"
        if found != expected:
            return f"{name} was changed"
    if not all(os.access(f"{release}/bin/{name}", os.X_OK) for name in ("meshnode", "consul")):
        return "bin/ is not executable"
    return ""


def unpack(archive: str, releases: str, digest: str) -> None:
    """Unpack C(archive) as C(releases)/C(digest): beside the old ones, and whole or not at all."""
    final = os.path.join(releases, digest)
    folder = tempfile.mkdtemp(dir=releases, prefix=".new-")
    try:
        try:
            with tarfile.open(archive) as tar:
                _extract(tar, folder)
        except (OSError, tarfile.TarError, EOFError) as error:
            raise ReleaseError(f"cannot unpack the package: {error}") from error
        fault = fault_of(folder, digest)
        if fault:
            raise ReleaseError(f"the package arrived damaged: {fault}")
        if not manifest_of(folder).get("compiled"):
            _compile(folder)
        for path, _folders, _names in os.walk(folder):
            os.chmod(path, 0o755)
        if os.path.lexists(final):
            os.rename(final, f"{folder}.old")
        os.rename(folder, final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(f"{folder}.old", ignore_errors=True)


def _extract(tar: tarfile.TarFile, folder: str) -> None:
    """Regular files only, inside C(folder): what the controller packs, and all that is let in."""
    for member in tar:
        target = os.path.normpath(os.path.join(folder, member.name))
        if not member.isfile() or not target.startswith(folder + os.sep):
            raise ReleaseError(f"the package holds {member.name!r}, which is not a file inside of it")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        source = tar.extractfile(member)
        if source is None:
            raise ReleaseError(f"the package holds {member.name!r} without content")
        with source, open(target, "wb") as out:
            shutil.copyfileobj(source, out)
            os.fchmod(out.fileno(), 0o755 if member.mode & 0o100 else 0o644)


def _compile(folder: str) -> None:
    """Byte code for this node's Python, where the controller's was another one; a start without it takes seconds."""
    lib = os.path.join(folder, "lib")
    command = [
        sys.executable,
        "-BIS",
        "-m",
        "compileall",
        "-q",
        "-s",
        folder,
        "--invalidation-mode",
        "unchecked-hash",
        lib,
    ]
    subprocess.run(
        command, capture_output=True, check=False
    )  # a file for another Python may fail: it is not imported


def names_of(releases: str) -> tuple[str, ...]:
    """The releases in that folder, sorted; none where there is no folder."""
    try:
        return tuple(sorted(name for name in os.listdir(releases) if not name.startswith(".")))
    except FileNotFoundError:
        return ()


def prune(releases: str, current: str, in_use: Collection[str] = ()) -> list[str]:
    """Remove all but C(current), the release before it and those C(in_use); returns what went."""
    entries = [entry for entry in os.scandir(releases) if entry.name != current]
    entries.sort(
        key=lambda entry: (not entry.name.startswith("."), entry.stat(follow_symlinks=False).st_mtime)
    )
    kept = [entry for entry in entries if not entry.name.startswith(".")][-(KEEP - 1) :]
    gone = [entry for entry in entries if entry not in kept and entry.name not in in_use]
    for entry in gone:
        shutil.rmtree(entry.path, ignore_errors=True)
    return [entry.name for entry in gone]
