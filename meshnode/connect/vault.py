"""How Vault is reached, as people write it, and what is remembered of a root whose key is in Vault.

Two mounts of Vault's PKI engine: one holds the root, the other an intermediate, which signs the leaves. Names are
those of Consul's documentation of its Vault provider.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final
from urllib.parse import urlsplit

from meshnode.base.errors import ConfigError, RemoteProtocolError

__all__ = ["VAULT_NAMES", "VaultKey", "VaultSettings", "parse_vault_key", "parse_vault_settings"]

#: Name of the API -> field.
_FIELDS: Final = {
    "Address": "address",
    "Token": "token",
    "RootPKIPath": "root_path",
    "IntermediatePKIPath": "intermediate_path",
    "Namespace": "namespace",
    "CAFile": "ca_file",
    "CAPath": "ca_path",
    "CertFile": "cert_file",
    "KeyFile": "key_file",
    "TLSServerName": "tls_server_name",
}
#: The settings that only Vault has, by their names in the API.
VAULT_NAMES: Final = (*_FIELDS, "TLSSkipVerify")
_REQUIRED: Final = ("Address", "Token", "RootPKIPath", "IntermediatePKIPath")
MAX_CHARS: Final = 4096
#: A mount is part of a URL.
_MOUNT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Checked. ``address`` is ``scheme://host[:port]``, paths have no slash at either end, files are a server's."""

    address: str
    token: str = field(repr=False)
    root_path: str
    intermediate_path: str
    namespace: str = ""
    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""
    tls_server_name: str = ""

    def is_reached_as(self, other: VaultSettings) -> bool:
        """Whether ``other``'s token goes to the same place: who may change settings may not send it elsewhere."""
        return all(
            getattr(self, each.name) == getattr(other, each.name)
            for each in fields(self)
            if each.name not in ("token", "root_path", "intermediate_path")
        )


@dataclass(frozen=True, slots=True)
class VaultKey:
    """Where the key of a root is. Issuers are Vault's ids, empty for a mount's default one.

    ``intermediate`` is the certificate, PEM, of the issuer that signs leaves.
    """

    settings: VaultSettings
    root_issuer: str
    intermediate_issuer: str
    intermediate: str

    def elsewhere(self) -> dict[str, str]:
        """For :class:`~meshnode.connect.model.RootKey`. Secret: the token is in it."""
        return {
            **asdict(self.settings),
            "root_issuer": self.root_issuer,
            "intermediate_issuer": self.intermediate_issuer,
            "intermediate": self.intermediate,
        }


def parse_vault_key(elsewhere: Mapping[str, Any]) -> VaultKey:
    """The inverse of :meth:`VaultKey.elsewhere`; raises :class:`RemoteProtocolError`."""
    try:
        settings = VaultSettings(**{name: str(elsewhere[name]) for name in _FIELDS.values()})
        return VaultKey(
            settings,
            str(elsewhere["root_issuer"]),
            str(elsewhere["intermediate_issuer"]),
            str(elsewhere["intermediate"]),
        )
    except KeyError as error:
        raise RemoteProtocolError(f"the key of a Connect root in Vault is written without {error}") from None


def parse_vault_settings(given: Mapping[str, Any]) -> VaultSettings:
    """Read the settings by their names in the API; raises :class:`ConfigError` that never quotes the token."""
    texts = {name: _text(given, name) for name in _FIELDS}
    for name in _REQUIRED:
        if not texts[name]:
            raise ConfigError(f"{name} is needed with the provider vault")
    if not _VISIBLE.fullmatch(texts["Token"]):
        raise ConfigError(
            "Token has characters that no token of Vault has: write it without blanks or line ends"
        )
    texts["Address"] = _address(texts["Address"])
    for name in ("RootPKIPath", "IntermediatePKIPath", "Namespace"):
        written = texts[name]
        texts[name] = written.strip("/")
        if written and not _MOUNT.fullmatch(texts[name]):
            raise ConfigError(
                f'{name}: "{written[:80]}" can\'t be used: write a path such as connect/root, '
                "of letters, digits, dots, dashes and underscores"
            )
    if texts["RootPKIPath"] == texts["IntermediatePKIPath"]:
        raise ConfigError(
            "RootPKIPath and IntermediatePKIPath are the same: the root and the intermediate need a mount each"
        )
    if bool(texts["CertFile"]) != bool(texts["KeyFile"]):
        raise ConfigError("CertFile and KeyFile need each other: write both or neither")
    if str(given.get("TLSSkipVerify") or "false").lower() not in ("false", "0", "f"):
        raise ConfigError(
            "TLSSkipVerify can't be used: whoever is in between would get the token. "
            "Write the CA of Vault's certificate as CAFile, or the name in it as TLSServerName"
        )
    return VaultSettings(**{_FIELDS[name]: text for name, text in texts.items()})


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_CHARS:
        raise ConfigError(f"{name} must be text of at most {MAX_CHARS} characters")
    return value.strip()


def _address(text: str) -> str:
    wrong = f'Address: "{text[:80]}" can\'t be used: write it as https://vault.example.com:8200'
    if "@" in text:
        raise ConfigError(
            "Address must not have a user or a password: write it as https://vault.example.com:8200"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError(wrong) from None
    plain = not (parts.query or parts.fragment or parts.path.strip("/")) and _VISIBLE.fullmatch(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ConfigError(wrong)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
