# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to the container engine: one client, and errors that say what to do."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import docker

DOCKER_IMPORT_ERROR: str | None = None
try:
    import docker
    import docker.errors
    import requests.exceptions
except ImportError:
    DOCKER_IMPORT_ERROR = traceback.format_exc()


class LabError(Exception):
    """Says what is wrong, where, and what to do; shown as it is."""


def connect(timeout: int = 60) -> docker.DockerClient:
    """A client of the engine that the environment names (DOCKER_HOST or the local socket); raises LabError."""
    try:
        client = docker.from_env(timeout=timeout)
        client.ping()
    except (docker.errors.DockerException, requests.exceptions.RequestException) as exc:
        raise LabError(explain(exc)) from exc
    return client


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turns what the engine or the way to it raises into a LabError that opens with what was being done."""
    try:
        yield
    except (docker.errors.DockerException, requests.exceptions.RequestException) as exc:
        raise LabError(f"{doing}: {explain(exc)}") from exc


def explain(exc: Exception) -> str:
    """The engine's own words where it answered; what to do where it didn't."""
    explanation = getattr(exc, "explanation", None)
    if explanation:
        return str(explanation).strip()
    text = str(exc)
    if "Permission denied" in text:
        return (
            "this user may not use the container engine: run as root, "
            "or add the user to the group docker and log in again."
        )
    if (
        "Connection refused" in text
        or "No such file" in text
        or "FileNotFoundError" in text
        or "Connection aborted" in text
    ):
        return (
            "the container engine does not answer: start it with scripts/engine.sh (as root), "
            "or set DOCKER_HOST to one that runs."
        )
    return text
