from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any, cast

import pytest

from meshnode.agent.xds_feed import ProxyFeed
from meshnode.agent.xds_role import XdsRole
from meshnode.agent.xds_sources import Question, Sources
from meshnode.base.address import Address
from meshnode.base.errors import ConfigError, MeshError
from meshnode.runtime.tls import TlsContexts, TlsSettings
from meshnode.watch.machine import Answer, Ask
from meshnode.xds.schema import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, unpacked
from meshnode.xds.session import Session
from tests.support.asynchronous import asynchronous
from tests.support.config_entries import http
from tests.support.waiting import until
from tests.support.xds import DOMAIN
from tests.support.xds_api import Api, chain, row


def service(**proxy: Any) -> dict[str, Any]:
    own = {"DestinationServiceName": "web", "LocalServicePort": 8080, **proxy}
    return {"ID": "web-sidecar-proxy", "Kind": "connect-proxy", "Port": 21000, "Proxy": own}


def known() -> Api:
    api = Api()
    api.set("/v1/agent/service/web-sidecar-proxy", service())
    leaf = {
        "CertPEM": "CERTIFICATE",
        "PrivateKeyPEM": "s3cret",
        "ServiceURI": f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web",
    }
    api.set("/v1/agent/connect/ca/leaf/web", leaf)
    api.set("/v1/agent/connect/ca/roots", {"TrustDomain": DOMAIN, "Roots": [{"RootCert": "ROOT"}]})
    api.set("/v1/connect/intentions/match", {"web": []})
    api.set("/v1/connect/intentions/explain", {"Default": {"Allowed": True, "Reason": "ACLs disabled"}})
    api.set("/v1/discovery-chain/web", chain("web"))
    api.set("/v1/config/proxy-defaults", [])
    api.set("/v1/config/service-defaults", [])
    return api


async def ready(feed: ProxyFeed) -> None:
    await until(lambda: feed.snapshot, "a snapshot", interval=0.001)


@asynchronous
async def test_a_proxy_is_compiled_once_everything_is_known_and_again_at_each_change() -> None:
    api = known()
    sources = Sources(api)
    feed = ProxyFeed(sources, "web-sidecar-proxy", "token")
    await ready(feed)
    first = feed.snapshot
    assert first is not None
    assert list(first[SECRET]) == ["leaf", "roots"]
    calls: list[int] = []
    feed.listeners.add(lambda: calls.append(1))
    intention = {"ID": "1", "SourceName": "api", "DestinationName": "web", "Action": "deny"}
    api.set("/v1/connect/intentions/match", {"web": [intention]})
    await until(lambda: calls, "the change is told", interval=0.001)
    assert feed.snapshot is not None
    assert feed.snapshot[LISTENER] != first[LISTENER]
    assert feed.snapshot[CLUSTER] == first[CLUSTER]
    assert {token for _, token in api.asked} == {"token"}
    feed.close()
    assert len(sources) == 0


@asynchronous
async def test_an_upstream_that_comes_is_followed_and_one_that_goes_is_not() -> None:
    api = known()
    sources = Sources(api)
    feed = ProxyFeed(sources, "web-sidecar-proxy", "")
    await ready(feed)
    before = len(sources)
    api.set("/v1/discovery-chain/db", chain("db"))
    api.set("/v1/health/connect/db", [row(21001), row(21002, "critical")])
    upstream = {"DestinationName": "db", "LocalBindPort": 9191}
    api.set("/v1/agent/service/web-sidecar-proxy", service(Upstreams=[upstream]))
    await until(lambda: feed.snapshot and feed.snapshot[ENDPOINTS], "endpoints", interval=0.001)
    assert len(sources) == before + 2
    api.set("/v1/agent/service/web-sidecar-proxy", service())
    await until(lambda: feed.snapshot and not feed.snapshot[ENDPOINTS], "none", interval=0.001)
    assert len(sources) == before
    feed.close()


UPSTREAM = {"DestinationName": "db", "LocalBindPort": 9191}
RESOLVER = """
kind = "service-resolver"
name = "db"
default_subset = "v1"
subsets = {
  v1 = { filter = "Service.Meta.version == v1" }
  v2 = { filter = "Service.Meta.version == v2", only_passing = true }
}
failover = { v1 = { service = "spare" , datacenters = ["dc2"] } }
"""


@asynchronous
async def test_what_a_chain_leads_to_is_asked_for_by_subset_and_datacenter() -> None:
    api = known()
    api.set("/v1/agent/service/web-sidecar-proxy", service(Upstreams=[UPSTREAM]))
    api.set("/v1/discovery-chain/db", chain("db", RESOLVER))
    api.set("/v1/health/connect/db", [row(21001, "warning"), row(21002, "critical")])
    feed = ProxyFeed(Sources(api), "web-sidecar-proxy", "")
    # Nobody answers about spare in dc2: that must hold nobody up.
    await ready(feed)
    assert feed.snapshot is not None
    (found,) = [unpacked(each.body) for each in feed.snapshot[ENDPOINTS].values()]
    assert found.cluster_name == "v1.db.default.dc1"
    rows = [row for group in found.endpoints for row in group.lb_endpoints]
    assert [row.health_status for row in rows] == [1, 2], "a warning is no failure"
    assert ("filter", "Service.Meta.version == v1") in api.queries["/v1/health/connect/db"]
    assert ("dc", "dc2") in api.queries["/v1/health/connect/spare"]
    feed.close()


