"""Proxies that come with services: their ports and defaults, tried out before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.local.managed import ProxyDefaults
from meshnode.local.proxy_plan import PortRange, ProxyRules

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from meshnode.agent.config.checks import Findings

__all__ = ["proxy_rules", "settle_proxies"]


def settle_proxies(found: Findings) -> None:
    """Refuse ranges of ports that hold none, and defaults that no proxy could run with."""
    settings = found.settings
    for kind in ("proxy", "sidecar"):
        low, high = f"ports.{kind}_min_port", f"ports.{kind}_max_port"
        first, last = settings[low], settings[high]
        if first > last or (first < 1 <= last):
            found.problem(
                low,
                f"{low} ({first}) must be less than {kind}_max_port ({last}). To disable, set both to zero.",
            )
    defaults = settings["connect.proxy_defaults.config"]
    if "bind_port" in defaults:
        found.problem(
            "connect.proxy_defaults.config",
            "connect.proxy_defaults.config.bind_port: two proxies can't have one port: leave it to "
            "ports.proxy_min_port and ports.proxy_max_port",
        )


def proxy_rules(
    value: Callable[[str], Any], bind_address: str, own_command: tuple[str, ...] = ()
) -> ProxyRules:
    """The rules that the settings describe; ``value`` gives the one of a path."""
    own = {"own_command": own_command} if own_command else {}
    return ProxyRules(
        PortRange(value("ports.sidecar_min_port"), value("ports.sidecar_max_port")),
        PortRange(value("ports.proxy_min_port"), value("ports.proxy_max_port")),
        ProxyDefaults(
            value("connect.proxy_defaults.exec_mode"),
            value("connect.proxy_defaults.daemon_command"),
            value("connect.proxy_defaults.script_command"),
            value("connect.proxy_defaults.config"),
            bind_address=bind_address,
            **own,
        ),
    )
