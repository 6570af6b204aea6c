"""Where the agent is and how to talk to it: arguments first, then Consul's variables of the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, TypeAlias
from urllib.parse import quote

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import parse_boolean
from meshnode.client.endpoint import Endpoint, TlsFiles, parse_endpoint

__all__ = ["DEFAULT_ADDRESS", "ApiSettings", "Query", "path_segment"]

#: Query parameters; as pairs, when one of them comes several times.
Query: TypeAlias = "Mapping[str, str] | Sequence[tuple[str, str]]"

DEFAULT_ADDRESS: Final = "127.0.0.1:8500"
_VARIABLES: Final = {
    "address": "CONSUL_HTTP_ADDR",
    "token": "CONSUL_HTTP_TOKEN",
    "auth": "CONSUL_HTTP_AUTH",
    "ca_file": "CONSUL_CACERT",
    "ca_path": "CONSUL_CAPATH",
    "client_cert": "CONSUL_CLIENT_CERT",
    "client_key": "CONSUL_CLIENT_KEY",
    "tls_server_name": "CONSUL_TLS_SERVER_NAME",
}


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the agent is and how to talk to it; ``with_environment`` fills what was not given."""

    address: str = ""
    token: str = ""
    auth: str = ""
    ca_file: str = ""
    ca_path: str = ""
    client_cert: str = ""
    client_key: str = ""
    tls_server_name: str = ""
    verify: bool = True

    def with_environment(self, environ: Mapping[str, str]) -> ApiSettings:
        """Fill empty fields from Consul's variables (``CONSUL_HTTP_ADDR``, ``CONSUL_CACERT``, ...)."""
        values = {name: getattr(self, name) or environ.get(_VARIABLES[name], "") for name in _VARIABLES}
        address = values["address"] or DEFAULT_ADDRESS
        if "://" not in address:
            secure = _variable(environ, "CONSUL_HTTP_SSL", default=False)
            address = ("https://" if secure else "http://") + address
        verify = _variable(environ, "CONSUL_HTTP_SSL_VERIFY", default=True)
        return ApiSettings(**values | {"address": address}, verify=verify)

    def endpoint(self) -> Endpoint:
        """Where that is; raises :class:`ConfigError` when the address can't be used."""
        return parse_endpoint(self.address)

    def tls(self) -> TlsFiles:
        """The files for ``https://``."""
        return TlsFiles(
            ca_file=self.ca_file,
            ca_path=self.ca_path,
            certificate=self.client_cert,
            key=self.client_key,
            server_name=self.tls_server_name,
            verify=self.verify,
        )

    def headers(self) -> dict[str, str]:
        """Headers of every request; raises :class:`ConfigError` for a secret with a line break in it."""
        headers = {"X-Consul-Token": self.token} if self.token else {}
        if self.auth:
            from base64 import b64encode

            credentials = self.auth if ":" in self.auth else self.auth + ":"
            headers["Authorization"] = "Basic " + b64encode(credentials.encode()).decode()
        if not (self.token.isprintable() and self.token.isascii()):
            raise ConfigError("the token holds characters that no token has: look for a line break in it")
        return headers

    def __repr__(self) -> str:
        """Without what is secret."""
        shown = [f.name for f in fields(self) if f.name not in {"token", "auth"} and getattr(self, f.name)]
        return f"ApiSettings({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def path_segment(text: str) -> str:
    """Quote ``text`` for use as one segment of a path."""
    return quote(text, safe="")


def _variable(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environ.get(name, "")
    try:
        return parse_boolean(text) if text else default
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}", key=name) from None
