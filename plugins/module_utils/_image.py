# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node image is made of, and what has to be done to have it: values only, nothing here touches the engine."""

from __future__ import annotations

import enum
import hashlib
import json
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

#: Carried by every image that lab_image makes; the value is the name it was made under.
LABEL_IMAGE = "io.meshnode.image"
#: The digest of everything that went into the image.
LABEL_DIGEST = "io.meshnode.digest"

#: What a container never reads: leaving it out halves the image.
_LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
)
_KEPT = ("/usr/share/doc/*/copyright",)


class Step(enum.Enum):
    """One thing to do, in the order in which they are done."""

    PULL = "pull"
    BOOTSTRAP = "bootstrap"
    IMPORT = "import"
    BUILD = "build"


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what the image contains.

    base_image is empty when the base is made with mmdebstrap; files are (path, mode, SHA-256) of the build context.
    """

    name: str
    suite: str
    packages: tuple[str, ...]
    base_image: str
    files: tuple[tuple[str, int, str], ...]

    @property
    def base_digest(self) -> str:
        if self.base_image:
            return _digest(["image", self.base_image])
        return _digest(["mmdebstrap", self.suite, sorted(self.packages), _LEFT_OUT, _KEPT])

    @property
    def digest(self) -> str:
        return _digest([self.base_digest, sorted(self.files)])

    @property
    def base_reference(self) -> str:
        return self.base_image or f"{self.name}-base:{self.suite}-{self.base_digest[:12]}"

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.suite}-{self.digest[:12]}"

    @property
    def tarball_name(self) -> str:
        return f"{self.name.replace('/', '_')}-base-{self.suite}-{self.base_digest[:12]}.tar"


def plan(recipe: Recipe, present: Collection[str], *, cached: bool, force: bool = False) -> tuple[Step, ...]:
    """The steps that lead to recipe.reference, given what the engine has and whether the tarball is cached."""
    if recipe.reference in present and not force:
        return ()
    if recipe.base_reference in present:
        return (Step.BUILD,)
    if recipe.base_image:
        return (Step.PULL, Step.BUILD)
    if cached:
        return (Step.IMPORT, Step.BUILD)
    return (Step.BOOTSTRAP, Step.IMPORT, Step.BUILD)


def parse_packages(text: str) -> tuple[str, ...]:
    """Package names, one a line, sorted and without duplicates; a # starts a comment."""
    names = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return tuple(sorted({name for name in names if name}))


def read_context(folder: Path) -> tuple[tuple[str, int, str], ...]:
    """(path, executable bits, SHA-256) of each file below folder, in a fixed order."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(names):
            path = Path(parent, name)
            mode = stat.S_IMODE(path.stat().st_mode) & 0o111
            found.append(
                (path.relative_to(folder).as_posix(), mode, hashlib.sha256(path.read_bytes()).hexdigest())
            )
    return tuple(sorted(found))


def bootstrap_command(recipe: Recipe, tarball: str, mirror: str = "") -> list[str]:
    """The mmdebstrap call; mirror is empty for Debian's own."""
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(sorted(recipe.packages))}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    command += [f"--dpkgopt=path-include={pattern}" for pattern in _KEPT]
    command += ["--format=tar", recipe.suite, tarball]
    return [*command, mirror] if mirror else command


def explain_bootstrap_failure(output: str, suite: str) -> str:
    """One sentence that says what mmdebstrap's output means and what to do."""
    text = output.lower()
    if "could not resolve" in text or "temporary failure" in text or "unable to connect" in text:
        return (
            "mmdebstrap can't reach the Debian archive: check the network and http_proxy, "
            "or set lab_docker_image_mirror to an archive that this machine reaches."
        )
    if "does not have a release file" in text or "404" in text:
        return f'the Debian archive has no suite "{suite}": set lab_docker_image_suite to bookworm or trixie.'
    if "unable to locate package" in text:
        missing = next((line for line in output.splitlines() if "nable to locate package" in line), "")
        package = missing.rsplit(" ", 1)[-1]
        return f'Debian {suite} has no package "{package}": correct images/node/packages.txt.'
    if "no space left" in text:
        return "the disk is full: free about 1 GB, for example with `make clean`, and run it again."
    if "newuidmap" in text or "unshare" in text or "must be root" in text:
        return "mmdebstrap needs root here: run the playbook as root, or install the package uidmap for your user."
    return "mmdebstrap failed; its last lines follow."
