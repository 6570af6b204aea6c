"""States of a proxy and requests of an Envoy, for tests of xDS."""

from __future__ import annotations

from typing import Any

from meshnode.config_entries.chain import Chain
from meshnode.intentions.decide import DefaultDecision
from meshnode.intentions.model import Intention
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener, Upstream
from meshnode.xds.schema import message
from meshnode.xds.state import ProxyState

__all__ = ["DOMAIN", "Client", "instance", "public", "state", "upstream"]

DOMAIN = "11111111-2222-3333-4444-555555555555.consul"


def public(**settings: Any) -> PublicListener:
    return PublicListener(Endpoint("127.0.0.1", 21000), Endpoint("127.0.0.1", 8080), **settings)


def upstream(name: str = "db", port: int = 9191, **settings: Any) -> Upstream:
    return Upstream(Endpoint("127.0.0.1", port), name, **settings)


def instance(port: int = 21001, name: str = "db", *, passing: bool = True) -> Instance:
    return Instance("127.0.0.1", port, f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/{name}", passing=passing)


def state(
    *upstreams: Upstream,
    listener: PublicListener | None = None,
    intentions: tuple[Intention, ...] = (),
    instances: dict[str, tuple[Instance, ...]] | None = None,
    certificate: str = "CERTIFICATE 1",
    chains: dict[str, Chain] | None = None,
) -> ProxyState:
    return ProxyState(
        proxy_id="web-sidecar-proxy",
        config=ProxyConfig("web", listener or public(), upstreams),
        trust_domain=DOMAIN,
        datacenter="dc1",
        certificate_pem=certificate,
        key_pem="s3cret",
        roots_pem="ROOTS",
        intentions=intentions,
        default=DefaultDecision(True, ""),
        instances=instances or {},
        chains=chains or {},
    )


class Client:
    """What Envoy sends: requests with the nonce of the last response of their type."""

    def __init__(self, *, delta: bool) -> None:
        self.delta = delta
        self.nonces: dict[str, str] = {}

    def asks(self, url: str, *names: str, initial: dict[str, str] | None = None) -> Any:
        if self.delta:
            return message("service.discovery.v3.DeltaDiscoveryRequest")(
                type_url=url,
                node={"id": "web-sidecar-proxy"},
                resource_names_subscribe=names,
                initial_resource_versions=initial or {},
            )
        return message("service.discovery.v3.DiscoveryRequest")(
            type_url=url,
            node={"id": "web-sidecar-proxy"},
            resource_names=names,
            response_nonce=self.nonces.get(url, ""),
        )

    def answers(self, response: Any, *names: str, error: str = "") -> Any:
        """An ACK, or a NACK with ``error``; in the older protocol it repeats ``names``."""
        self.nonces[response.type_url] = response.nonce
        kind = "DeltaDiscoveryRequest" if self.delta else "DiscoveryRequest"
        more: dict[str, Any] = {} if self.delta else {"resource_names": names}
        if error:
            more["error_detail"] = {"code": 13, "message": error}
        return message(f"service.discovery.v3.{kind}")(
            type_url=response.type_url, response_nonce=response.nonce, **more
        )