@asynchronous
async def test_an_upstream_that_the_token_may_not_read_is_an_upstream_without_instances() -> None:
    api = known()
    api.set("/v1/agent/service/web-sidecar-proxy", service(Upstreams=[UPSTREAM]))
    api.set("/v1/discovery-chain/db", "Permission denied", 403)
    api.set("/v1/health/connect/db", [])
    feed = ProxyFeed(Sources(api), "web-sidecar-proxy", "")
    await ready(feed)
    assert feed.refusal is None
    feed.close()


@pytest.mark.parametrize(("config", "url"), [({}, ROUTES), ({"protocol": "tcp"}, LISTENER)])
@asynchronous
async def test_what_a_service_speaks_is_in_its_defaults_unless_its_proxy_says_it(
    config: dict[str, Any], url: str
) -> None:
    api = known()
    api.set("/v1/agent/service/web-sidecar-proxy", service(Config=config))
    api.set("/v1/discovery-chain/web", chain("web", *http("web")))
    feed = ProxyFeed(Sources(api), "web-sidecar-proxy", "")
    await ready(feed)
    assert feed.snapshot is not None
    assert bool(feed.snapshot[ROUTES]) == (url == ROUTES)
    feed.close()


@asynchronous
async def test_raw_configuration_of_envoy_is_refused_by_name() -> None:
    api = known()
    api.set("/v1/agent/service/web-sidecar-proxy", service(Config={"envoy_public_listener_json": "{}"}))
    feed = ProxyFeed(Sources(api), "web-sidecar-proxy", "")
    await until(lambda: feed.problem, "the problem", interval=0.001)
    assert feed.problem.startswith(
        "Proxy.Config.envoy_public_listener_json is not supported: raw configuration"
    )
    feed.close()


@asynchronous
async def test_two_proxies_with_one_token_ask_what_they_share_once() -> None:
    api = known()
    other = service(DestinationServiceName="web")
    api.set("/v1/agent/service/web-2", {**other, "ID": "web-2"})
    sources = Sources(api)
    feeds = [ProxyFeed(sources, name, "token") for name in ("web-sidecar-proxy", "web-2")]
    for feed in feeds:
        await ready(feed)
    assert len(sources) == 9
    feeds[0].close()
    assert len(sources) == 8
    feeds[1].close()
    assert len(sources) == 0


@asynchronous
async def test_a_token_that_is_refused_ends_the_feed_and_says_where() -> None:
    api = known()
    api.set("/v1/agent/connect/ca/leaf/web", "Permission denied", 403)
    feed = ProxyFeed(Sources(api), "web-sidecar-proxy", "weak")
    await until(lambda: feed.refusal, "the refusal", interval=0.001)
    assert str(feed.refusal) == "/v1/agent/connect/ca/leaf/web: Permission denied"
    assert feed.snapshot is None
    feed.close()


@asynchronous
async def test_a_proxy_that_the_agent_does_not_have_is_named() -> None:
    feed = ProxyFeed(Sources(Api()), "web-sidecar-proxy", "")
    await until(lambda: feed.refusal, "the refusal", interval=0.001)
    assert str(feed.refusal).startswith("this agent has no proxy web-sidecar-proxy: register it")
    feed.close()


@asynchronous
async def test_a_registration_that_can_t_be_used_leaves_envoy_what_it_has() -> None:
    api = known()
    feed = ProxyFeed(Sources(api), "web-sidecar-proxy", "")
    await ready(feed)
    before = feed.snapshot
    api.set("/v1/agent/service/web-sidecar-proxy", service(Upstreams=[{"DestinationName": "db"}]))
    await until(lambda: feed.problem, "the problem", interval=0.001)
    assert "upstream db has no local_bind_port" in feed.problem
    assert feed.snapshot is before
    feed.close()


@asynchronous
async def test_a_question_is_asked_again_after_a_failure() -> None:
    class Away(Api):
        async def ask(self, question: Ask, token: str) -> Answer:
            if not self.asked:
                self.asked.append((question.path, token))
                raise MeshError("No cluster leader")
            return await super().ask(question, token)

    api = Away()
    api.set("/v1/agent/connect/ca/roots", {"Roots": []})
    sources, told = Sources(api), asyncio.Event()
    question = Question("/v1/agent/connect/ca/roots")
    source = sources.hold(question, told.set)
    await until(lambda: source.known, "the answer", interval=0.001)
    assert source.error is None
    sources.release(question, told.set)


