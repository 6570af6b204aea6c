"""Whether every listener can have its port: two of them on one address are found before the kernel does."""

from __future__ import annotations

from typing import Any, Final

from meshnode.agent.config.merge import Settings
from meshnode.base.address import Address
from meshnode.base.errors import ConfigError

__all__ = ["check_listeners"]

_ANY: Final = frozenset({"0.0.0.0", "::"})


def check_listeners(settings: Settings, values: dict[str, Any], *, server: bool) -> list[ConfigError]:
    """``<X> address ... already configured for <Y>`` (Consul's text) for each listener that comes too late."""
    wanted: list[tuple[str, str, str, int]] = []  # name, key, address, port
    for name, key, where in (
        ("HTTP", "http", "http"),
        ("HTTPS", "https", "https"),
        ("DNS", "dns", "dns"),
        ("gRPC", "grpc", "grpc"),
        ("gRPC TLS", "grpc_tls", "grpc"),
    ):
        wanted += [
            (name, f"ports.{key}", address, settings[f"ports.{key}"])
            for address in values[f"addresses.{where}"]
        ]
    if server:
        wanted.append(("RPC", "ports.server", values["bind_addr"], settings["ports.server"]))
        wanted.append(("Serf WAN", "ports.serf_wan", values["serf_wan"], settings["ports.serf_wan"]))
    wanted.append(("Serf LAN", "ports.serf_lan", values["serf_lan"], settings["ports.serf_lan"]))

    taken: list[tuple[str, str, int]] = []
    problems: list[ConfigError] = []
    for name, key, address, port in wanted:
        is_unix = address.startswith("unix:")
        if port < 0 and not is_unix:
            continue
        number = 0 if is_unix else port
        other = next((t for t in taken if t[2] == number and _overlap(t[1], address)), None)
        if other is not None:
            shown = address if is_unix else str(Address(address, port))
            source = key if not is_unix else f"addresses.{key.rpartition('.')[2]}"
            problems.append(
                settings.problem(source, f"{name} address {shown} already configured for {other[0]}")
            )
        else:
            taken.append((name, address, number))
    return problems


def _overlap(one: str, other: str) -> bool:
    """Whether both can't be bound with the same port: the same address, or one stands for all of its family."""
    if one == other:
        return True
    if one.startswith("unix:") or other.startswith("unix:"):
        return False
    same_family = (":" in one) == (":" in other)
    return "::" in (one, other) or (same_family and bool({one, other} & _ANY))
