# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking an agent out of the mesh for good: another server leads, it says goodbye, and it is not started again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from ansible_collections.meshnode.lab.plugins.module_utils._agent_api import ApiError
from ansible_collections.meshnode.lab.plugins.module_utils._restart import (
    POLL_INTERVAL,
    RestartError,
    Service,
)

LEAVE = "/v1/agent/leave"
UP = frozenset({"active", "activating", "reloading"})


@dataclass
class Left:
    """What was, or in check mode would be, done."""

    actions: list[str] = field(default_factory=list)
    handed_over: bool = False


class Goodbye:
    """Makes the agent of C(service) leave; C(graceful) says whether it tells the others."""

    def __init__(self, service: Service, *, graceful: bool) -> None:
        self.service = service
        self.graceful = graceful

    def run(self) -> Left:
        """Do what is due; raises RestartError."""
        left, unit = Left(), self.service.properties()
        if unit["LoadState"] != "loaded":
            return left
        up, enabled = unit["ActiveState"] in UP, unit["UnitFileState"] == "enabled"
        left.actions = ["leave" if self.graceful else "stop"] * up + ["disable"] * enabled
        if self.service.module.check_mode:
            return left
        if up and self.graceful and unit["ActiveState"] != "activating":
            with contextlib.suppress(ApiError):
                left.handed_over = self.service.leads() and self.service.hand_over()
            self.leave()
        # One that waits for something yet has nobody to say goodbye to; it must not come up later.
        for verb in ["stop"] * up + ["disable"] * enabled:
            self.service.systemctl(verb)
        return left

    def leave(self) -> None:
        """Ask for it, and wait until the process is gone: the agent ends by itself when the others know."""
        begun, trouble, timeout = self.service.clock(), "", self.service.wish.timeout
        try:
            self.service.api.call("PUT", LEAVE)
        except ApiError as error:
            if error.status:
                raise RestartError(f"{self.service.unit} does not leave: {error}") from None
            trouble = f": {error}"  # a server answers after it has drained its calls, or ends before
        while self.service.properties()["ActiveState"] in UP:
            if self.service.clock() - begun >= timeout:
                raise RestartError(
                    f"{self.service.unit} does not leave: it still runs after {timeout:g} s{trouble}"
                )
            self.service.sleep(POLL_INTERVAL)
