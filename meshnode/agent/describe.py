"""What ``/v1/agent/self`` shows of an agent: its configuration without secrets, its state, its certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshnode import CONSUL_API_VERSION, __version__
from meshnode.agent.stats import agent_stats
from meshnode.agent.wan_map import coordinate_fields
from meshnode.http.view import AgentSelf
from meshnode.local.url import without_password

if TYPE_CHECKING:
    from meshnode.agent.agent import Agent
    from meshnode.agent.config.model import AgentConfig
    from meshnode.agent.pool import Pool

__all__ = ["Description", "own_certificates", "public_config"]

_HIDDEN = "hidden"
#: In the names of free settings that hold secrets.
_SECRET_WORDS = ("token", "secret", "password", "private", "authorization", "cookie")


class Description:
    """What one agent is, put together when it is asked for; what is of its configuration once for each of them."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._shown: tuple[AgentConfig | None, Mapping[str, Any]] = (None, {})

    def parts(self) -> AgentSelf:
        """Everything, as it is now."""
        agent = self._agent
        identity = agent.config.identity
        coordinate = agent.lan.shell.serf.coordinate()
        return AgentSelf(
            config={
                "Datacenter": identity.datacenter,
                "NodeName": identity.node_name,
                "NodeID": agent.node_id,
                "Revision": f"meshnode{__version__}",
                "Server": identity.server,
                "Version": CONSUL_API_VERSION,
            },
            debug_config=self._config(),
            coord=None if coordinate is None else coordinate_fields(coordinate),
            member=agent.lan.local,
            stats=agent_stats(
                lan=agent.lan,
                wan=agent.wan,
                owner=agent.server.owner if agent.server is not None else None,
                bootstrap=identity.bootstrap,
                datacenter=identity.datacenter,
            ),
            meta=dict(identity.node_meta),
            meshnode={
                "Version": __version__,
                "ConfigDigest": agent.config_digest,
                "GossipKeyFingerprints": _fingerprints(agent.lan),
                "WanGossipKeyFingerprints": _fingerprints(agent.wan) if agent.wan is not None else [],
                "Certificates": own_certificates(agent),
            },
        )

    def _config(self) -> Mapping[str, Any]:
        # A reload makes another configuration; none is ever changed.
        if self._shown[0] is not self._agent.config:
            self._shown = (self._agent.config, public_config(self._agent.config))
        return self._shown[1]


def _fingerprints(pool: Pool) -> list[str]:
    keyring = pool.shell.serf.keyring
    return list(keyring.fingerprints) if keyring is not None else []


def own_certificates(agent: Agent) -> list[dict[str, Any]]:
    """The agent's own certificates, and what its listeners present."""
    own = agent.tls.own_certificate
    if own is None:
        return []
    return [
        {
            "File": agent.config.tls.cert_file,
            "Subject": own.subject,
            "Issuer": own.issuer,
            "Serial": own.serial,
            "NotAfter": own.not_after.isoformat(),
            "Served": {name: agent.tls.served_serial(name) for name in ("rpc", "https")},
        }
    ]


def public_config(config: AgentConfig) -> Mapping[str, Any]:
    """The effective configuration as plain data; a secret is shown as ``hidden``, a password in a URL as ``xxxxx``."""
    shown: dict[str, Any] = _plain(config)
    return shown


def _hidden(value: object) -> str | None:
    """What is shown of a secret: whether there is one."""
    return _HIDDEN if value else None


def _is_secret(name: str) -> bool:
    """Whether a definition of a service, check or watch, or a header of theirs, keeps a secret under ``name``."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name))
            if field.repr
            else _hidden(getattr(value, field.name))
            for field in fields(value)
        }
    if isinstance(value, Mapping):
        return {
            str(key): _hidden(item) if _is_secret(str(key)) else _plain(item) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        # The gossip key is the only one; nothing else in a configuration is bytes.
        return _HIDDEN
    if isinstance(value, str):
        return without_password(value) if "@" in value else value
    return str(value) if isinstance(value, Path) else value
