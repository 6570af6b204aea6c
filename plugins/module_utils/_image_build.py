# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out the steps that _image.plan() names: mmdebstrap, import, build."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.meshnode.lab.plugins.module_utils._engine import LabError, engine_errors
from ansible_collections.meshnode.lab.plugins.module_utils._image import (
    LABEL_DIGEST,
    LABEL_IMAGE,
    Recipe,
    Step,
    bootstrap_command,
    explain_bootstrap_failure,
    plan,
)

if TYPE_CHECKING:
    import docker

#: How much of a failed program's output an error shows.
MAX_SHOWN_LINES = 20


class Builder:
    """Makes one image. The log says what was done, a line each."""

    def __init__(
        self, client: docker.DockerClient, recipe: Recipe, context: Path, cache: Path, mirror: str
    ) -> None:
        self.client, self.recipe, self.context, self.cache, self.mirror = (
            client,
            recipe,
            context,
            cache,
            mirror,
        )
        self.tarball = cache / recipe.tarball_name
        self.log: list[str] = []

    def steps(self, *, force: bool = False) -> tuple[Step, ...]:
        """What has to be done now."""
        with engine_errors("listing images"):
            present = {tag for image in self.client.images.list() for tag in image.tags}
        return plan(self.recipe, present, cached=self.tarball.exists(), force=force)

    def run(self, *, force: bool = False) -> tuple[Step, ...]:
        """Does what steps() says, one process at a time on this machine; returns what was done."""
        with self._lock():
            steps = self.steps(
                force=force
            )  # another run may have finished the same image while this one waited
            for step in steps:
                {
                    Step.PULL: self._pull,
                    Step.BOOTSTRAP: self._bootstrap,
                    Step.IMPORT: self._import,
                    Step.BUILD: self._build,
                }[step]()
        return steps

    def image_id(self) -> str:
        with engine_errors(f"reading image {self.recipe.reference}"):
            return str(self.client.images.get(self.recipe.reference).id)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with (self.cache / ".lab_image.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except PermissionError as exc:
            raise LabError(
                f"{self.cache}: this user can't write there: set lab_docker_cache_dir to another folder."
            ) from exc

    def _pull(self) -> None:
        repository, _colon, tag = self.recipe.base_image.rpartition(":")
        if not repository or "/" in tag:
            repository, tag = self.recipe.base_image, "latest"
        with engine_errors(f"pulling {self.recipe.base_image} (MESH_BASE_IMAGE, lab_docker_image_base)"):
            self.client.images.pull(repository, tag=tag)
        self.log.append(f"pulled {self.recipe.base_image}")

    def _bootstrap(self) -> None:
        if shutil.which("mmdebstrap") is None:
            raise LabError(
                "mmdebstrap is not installed, and the node image is made with it: run scripts/engine.sh as root "
                "(or: apt-get install mmdebstrap), or set MESH_BASE_IMAGE to a Debian image that can be pulled."
            )
        if os.geteuid() != 0 and shutil.which("newuidmap") is None:
            raise LabError(
                "making the node image needs root, once: run this as root, or install the package uidmap, "
                "or set MESH_BASE_IMAGE to a Debian image that can be pulled."
            )
        partial = self.tarball.with_suffix(".partial")
        result = subprocess.run(
            bootstrap_command(self.recipe, str(partial), self.mirror),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if result.returncode != 0:
            partial.unlink(missing_ok=True)
            shown = "\n".join(result.stdout.splitlines()[-MAX_SHOWN_LINES:])
            raise LabError(f"{explain_bootstrap_failure(result.stdout, self.recipe.suite)}\n{shown}")
        partial.replace(self.tarball)
        self.log.append(f"made {self.tarball.name} with mmdebstrap from Debian {self.recipe.suite}")

    def _import(self) -> None:
        repository, tag = self.recipe.base_reference.rsplit(":", 1)
        doing = f"importing {self.tarball} as {self.recipe.base_reference}"
        with engine_errors(doing):
            # The engine answers 200 and puts an error into the body; asking for the image afterwards is the check.
            answer = self.client.api.import_image_from_file(
                str(self.tarball),
                repository=repository,
                tag=tag,
                changes=[f"LABEL {LABEL_IMAGE}={self.recipe.name}"],
            )
        with engine_errors(f"{doing}: {str(answer).strip()[-400:]}"):
            self.client.images.get(self.recipe.base_reference)
        self.log.append(f"imported {self.recipe.base_reference}")

    def _build(self) -> None:
        lines: list[str] = []
        with engine_errors(f"building {self.recipe.reference}"):
            stream = self.client.api.build(
                path=str(self.context),
                tag=self.recipe.reference,
                buildargs={"BASE": self.recipe.base_reference},
                labels={LABEL_IMAGE: self.recipe.name, LABEL_DIGEST: self.recipe.digest},
                # A base of ours has every package: building from it must need no network, and so it gets none.
                network_mode="default" if self.recipe.base_image else "none",
                rm=True,
                forcerm=True,
                decode=True,
            )
            for event in stream:
                lines += str(event.get("stream", "")).splitlines()
                if "error" in event:
                    shown = "\n".join(line for line in lines[-MAX_SHOWN_LINES:] if line)
                    raise LabError(f"building {self.recipe.reference}: {event['error']}\n{shown}")
        self.log.append(f"built {self.recipe.reference}")
