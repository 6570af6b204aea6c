# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugins that run on the controller share: the package meshnode, the clock, one way to fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

#: Options that name the store of a cluster; the roles set both.
STORE_OPTIONS = {
    "store": {"type": "path", "required": True},
    "cluster": {"type": "str", "default": "dc1"},
}


class ControllerError(Exception):
    """The controller can't do this; ``str()`` says what to change."""


def require_meshnode() -> None:
    """Raise :class:`ControllerError` with the way to install it when the package meshnode can't be imported."""
    try:
        import meshnode.pki.authority  # noqa: F401
    except ImportError as error:
        raise ControllerError(
            f"{sys.executable} on the controller can't import the Python package meshnode ({error}): "
            f"run '{sys.executable} -m pip install meshnode', and for a module on localhost set "
            "ansible_python_interpreter to '{{ ansible_playbook_python }}'"
        ) from None


def now() -> datetime:
    """Wall-clock time, aware, UTC."""
    return datetime.now(UTC)


def entropy(size: int) -> bytes:
    """``size`` bytes of the system's cryptographic generator."""
    return os.urandom(size)


def sentences(work: Callable[[Any], dict[str, Any]], module: Any) -> dict[str, Any]:
    """``work(module)``, with every expected error of meshnode as a :class:`ControllerError`."""
    from meshnode.base.errors import MeshError

    try:
        return work(module)
    except MeshError as error:
        raise ControllerError(str(error)) from None
