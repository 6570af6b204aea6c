"""What handlers may read at once: the agent as cheap synchronous values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

from meshnode.base.errors import ConfigError
from meshnode.base.metrics import Metrics
from meshnode.http.answer_cache import AnswerCache
from meshnode.http.effects import ReadServer
from meshnode.http.user_events import EventBuffer

__all__ = ["AgentSelf", "AgentView", "HttpSettings", "MemberInfo", "MemberStatus"]


class MemberStatus(IntEnum):
    """Serf's states, by the numbers that the API shows."""

    NONE = 0
    ALIVE = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One member of a gossip pool; ``protocol`` and ``delegate`` are (min, max, current)."""

    name: str
    addr: str
    port: int
    tags: Mapping[str, str]
    status: MemberStatus
    protocol: tuple[int, int, int]
    delegate: tuple[int, int, int]

    def as_json(self) -> dict[str, Any]:
        """The shape and the names of Consul's API."""
        return {
            "Name": self.name,
            "Addr": self.addr,
            "Port": self.port,
            "Tags": dict(self.tags),
            "Status": int(self.status),
            "ProtocolMin": self.protocol[0],
            "ProtocolMax": self.protocol[1],
            "ProtocolCur": self.protocol[2],
            "DelegateMin": self.delegate[0],
            "DelegateMax": self.delegate[1],
            "DelegateCur": self.delegate[2],
        }


@dataclass(frozen=True, slots=True)
class AgentSelf:
    """The parts of ``/v1/agent/self``, each ready for JSON. None of them holds a secret.

    ``config`` has Datacenter, NodeName, NodeID, Revision, Server, Version; ``coord`` has Vec, Error, Adjustment,
    Height, or is ``None`` when coordinates are off; ``stats`` maps a group to its values, all text; ``meshnode`` has
    Version, ConfigDigest, GossipKeyFingerprints, WanGossipKeyFingerprints (of a server) and Certificates.
    """

    config: Mapping[str, Any]
    debug_config: Mapping[str, Any]
    coord: Mapping[str, Any] | None
    member: MemberInfo
    stats: Mapping[str, Mapping[str, str]]
    meta: Mapping[str, str]
    meshnode: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Configuration of the API; a reload gives a new object.

    ``pretty`` is the default of ``?pretty`` (true with ``-dev``); ``prometheus_retention`` is in seconds, 0 is off;
    ``discovery_max_stale`` seconds that catalog and health reads may be old unasked;
    ``translate_wan_addrs`` shows nodes of other datacenters with their WAN addresses.
    """

    block_endpoints: tuple[str, ...] = ()
    response_headers: Mapping[str, str] = field(default_factory=dict)
    prometheus_retention: float = 0.0
    pretty: bool = False
    discovery_max_stale: float = 0.0
    translate_wan_addrs: bool = False

    def __post_init__(self) -> None:
        for name, value in self.response_headers.items():
            if not name or not name.isascii() or any(c <= " " or c in ':"(),/;<=>?@[\\]{}\x7f' for c in name):
                raise ConfigError(f"{name!r} is not a header name", key="http_config.response_headers")
            if not value.isprintable():
                raise ConfigError(
                    f"header {name} has a value with control characters: {value!r}",
                    key="http_config.response_headers",
                )


class AgentView(Protocol):
    """The agent as handlers see it; every read is a look at memory, never I/O."""

    @property
    def node_name(self) -> str:
        """This node's name."""

    @property
    def datacenter(self) -> str:
        """This node's datacenter."""

    @property
    def is_server(self) -> bool:
        """Whether this agent is a server."""

    @property
    def settings(self) -> HttpSettings:
        """The API's configuration; the same object until a reload."""

    @property
    def events(self) -> EventBuffer:
        """User events that this agent has seen."""

    @property
    def metrics(self) -> Metrics:
        """The agent's metrics."""

    @property
    def now(self) -> float:
        """Monotonic seconds, the clock that ``metrics`` is fed with."""

    @property
    def default_token(self) -> str:
        """The token of requests that bring none; empty: nobody's."""

    @property
    def answers(self) -> AnswerCache | None:
        """Rendered answers that memory can vouch for; ``None`` on a client."""

    def read_now(self, query: ReadServer) -> Mapping[str, Any] | None:
        """The reply to a read that memory can answer at once; raises what the effect would raise."""

    def utc_text(self, monotonic: float) -> str:
        """A moment of that clock as wall-clock time, as Go prints it: ``2018-08-08 04:55:10 +0000 UTC``."""

    def leader(self) -> str:
        """``10.0.0.1:8300``, or the empty string; only asked of a server."""

    def peers(self) -> Sequence[str]:
        """The servers as ``ip:port`` of their RPC; only asked of a server."""

    def members(self, *, wan: bool) -> Sequence[MemberInfo]:
        """The members of a pool by name. The *same object* until something changes: answers are cached by it."""

    def agent_self(self) -> AgentSelf:
        """What ``/v1/agent/self`` shows."""
