# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the procedures that change a running mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.meshnode.lab.plugins.plugin_utils import _summary


def aligned(rows: Iterable[Iterable[object]]) -> list[str]:
    """A line for each row, the columns under each other; what could be a secret is hidden."""
    cells = [[_summary.cell(value) for value in row] for row in rows]
    if not cells:
        return []
    if len({len(row) for row in cells}) > 1:
        raise AnsibleFilterError("aligned: the rows have different lengths: give each the same columns")
    return _summary.aligned(cells)


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aligned": aligned}
