"""The configuration of ``tls-proxy`` from HCL or JSON. Each error names the place, the key and the fix.

    listener "shop" {
      bind = "0.0.0.0:10000"
      mode = "terminate"
      certificate { cert_file = "shop.crt"  key_file = "shop.key" }
      upstream { address = "127.0.0.1:8080" }
    }

In JSON ``listener`` is an object, name -> listener. Relative paths begin in the folder of the configuration.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final, NoReturn

from meshnode.base.address import is_ip_address, split_host_port
from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.json_fields import json_type
from meshnode.base.suggest import closest, did_you_mean
from meshnode.hcl.json_text import parse_json
from meshnode.hcl.located import Node
from meshnode.hcl.parse import parse_hcl
from meshnode.proxy.config import DEFAULT_CONNECT_TIMEOUT, DEFAULT_HANDSHAKE_TIMEOUT, MAX_TIMEOUT, Endpoint
from meshnode.tls_modes.model import (
    Authorities,
    Certificate,
    CertificateFiles,
    CertificateSecret,
    CertificateText,
    Mode,
    TlsListener,
    TlsProxyConfig,
    TlsUpstream,
    server_name,
)

__all__ = ["parse_tls_proxy"]

_TOP: Final = ("admin", "listener")
_LISTENER: Final = ("bind", "certificate", "handshake_timeout", "mode", "server_names", "upstream")
_CERTIFICATE: Final = ("cert_file", "cert_pem", "key_file", "key_pem", "sds_file", "sds_name")
_UPSTREAM: Final = (
    *("address", "ca_file", "ca_pem", "connect_timeout", "insecure_skip_verify", "server_name", "sni"),
)


def parse_tls_proxy(text: str, where: str, folder: str = "") -> TlsProxyConfig:
    """Read a whole configuration; ``where`` is the name of its file, ``folder`` the absolute path of its folder.

    Raises :class:`ConfigError`: the first thing that is wrong.
    """
    tree = parse_json(text, where) if where.endswith(".json") else parse_hcl(text, where)
    top = _Block(tree, "", _TOP)
    listeners = [_listener(block, folder) for block in list(_listener_blocks(top))]
    admin = top.endpoint("admin", named=False)
    try:
        return TlsProxyConfig(tuple(listeners), admin)
    except ConfigError as error:
        raise ConfigError(str(error), key=error.key, where=where) from None


class _Block:
    """An object of the text, with its path in errors."""

    def __init__(self, node: Node, path: str, known: tuple[str, ...]) -> None:
        if not isinstance(node.value, dict):
            what = path or "the configuration"
            hint = " (it comes twice: keep one)" if isinstance(node.value, list) else ""
            raise ConfigError(f"{what}: expected an object, got {json_type(node.value)}{hint}", key=path,
                              where=str(node.origin))  # fmt: skip
        self.node = node
        self.path = path
        self.members: Mapping[str, Node] = node.value
        for key, child in self.members.items():
            if known and key not in known:
                said = did_you_mean(key, known) or f": the keys here are {', '.join(known)}"
                self.refuse(key, f"is not a key of {path or 'the configuration'}{said}", child.key_origin)

    def refuse(self, key: str, reason: str, origin: object = None) -> NoReturn:
        """Raise the error about ``key``, at its place."""
        name = f"{self.path}.{key}" if self.path else key
        found = self.members.get(key)
        place = origin or (found.origin if found is not None else self.node.origin)
        raise ConfigError(f"{name}: {reason}", key=name, where=str(place))

    def block(self, key: str, known: tuple[str, ...]) -> _Block | None:
        """The object at ``key``."""
        node = self.members.get(key)
        return None if node is None else _Block(node, f"{self.path}.{key}" if self.path else key, known)

    def text(self, key: str) -> str:
        """A string; empty when missing."""
        node = self.members.get(key)
        if node is None:
            return ""
        if not isinstance(node.value, str):
            self.refuse(key, f"expected a text, got {json_type(node.value)}")
        if "\0" in node.value:
            self.refuse(key, "holds a NUL character")
        if not node.value.strip():
            self.refuse(key, "is empty: give it a value, or leave it out")
        return node.value

    def boolean(self, key: str) -> bool:
        """True or false; false when missing."""
        node = self.members.get(key)
        if node is None:
            return False
        if not isinstance(node.value, bool):
            self.refuse(key, f"expected true or false, got {json_type(node.value)}")
        return node.value

    def texts(self, key: str) -> tuple[Node, ...]:
        """A list of strings, each with its place."""
        node = self.members.get(key)
        if node is None:
            return ()
        items = node.value if isinstance(node.value, list) else None
        if items is None or not items:
            self.refuse(
                key, f"expected a list of texts, got {json_type(node.value) if items is None else 'none'}"
            )
        for item in items:
            if not isinstance(item.value, str):
                self.refuse(key, f"expected a text in the list, got {json_type(item.value)}", item.origin)
        return tuple(items)

    def seconds(self, key: str, default: float) -> float:
        """A duration, such as ``"5s"``."""
        text = self.text(key)
        if not text:
            return default
        try:
            value = parse_duration(text)
        except ConfigError as error:
            self.refuse(key, str(error))
        if not 0 < value <= MAX_TIMEOUT:
            self.refuse(key, f"{text:.40} is not above 0 and at most {MAX_TIMEOUT:g} s")
        return value

    def path_of(self, key: str, folder: str) -> str:
        """A path, made absolute; empty when missing."""
        text = self.text(key)
        return str(PurePosixPath(folder or "/", text)) if text else ""

    def endpoint(self, key: str, *, named: bool) -> Endpoint | None:
        """``host:port``, ``[v6]:port`` or ``unix:/path``; ``named``: the host may be a name. ``None`` when missing."""
        text = self.text(key)
        if not text:
            return None
        form = "host:port" if named else 'an IP address and a port, such as "0.0.0.0:443"'
        try:
            if text.startswith("unix:"):
                return Endpoint(path="/" + text.removeprefix("unix:").lstrip("/"))
            host, port = split_host_port(text)
            if port is None or (named and port == 0):
                self.refuse(key, f"{text!r:.120} has no port: write {form}")
            host = host or ("127.0.0.1" if named or key == "admin" else "0.0.0.0")
            is_name = named and not is_ip_address(host)
            return Endpoint(host, port, named=is_name)
        except ConfigError as error:
            if error.key:
                raise
            self.refuse(key, f"{error}: write {form}")
        except MeshError as error:
            self.refuse(key, f"{error}: write {form}")


def _listener_blocks(top: _Block) -> Iterator[_Block]:
    """Each ``listener "name" {}``: HCL gives an object for one block and a list for several."""
    node = top.members.get("listener")
    if node is None:
        top.refuse("listener", 'is missing: write listener "name" { bind, mode, upstream }')
    seen: set[str] = set()
    for group in node.value if isinstance(node.value, list) else [node]:
        block = _Block(group, "listener", ())
        for name, child in block.members.items():
            if not isinstance(child.value, dict | list):
                block.refuse(name, 'has no name: write listener "name" { ... }', child.key_origin)
            if name in seen:
                block.refuse(name, "comes twice: give each its own name", child.key_origin)
            seen.add(name)
            yield _Block(child, f"listener.{name}", _LISTENER)


def _listener(block: _Block, folder: str) -> TlsListener:
    bind = block.endpoint("bind", named=False)
    if bind is None:
        block.refuse("bind", 'is missing: write where clients come in, such as "0.0.0.0:443"')
    upstream = block.block("upstream", _UPSTREAM)
    if upstream is None:
        block.refuse("upstream", 'is missing: write upstream { address = "host:port" }')
    certificate = block.block("certificate", _CERTIFICATE)
    mode = _mode(block)
    name = block.path.removeprefix("listener.")
    try:
        return TlsListener(
            name=name,
            bind=bind,
            mode=mode,
            upstream=_upstream(upstream, folder),
            certificate=_certificate(certificate, folder) if certificate is not None else None,
            server_names=tuple(_server_names(block)),
            handshake_timeout=block.seconds("handshake_timeout", DEFAULT_HANDSHAKE_TIMEOUT),
        )
    except ConfigError as error:
        if error.where:
            raise
        raise ConfigError(
            f"{block.path}: {error}", key=f"{block.path}.{error.key}", where=str(block.node.origin)
        ) from None


def _mode(block: _Block) -> Mode:
    text = block.text("mode")
    known = [str(mode) for mode in Mode]
    if text not in known:
        near = closest(text, known)
        what = f"{text!r:.40} is none" if text else "is missing"
        meant = f" (did you mean {near}?)" if near else ""
        block.refuse("mode", f"{what}{meant}: write {', '.join(known[:-1])} or {known[-1]}")
    return Mode(text)


def _server_names(block: _Block) -> Iterator[str]:
    for item in block.texts("server_names"):
        try:
            yield server_name(str(item.value), wildcard=True)
        except ConfigError as error:
            block.refuse("server_names", str(error), item.origin)


def _certificate(block: _Block, folder: str) -> Certificate:
    """One of the three forms, whole and alone."""
    forms = [("cert_file", "key_file"), ("cert_pem", "key_pem"), ("sds_file", "sds_name")]
    given = [form for form in forms if any(key in block.members for key in form)]
    if len(given) != 1:
        keys = " or ".join(" and ".join(form) for form in (given or forms))
        block.refuse(
            next(key for key in given[1] if key in block.members) if given else "cert_file",
            f"{'only one of them can be' if given else 'is missing'}: write {keys}",
        )
    for key in given[0]:
        if key not in block.members:
            block.refuse(key, f"is missing: {' and '.join(given[0])} go together")
    first, second = given[0]
    if first == "cert_file":
        return CertificateFiles(block.path_of(first, folder), block.path_of(second, folder))
    if first == "sds_file":
        return CertificateSecret(block.path_of(first, folder), block.text(second))
    return CertificateText(block.text(first), block.text(second))


def _upstream(block: _Block, folder: str) -> TlsUpstream:
    address = block.endpoint("address", named=True)
    if address is None:
        block.refuse("address", 'is missing: write where the service listens, as "host:port"')
    if address.path:
        block.refuse("address", "is a unix socket: write the host:port of the service")
    authorities = Authorities(block.path_of("ca_file", folder), block.text("ca_pem"))
    if authorities.ca_file and authorities.ca_pem:
        block.refuse("ca_pem", "only one of ca_file and ca_pem can be: leave one out")
    return TlsUpstream(
        address=address,
        authorities=authorities if authorities != Authorities() else None,
        sni=_name(block, "sni", address=False),
        server_name=_name(block, "server_name", address=True),
        insecure_skip_verify=block.boolean("insecure_skip_verify"),
        connect_timeout=block.seconds("connect_timeout", DEFAULT_CONNECT_TIMEOUT),
    )


def _name(block: _Block, key: str, *, address: bool) -> str:
    text = block.text(key)
    if not text:
        return ""
    if address and is_ip_address(text):
        return str(ipaddress.ip_address(text))
    try:
        return server_name(text)
    except ConfigError as error:
        block.refuse(key, f"{error}{' or an IP address' if address else ''}")
