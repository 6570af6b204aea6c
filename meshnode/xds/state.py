"""Everything that one proxy's configuration is made of, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshnode.intentions.decide import DefaultDecision
from meshnode.intentions.model import Intention
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import ProxyConfig

__all__ = ["ProxyState"]


@dataclass(frozen=True, slots=True)
class ProxyState:
    """``identity`` is the SPIFFE ID in ``certificate_pem``; ``roots_pem`` holds every root that is trusted.

    ``intentions`` are those about the proxy's service as destination, ``default`` holds where none of them fits.
    ``instances``: by the name of an upstream (:attr:`~meshnode.proxy.config.Upstream.name`), failing ones too.
    """

    proxy_id: str
    config: ProxyConfig
    trust_domain: str
    datacenter: str
    certificate_pem: str
    key_pem: str = field(repr=False)
    roots_pem: str
    intentions: tuple[Intention, ...]
    default: DefaultDecision
    instances: Mapping[str, tuple[Instance, ...]] = field(default_factory=dict)
