"""Which addresses to bind and to advertise: templates expanded, defaults derived, as Consul does.

In: the settings and a way to ask for the interfaces, which is used only when needed. Out: path -> address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Final

from meshnode.agent import on_demand
from meshnode.agent.config.merge import Settings
from meshnode.agent.config.networks import CONSUL_PRIVATE, within
from meshnode.base.errors import ConfigError
from meshnode.runtime.interfaces import Interface, Interfaces

__all__ = ["derive_addresses"]

_ANY: Final = frozenset({"0.0.0.0", "::"})
_SINGLE: Final = ("advertise_addr", "advertise_addr_wan", "serf_lan", "serf_wan")


def derive_addresses(
    settings: Settings, interfaces: Callable[[], Interfaces]
) -> tuple[dict[str, Any], list[ConfigError]]:
    """Values of every address key, and what is wrong with them."""
    return _Derivation(settings, interfaces).run()


class _Derivation:
    def __init__(self, settings: Settings, interfaces: Callable[[], Interfaces]) -> None:
        self._settings = settings
        self._ask = interfaces
        self._machine: Interfaces | None = None
        self.values: dict[str, Any] = {}
        self.problems: list[ConfigError] = []

    def run(self) -> tuple[dict[str, Any], list[ConfigError]]:
        self._attempt("bind_addr", self._bind)
        for path in _SINGLE:
            self._attempt(path, self._single)
        self._attempt("client_addr", self._several)
        for path in ("addresses.http", "addresses.https", "addresses.dns", "addresses.grpc"):
            self._attempt(path, self._several)
        if not self.problems:
            self._defaults()
        return self.values, self.problems

    def _attempt(self, path: str, read: Callable[[str], Any]) -> None:
        try:
            self.values[path] = read(path)
        except ConfigError as problem:
            self.problems.append(problem)

    def _bind(self, path: str) -> str:
        found = self._expand(path)
        if not found:
            raise self._settings.problem(path, "bind_addr cannot be empty")
        if len(found) > 1:
            message = "bind_addr cannot contain multiple addresses. Use 'addresses.{http,https}' instead"
            raise self._settings.problem(path, message)
        if found[0].startswith("unix:"):
            raise self._settings.problem(path, "bind_addr cannot be a unix socket")
        return found[0]

    def _single(self, path: str) -> str:
        found = self._expand(path)
        if len(found) > 1:
            message = f"{path} cannot contain multiple addresses: {' '.join(found)}: write one"
            raise self._settings.problem(path, message)
        if found and found[0].startswith("unix:"):
            raise self._settings.problem(path, f"{path} cannot be a unix socket")
        name = {"advertise_addr": "Advertise", "advertise_addr_wan": "Advertise WAN"}.get(path)
        if name and found and found[0] in _ANY:
            raise self._settings.problem(
                path, f"{name} address cannot be 0.0.0.0, :: or [::]: others can't reach it"
            )
        return found[0] if found else ""

    def _several(self, path: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(self._expand(path)))
        if path != "addresses.http" and path.startswith("addresses.") and any(map(_is_socket, found)):
            what = {"addresses.https": "HTTPS", "addresses.dns": "DNS"}.get(path, "gRPC")
            raise self._settings.problem(
                path, f"{path}: {what} is not served on Unix sockets: use addresses.http"
            )
        return found

    def _expand(self, path: str) -> list[str]:
        """The addresses of ``path``, templates evaluated, each in its canonical form."""
        text = self._settings[path]
        if "{{" in text:
            try:
                expanded = on_demand.sockaddr.evaluate(text, self._interfaces())
            except ConfigError as error:
                raise self._settings.problem(path, f"{path}: {error}") from None
            if not expanded.strip():
                message = f"{path}: {text} finds no address on this machine, which has {self._all()}"
                raise self._settings.problem(path, message)
            text = expanded
        return [self._address(path, word) for word in text.split()]

    def _address(self, path: str, word: str) -> str:
        if word.startswith("unix://"):
            if len(word) == len("unix://"):
                raise self._settings.problem(
                    path, f'{path}: "{word}" has no path: write unix:///path/of/socket'
                )
            return word
        bare = word[1:-1] if word.startswith("[") and word.endswith("]") else word
        try:
            return str(ipaddress.ip_address(bare))
        except ValueError:
            hint = ": write 127.0.0.1" if word == "localhost" else ""
            raise self._settings.problem(path, f'{path}: "{word}" is not an IP address{hint}') from None

    def _defaults(self) -> None:
        values = self.values
        bind = values["bind_addr"]
        if not values["advertise_addr"]:
            self._attempt("advertise_addr", lambda path: self._advertise(bind))
        values["advertise_addr_wan"] = values["advertise_addr_wan"] or values.get("advertise_addr", "")
        for path in ("serf_lan", "serf_wan"):
            values[path] = values[path] or bind
        client = values["client_addr"]
        values["addresses.http"] = values["addresses.http"] or client
        network = tuple(a for a in client if not _is_socket(a))
        for path in ("addresses.https", "addresses.dns", "addresses.grpc"):
            values[path] = values[path] or network

    def _advertise(self, bind: str) -> str:
        """``bind``, or for 0.0.0.0 the only private IPv4 address, or for :: the only public IPv6 address."""
        if bind not in _ANY:
            return bind
        version = 4 if bind == "0.0.0.0" else 6
        kind = "private IPv4" if version == 4 else "public IPv6"
        found = [
            item
            for item in self._active()
            if item.address.version == version and within(item.address, CONSUL_PRIVATE) == (version == 4)
        ]
        if len({item.ip for item in found}) == 1:
            return found[0].ip
        if not found:
            message = f'No {kind} address found: this machine has {self._all()}. Add "advertise_addr": "<one of them>"'
            raise self._settings.problem("bind_addr", message)
        candidates = "\n".join(f"  {item.name}  {item.ip}" for item in found)
        first = found[0]
        message = (
            f"Multiple {kind} addresses found. Please configure one with 'bind' and/or 'advertise'.\n{candidates}\n"
            f'Add one of these lines: "bind_addr": "{first.ip}", or '
            f'"bind_addr": "{{{{ GetInterfaceIP \\"{first.name}\\" }}}}", or "advertise_addr": "{first.ip}"'
        )
        raise self._settings.problem("bind_addr", message)

    def _active(self) -> list[Interface]:
        """Addresses of interfaces that are up; loopback counts only when there is nothing else (Consul)."""
        up = [item for item in self._interfaces().all if "up" in item.flags]
        return [item for item in up if "loopback" not in item.flags] or up

    def _interfaces(self) -> Interfaces:
        if self._machine is None:
            self._machine = self._ask()
        return self._machine

    def _all(self) -> str:
        return ", ".join(f"{item.name} {item.ip}" for item in self._interfaces().all) or "no address at all"


def _is_socket(address: str) -> bool:
    return address.startswith("unix://")
