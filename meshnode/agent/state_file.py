"""What the running agent was started from, for whoever has to decide whether a restart is needed."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["RunningState", "remove_state", "write_state"]

FILE_NAME = "state.json"


@dataclass(frozen=True, slots=True)
class RunningState:
    """``config_digest`` is that of ``agent.config``'s sources; ``unit_digest`` names the unit that started us."""

    pid: int
    version: str
    config_digest: str
    package_digest: str
    unit_digest: str
    started_at: str


def write_state(directory: str, state: RunningState) -> None:
    """Write ``state.json`` into ``directory`` whole or not at all; world-readable, as it holds no secret."""
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".state-")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(state), file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, Path(directory) / FILE_NAME)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def remove_state(directory: str) -> None:
    """The agent stops: nobody shall take its last state for a running one."""
    with contextlib.suppress(OSError):
        (Path(directory) / FILE_NAME).unlink()
