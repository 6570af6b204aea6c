"""The agent's figures for ``info`` and ``/v1/agent/self``: groups of text values, named as Consul names them."""

from __future__ import annotations

import gc
import os
import platform
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshnode import CONSUL_API_VERSION, __version__
from meshnode.agent.pool import Pool

if TYPE_CHECKING:
    from meshnode.agent.state_owner import StateOwner

__all__ = ["agent_stats"]

#: Seconds for which the figures of the process hold.
LOOK_INTERVAL: Final = 1.0
#: Seconds for which a count of all objects holds.
COUNT_INTERVAL: Final = 10.0
_STATM: Final = Path("/proc/self/statm")


def agent_stats(
    *, lan: Pool, wan: Pool | None, owner: StateOwner | None, bootstrap: bool, datacenter: str
) -> Mapping[str, Mapping[str, str]]:
    """Every group; a client has no ``serf_wan``."""
    stats: dict[str, Mapping[str, str]] = {
        "agent": {"check_monitors": "0", "check_ttls": "0", "checks": "0", "services": "0"},
        "build": {"prerelease": "", "revision": f"meshnode{__version__}", "version": CONSUL_API_VERSION},
        "runtime": _runtime(int(time.monotonic() / LOOK_INTERVAL)),
        "serf_lan": lan.shell.serf.stats(),
    }
    if owner is None:
        alive = sum(server.alive for server in lan.servers)
        stats["consul"] = {"server": "false", "known_servers": str(alive)}
    else:
        stats["consul"] = {
            "bootstrap": _text(bootstrap),
            "known_datacenters": str(len({server.datacenter for server in wan.servers}) if wan else 1),
            "leader": _text(owner.is_leader),
            "leader_addr": owner.view().leader,
            "server": "true",
        }
    if wan is not None:
        stats["serf_wan"] = wan.shell.serf.stats()
    return stats


@lru_cache(maxsize=1)
def _runtime(interval: int) -> Mapping[str, str]:
    """Figures of the process, looked at once in an ``interval``: that takes longer than all the others together."""
    del interval
    return {
        "arch": platform.machine(),
        "cpu_count": str(os.cpu_count() or 1),
        "gc_objects": str(_tracked_objects(int(time.monotonic() / COUNT_INTERVAL))),
        "os": platform.system().lower(),
        "resident_bytes": str(_resident_bytes()),
        "threads": str(threading.active_count()),
        "version": f"python{platform.python_version()}",
    }


@lru_cache(maxsize=1)
def _tracked_objects(interval: int) -> int:
    """Objects that the garbage collector tracks, counted once in an ``interval``: there are a hundred thousand."""
    del interval
    return len(gc.get_objects())


def _resident_bytes() -> int:
    """Second field of ``statm``, in pages (proc(5)); 0 where there is no such file."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _text(value: bool) -> str:
    return "true" if value else "false"
