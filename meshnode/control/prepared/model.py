"""Prepared queries as frozen values, with the fields of Consul's ``structs.PreparedQuery``.

Source: Consul 1.2.3, API documentation of ``/v1/query``; ``ServiceMeta`` is of later versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "NAME_PREFIX_MATCH",
    "NEAR_AGENT",
    "NEAR_IP",
    "DnsOptions",
    "Failover",
    "PreparedQuery",
    "ServiceQuery",
    "Template",
]

#: The only type of template.
NAME_PREFIX_MATCH: Final = "name_prefix_match"
#: ``near``: the node of the agent that was asked.
NEAR_AGENT: Final = "_agent"
#: ``near``: the node with the address of the caller.
NEAR_IP: Final = "_ip"


@dataclass(frozen=True, slots=True)
class Template:
    """With a ``type``, the query answers to every name that starts with its own; see ``template``."""

    type: str = ""
    regexp: str = ""
    remove_empty_tags: bool = False


@dataclass(frozen=True, slots=True)
class Failover:
    """Who is asked when there is no instance here: the ``nearest_n`` datacenters, then ``datacenters`` in order."""

    nearest_n: int = 0
    datacenters: tuple[str, ...] = ()


_NO_FAILOVER: Final = Failover()
_NO_TEMPLATE: Final = Template()


@dataclass(frozen=True, slots=True)
class ServiceQuery:
    """Which instances. A tag that starts with ``!`` must not be there; metadata must have all pairs."""

    service: str
    failover: Failover = _NO_FAILOVER
    only_passing: bool = False
    ignore_check_ids: tuple[str, ...] = ()
    near: str = ""
    tags: tuple[str, ...] = ()
    node_meta: Mapping[str, str] = field(default_factory=dict)
    service_meta: Mapping[str, str] = field(default_factory=dict)
    connect: bool = False


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """``ttl`` is a duration as it was written (``"10s"``); empty: that of the configuration."""

    ttl: str = ""


_NO_DNS: Final = DnsOptions()


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """``session``: the query is deleted with it. ``token`` is what an execution may see with, secret."""

    id: str
    service: ServiceQuery
    name: str = ""
    session: str = ""
    token: str = field(default="", repr=False)
    template: Template = _NO_TEMPLATE
    dns: DnsOptions = _NO_DNS
    create_index: int = 0
    modify_index: int = 0

    @property
    def is_template(self) -> bool:
        """Whether it answers to more than its own name."""
        return bool(self.template.type)

    @property
    def acl_name(self) -> str | None:
        """What ``query`` rules are asked about; ``None``: no rule is, whoever knows the id may use it."""
        return self.name if self.name or self.is_template else None
