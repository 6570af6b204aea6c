"""The etcd engine from the configuration."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from meshnode.agent.config.model import AgentConfig
from meshnode.base.address import Address
from meshnode.base.errors import ConfigError
from meshnode.runtime.etcd_client import EtcdSettings, etcd_tls
from meshnode.runtime.log_etcd import EtcdLog

__all__ = ["etcd_log"]

_log = logging.getLogger("meshnode.etcd")
_KEY = "state_log.endpoints"
DEFAULT_PORT = 2379


def etcd_log(config: AgentConfig, node_id: str) -> EtcdLog:
    """The log of this server. Raises :class:`ConfigError` naming the key to change.

    Where ``https`` and ``http`` are mixed, members are asked with TLS first, and then in clear: for the time in which
    etcd changes from one to the other, member by member. A warning says so.
    """
    settings, tls = config.state_log, config.tls
    endpoints = [_endpoint(text, i) for i, text in enumerate(settings.endpoints)]
    if not endpoints:
        raise ConfigError(f'{_KEY} is empty: name etcd\'s client URLs, ["https://10.0.0.1:2379"]', key=_KEY)
    secure = tuple(address for scheme, address in endpoints if scheme == "https")
    clear = tuple(address for scheme, address in endpoints if scheme == "http")
    if secure and clear:
        _log.warning(
            "%s: https and http are mixed, so the log may pass in clear: keep one when etcd has it", _KEY
        )
    files = (
        settings.ca_file or tls.ca_file,
        settings.cert_file or tls.cert_file,
        settings.key_file or tls.key_file,
    )
    if secure and not all(files):
        raise ConfigError(
            "etcd over https needs a CA, a certificate and a key: set ca_file, cert_file and key_file",
            key=_KEY,
        )
    return EtcdLog(
        EtcdSettings(
            secure or clear,
            tls=etcd_tls(*files) if secure else None,
            prefix=settings.prefix or f"meshnode/{config.identity.datacenter}/",
            clear=clear if secure else (),
        ),
        node_id,
    )


def _endpoint(text: str, position: int) -> tuple[str, Address]:
    where = f"{_KEY}[{position}]"
    try:
        parts = urlsplit(text)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise ConfigError(f"{where}: {text!r}: {error}", key=_KEY) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ConfigError(f"{where}: {text!r} is not a URL like https://10.0.0.1:2379", key=_KEY)
    return parts.scheme, Address(parts.hostname, port)
