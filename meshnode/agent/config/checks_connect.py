"""The settings of the mesh, read as the CA reads them, so that a mistake in them is found before anything starts."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from meshnode.base.errors import ConfigError
from meshnode.connect.settings import HIDDEN, parse_ca_settings

if TYPE_CHECKING:
    from meshnode.agent.config.checks import Findings

__all__ = ["settle_connect"]


def settle_connect(found: Findings) -> None:
    """Refuse settings that no CA can be made of."""
    settings = found.settings
    try:
        parsed = parse_ca_settings(settings["connect.ca_provider"], settings["connect.ca_config"])
    except ConfigError as error:
        found.problem("connect.ca_config", f"connect.ca_config: {error}")
        return
    vault = parsed.vault
    if vault is not None and vault.token == HIDDEN:
        found.problem("connect.ca_config", "connect.ca_config: token: write the token itself")
    if vault is not None and vault.address.startswith("http:") and not _is_loopback(vault.address):
        found.warnings.append(
            f"connect.ca_config: address: the token goes to {vault.address} without encryption: write https"
        )
    if parsed.private_key == HIDDEN:
        found.problem(
            "connect.ca_config", "connect.ca_config: private_key: write the key itself, in PEM form"
        )
    if parsed.shown and settings["connect.ca_config"] and not settings["connect.enabled"]:
        found.warnings.append("connect.ca_config has no effect: connect.enabled is false")
    primary = settings["primary_datacenter"].lower()
    if settings["connect.ca_config"] and primary not in ("", settings["datacenter"].lower()):
        found.warnings.append(
            f'connect.ca_config has no effect: the certificate authority is that of primary_datacenter, "{primary}"'
        )


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