@asynchronous
async def test_an_answer_that_never_waits_keeps_nobody_busy() -> None:
    class Hasty(Api):
        async def ask(self, question: Ask, token: str) -> Answer:
            self.asked.append((question.path, token))
            return Answer(200, "7", "", b"[]")

    api = Hasty()
    sources, told = Sources(api), asyncio.Event()
    questions = [Question("/v1/health/connect/db"), Question("/v1/query/geo/execute", blocks=False)]
    for question in questions:
        sources.hold(question, told.set)
    # Four turns of the first question are four pauses; the second isn't asked again meanwhile.
    await until(lambda: len(api.asked) >= 5, "more questions", interval=0.001)
    assert [path for path, _ in api.asked].count("/v1/query/geo/execute") == 1
    for question in questions:
        sources.release(question, told.set)


def test_a_question_does_not_show_its_token() -> None:
    assert "s3cret" not in repr(Question("/v1/x", (), "s3cret"))


@dataclass
class Config:
    """What the role reads of a configuration."""

    grpc_listeners: tuple[tuple[Address, bool], ...]
    dev: bool


def role(api: Api, heard: list[str]) -> XdsRole:
    return XdsRole(api, TlsContexts(TlsSettings()), heard.append)


@asynchronous
async def test_a_port_that_is_taken_is_an_error_but_in_dev_where_nobody_asked_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ConfigError, match=r"ports\.grpc: can't listen on"):
            role(Api(), []).start(cast(Any, Config(((where, False),), dev=False)))
        role(Api(), []).start(cast(Any, Config(((where, False),), dev=True)))
    assert "Envoy is not served: ports.grpc: can't listen on" in caplog.text


@asynchronous
async def test_streams_of_one_proxy_share_a_feed_and_each_is_shown() -> None:
    heard: list[str] = []
    one = role(known(), heard)
    streams = [
        one.open("web-sidecar-proxy", "t", Session(delta=delta), lambda: None) for delta in (True, False)
    ]
    assert streams[0].feed is streams[1].feed
    await until(lambda: streams[0].snapshot, "a snapshot", interval=0.001)
    assert [(row["Service"], row["Protocol"]) for row in one.status()] == [
        ("web", "delta"),
        ("web", "state of the world"),
    ]
    streams[0].applied()
    streams[0].applied()
    await until(lambda: heard, "somebody is told", interval=0.001)
    streams[0].applied()
    assert heard == ["web-sidecar-proxy"]
    streams[0].close()
    streams[0].close()
    assert len(one.status()) == 1
    await one.stop()
    assert one.status() == []


@asynchronous
async def test_the_defaults_of_a_service_are_its_sidecar_s_bounds() -> None:
    api = known()
    api.set("/v1/agent/service/web-sidecar-proxy", service(Upstreams=[UPSTREAM]))
    api.set("/v1/discovery-chain/db", chain("db"))
    api.set("/v1/discovery-chain/web", chain("web", *http("web")))
    api.set("/v1/health/connect/db", [])
    entry = {
        "Kind": "service-defaults",
        "Name": "WEB",
        "Protocol": "http",
        "MaxInboundConnections": 7,
        "LocalConnectTimeoutMs": 2500,
        "LocalRequestTimeoutMs": 9000,
        "UpstreamConfig": {
            "Defaults": {"ConnectTimeoutMs": 3000, "Limits": {"MaxConnections": 3}},
            "Overrides": [{"Name": "DB", "PassiveHealthCheck": {"Interval": "8s", "MaxFailures": 2}}],
        },
    }
    api.set("/v1/config/service-defaults", [entry])
    feed = ProxyFeed(Sources(api), "web-sidecar-proxy", "")
    await ready(feed)
    assert feed.snapshot is not None
    clusters = {name: unpacked(each.body) for name, each in feed.snapshot[CLUSTER].items()}
    own, to = clusters["local_app"], clusters["db.default.dc1:127.0.0.1:9191"]
    assert (own.connect_timeout.seconds, own.connect_timeout.nanos) == (2, 500_000_000)
    assert own.circuit_breakers.thresholds[0].max_connections.value == 7
    assert to.connect_timeout.seconds == 3
    bounds = to.circuit_breakers.thresholds[0]
    assert (bounds.max_connections.value, bounds.max_requests.value) == (3, 16_384)
    assert (to.outlier_detection.interval.seconds, to.outlier_detection.consecutive_5xx.value) == (8, 2)
    (routes,) = [unpacked(each.body) for each in feed.snapshot[ROUTES].values()]
    assert routes.virtual_hosts[0].routes[0].route.timeout.seconds == 9
    entry["UpstreamConfig"] = {"Defaults": {"EnvoyClusterJSON": "{}"}}
    api.set("/v1/config/service-defaults", [entry])
    await until(lambda: feed.problem, "the problem", interval=0.001)
    assert feed.problem.startswith(
        "service-defaults/web: UpstreamConfig.EnvoyClusterJSON is not supported: raw"
    )
    feed.close()
