"""``connect envoy -gateway`` against an agent that says what the tests want."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

FRONT = {"ID": "front", "Service": "front", "Kind": "ingress-gateway", "Address": "127.0.0.1", "Port": 9000}


@pytest.fixture
def known(agent: StubAgent) -> StubAgent:
    agent.answer("GET /v1/agent/service/front", FRONT)
    agent.answer("GET /v1/agent/self", {"DebugConfig": {"ports": {"grpc": 8502, "grpc_tls": -1}}})
    agent.answer("PUT /v1/agent/service/register", None)
    agent.answer(
        "GET /v1/config/proxy-defaults", [{"Config": {"envoy_prometheus_bind_addr": "0.0.0.0:9102"}}]
    )
    return agent


def test_a_gateway_is_registered_with_a_check_and_shows_that_it_is_ready(known: StubAgent, run: Any) -> None:
    done = run("connect", "envoy", "-gateway=ingress", "-register", "-service=front", "-address=127.0.0.1:9000",
               "-deregister-after-critical=1h", "-bootstrap")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    body = next(json.loads(call.body) for call in known.asked if call.path == "/v1/agent/service/register")
    assert body == {
        "Kind": "ingress-gateway", "ID": "front", "Name": "front", "Address": "127.0.0.1", "Port": 9000,
        "Check": {
            "CheckID": "front-listener", "Name": "ingress-gateway listener", "TCP": "127.0.0.1:9000",
            "Interval": "10s", "DeregisterCriticalServiceAfter": "1h0m0s",
        },
    }  # fmt: skip
    document = json.loads(done.out)
    assert document["node"] == {"id": "front", "cluster": "front"}
    assert [each["name"] for each in document["static_resources"]["listeners"]] == [
        "ready",
        "envoy_prometheus_bind_addr",
    ]


def test_one_that_is_registered_is_taken_as_it_is(known: StubAgent, run: Any) -> None:
    assert run("connect", "envoy", "-gateway=ingress", "-proxy-id=front", "-bootstrap").code == 0
    assert not any(call.method == "PUT" for call in known.asked)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("-gateway=mesh",),
            "-gateway=mesh is not supported: sidecars reach other datacenters directly here",
        ),
        (("-gateway=api",), "-gateway=api is not supported: it is of Consul 1.15: use -gateway=ingress"),
        (("-gateway=x",), "-gateway=x is none: write ingress or terminating"),
        (("-register",), "-register is for gateways: write -gateway=ingress or -gateway=terminating"),
        (("-service=x", "-sidecar-for=web"), "-service is for gateways"),
        (("-gateway=ingress", "-sidecar-for=web"), "-sidecar-for and -gateway can't be together"),
        (
            ("-gateway=ingress", "-address=front:80"),
            "-address: 'front:80' can't be used: write an IP address",
        ),
        (("-gateway=ingress", "-address=127.0.0.1:0"), "-address: '127.0.0.1:0' can't be used"),
        (
            ("-gateway=terminating", "-service=front"),
            "front is of the kind 'ingress-gateway', not terminating-gateway: register it as one",
        ),
    ],
)
def test_what_can_t_be_is_said(known: StubAgent, run: Any, arguments: tuple[str, ...], words: str) -> None:
    done = run("connect", "envoy", *arguments)
    assert done.code == 1
    assert words in done.err


def test_raw_configuration_is_refused_before_envoy_starts(known: StubAgent, run: Any) -> None:
    known.answer("GET /v1/config/proxy-defaults", [{"Config": {"envoy_tracing_json": "{}"}}])
    done = run("connect", "envoy", "-gateway=ingress", "-service=front", "-bootstrap")
    assert done.code == 1
    assert "proxy-defaults/global: Config.envoy_tracing_json is not supported" in done.err
