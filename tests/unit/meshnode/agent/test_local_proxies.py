"""Proxies that come with services while the agent runs: registered, kept, reloaded, gone."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.local_proxies import is_port_free
from meshnode.agent.local_services import InvalidDefinitionError, LocalPolicy
from meshnode.base.errors import MeshError
from meshnode.catalog.model import PASSING
from meshnode.local.definitions import ScriptPolicy, ServiceDefinition
from meshnode.local.parse import parse_service
from meshnode.local.proxy_plan import PortRange, ProxyRules
from tests.support.local_agent import LocalAgent

MANAGED = LocalPolicy(allow_managed_proxies=True)


def service(name: str = "web", *, sidecar: Any = None, managed: Any = None, **more: Any) -> ServiceDefinition:
    connect = {"SidecarService": sidecar, "Proxy": managed}
    return parse_service({"Name": name, "Port": 80, **more, "Connect": connect})


def ports(agent: LocalAgent) -> dict[str, int]:
    return {one.id: one.port for one in agent.state.services()}


def checks(agent: LocalAgent) -> list[str]:
    return [check.check_id for check in agent.state.checks()]


def test_a_sidecar_comes_and_goes_with_its_service_and_its_checks_run() -> None:
    agent = LocalAgent()
    agent.services.register_service(service(sidecar={}))
    assert ports(agent) == {"web": 80, "web-sidecar-proxy": 21000}
    assert sorted(agent.runners.running) == ["service:web-sidecar-proxy:1", "service:web-sidecar-proxy:2"]
    agent.services.deregister_service("WEB")
    assert (ports(agent), agent.runners.running) == ({}, {})


def test_a_proxy_that_has_begun_to_listen_is_looked_at_at_once_and_others_are_not() -> None:
    agent = LocalAgent()
    agent.services.register_service(service(sidecar={}))
    agent.services.register_service(service("db", sidecar={}))
    agent.runners.started.clear()
    agent.services.look_again("WEB-sidecar-proxy")
    agent.services.look_again("nobody")
    assert agent.runners.started == ["service:web-sidecar-proxy:1 at once"]


def test_registering_a_service_without_its_sidecar_removes_the_sidecar() -> None:
    agent = LocalAgent(policy=MANAGED)
    agent.services.register_service(service(sidecar={}, managed={}))
    assert list(ports(agent)) == ["web", "web-proxy", "web-sidecar-proxy"]
    agent.services.register_service(service(managed={}))
    assert list(ports(agent)) == ["web", "web-proxy"]
    agent.services.register_service(service())
    assert list(ports(agent)) == ["web"]


def test_a_sidecar_may_be_deregistered_alone_and_is_back_with_the_next_registration() -> None:
    agent = LocalAgent()
    agent.services.register_service(service(sidecar={}))
    agent.services.deregister_service("web-sidecar-proxy")
    assert list(ports(agent)) == ["web"]
    agent.services.register_service(service(sidecar={}))
    assert list(ports(agent)) == ["web", "web-sidecar-proxy"]


def test_registering_again_keeps_the_port_and_what_the_checks_have_found() -> None:
    agent = LocalAgent()
    agent.services.register_service(service("a", sidecar={}))
    agent.services.register_service(service(sidecar={}))
    agent.runners.find("service:web-sidecar-proxy:1", PASSING)
    agent.services.deregister_service("a")
    agent.services.register_service(service(sidecar={}, Tags=["new"]))
    assert ports(agent)["web-sidecar-proxy"] == 21001
    assert agent.status("service:web-sidecar-proxy:1") == PASSING


def test_sidecars_of_the_api_outlive_the_agent_on_their_port(tmp_path: Path) -> None:
    first = LocalAgent(tmp_path)
    first.services.register_service(service("a", sidecar={}))
    first.services.register_service(service(sidecar={}, Token="t"))
    first.services.deregister_service("a")
    second = LocalAgent(tmp_path)
    second.services.load([], [])
    assert ports(second) == {"web": 80, "web-sidecar-proxy": 21001}
    assert checks(second) == ["service:web-sidecar-proxy:1", "service:web-sidecar-proxy:2"]
    entry = second.state.service("web-sidecar-proxy")
    assert entry is not None
    assert (entry.definition.parent, entry.token) == ("web", "t")
    second.services.deregister_service("web")
    third = LocalAgent(tmp_path)
    third.services.load([], [])
    assert ports(third) == {}


def test_the_record_of_a_sidecar_is_marked_as_consul_marks_it(tmp_path: Path) -> None:
    LocalAgent(tmp_path).services.register_service(service(sidecar={}))
    records = [json.loads(path.read_text())["Service"] for path in (tmp_path / "services").iterdir()]
    marked = {record["ID"]: record.get("LocallyRegisteredAsSidecar", False) for record in records}
    assert marked == {"web": False, "web-sidecar-proxy": True}


def test_configured_proxies_keep_their_ports_over_a_restart_whatever_comes_before_them(
    tmp_path: Path,
) -> None:
    first = LocalAgent(tmp_path)
    first.services.load([service("z", sidecar={}), service("m", managed={})], [])
    second = LocalAgent(tmp_path)
    second.services.load([service("a", sidecar={}), service("z", sidecar={}), service("m", managed={})], [])
    assert ports(second) == {
        "a": 80, "a-sidecar-proxy": 21001, "m": 80, "m-proxy": 20000, "z": 80, "z-sidecar-proxy": 21000,
    }  # fmt: skip
    saved = tmp_path / "proxy" / "ports.json"
    assert saved.stat().st_mode & 0o777 == 0o600
    saved.write_text("{")
    third = LocalAgent(tmp_path)
    third.services.load([service("a", sidecar={}), service("z", sidecar={})], [])
    assert ports(third)["z-sidecar-proxy"] == 21001


def test_ports_that_can_not_be_kept_are_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "proxy").write_text("in the way")
    agent = LocalAgent(tmp_path)
    with caplog.at_level(logging.WARNING):
        agent.services.load([service(sidecar={})], [])
    assert "proxies may get other ports after a restart" in caplog.text
    assert ports(agent)["web-sidecar-proxy"] == 21000


def test_a_reload_touches_only_what_changed() -> None:
    agent = LocalAgent()
    agent.services.load([service("a", sidecar={}), service("b", managed={})], [])
    agent.runners.started.clear()
    generation = agent.state.generation
    agent.services.reload([service("a", sidecar={}), service("b", managed={})], [])
    assert (agent.runners.started, agent.state.generation) == ([], generation)
    agent.services.reload([service("a", sidecar={"Tags": ["x"]}), service("b", managed={})], [])
    assert agent.runners.started == []
    assert [one.tags for one in agent.state.services()] == [(), ("x",), (), ()]
    agent.services.reload([service("a", sidecar={"Port": 5}), service("b", managed={})], [])
    assert agent.runners.started == ["service:a-sidecar-proxy:1"]
    agent.services.reload([service("a"), service("b")], [])
    assert (list(ports(agent)), checks(agent)) == (["a", "b"], [])


def test_a_port_that_a_reload_sets_free_may_be_taken_in_the_same_reload() -> None:
    agent = LocalAgent(policy=LocalPolicy(proxies=ProxyRules(PortRange(21000, 21000))))
    agent.services.load([service("old", sidecar={})], [])
    agent.services.reload([service("new", sidecar={})], [])
    assert ports(agent) == {"new": 80, "new-sidecar-proxy": 21000}


def test_a_reload_that_leaves_no_port_changes_nothing_and_is_known_before() -> None:
    agent = LocalAgent(policy=LocalPolicy(proxies=ProxyRules(PortRange(21000, 21000))))
    agent.services.load([service("a", sidecar={})], [])
    wanted = [service("a", sidecar={}), service("b", sidecar={})]
    for attempt in (agent.services.check, agent.services.reload):
        with pytest.raises(MeshError, match="none left in the configured range"):
            attempt(wanted, [])
    assert ports(agent) == {"a": 80, "a-sidecar-proxy": 21000}


def test_a_managed_proxy_is_the_services_own_and_not_saved(tmp_path: Path) -> None:
    first = LocalAgent(tmp_path, MANAGED)
    first.services.register_service(service(managed={"Config": {"bind_port": 7}}))
    assert ports(first) == {"web": 80, "web-proxy": 7}
    assert len(list((tmp_path / "services").iterdir())) == 1
    with pytest.raises(InvalidDefinitionError, match="cannot be deregistered directly"):
        first.services.deregister_service("web-proxy")
    second = LocalAgent(tmp_path, MANAGED)
    second.services.load([], [])
    assert ports(second) == {"web": 80, "web-proxy": 7}
    assert checks(second) == ["service:web-proxy"]


def test_a_saved_managed_proxy_is_dropped_where_the_api_may_have_none_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    LocalAgent(tmp_path, MANAGED).services.register_service(service(managed={}))
    agent = LocalAgent(tmp_path)
    agent.services.load([], [])
    assert ports(agent) == {"web": 80}
    assert "connect.proxy.allow_managed_api_registration" in caplog.text


def test_configuration_may_have_managed_proxies_where_the_api_may_not() -> None:
    agent = LocalAgent()
    with pytest.raises(InvalidDefinitionError, match="disallowed"):
        agent.services.register_service(service(managed={}))
    agent.services.load([service(managed={})], [])
    assert ports(agent) == {"web": 80, "web-proxy": 20000}


def test_a_managed_proxy_loses_its_check_when_that_is_switched_off() -> None:
    agent = LocalAgent(policy=MANAGED)
    agent.services.register_service(service(managed={}))
    assert checks(agent) == ["service:web-proxy"]
    agent.services.register_service(service(managed={"Config": {"disable_tcp_check": True}}))
    assert checks(agent) == []


def test_what_a_sidecar_may_not_be_changes_nothing(tmp_path: Path) -> None:
    agent = LocalAgent(tmp_path)
    agent.services.register_service(service("web-sidecar-proxy"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        InvalidDefinitionError, match='would be called "web-sidecar-proxy", which is another service'
    ):
        agent.services.register_service(service(sidecar={}))
    with pytest.raises(InvalidDefinitionError, match="db-sidecar-proxy: Invalid service kind"):
        agent.services.register_service(service("db", sidecar={"Kind": "gateway"}))
    with pytest.raises(MeshError, match="Scripts are disabled on this agent from remote calls"):
        agent.services.register_service(service("db", sidecar={"Check": {"Args": ["x"], "Interval": "1s"}}))
    assert (list(ports(agent)), sorted(tmp_path.rglob("*"))) == (["web-sidecar-proxy"], before)


def test_scripts_of_a_configured_sidecar_run_where_they_may() -> None:
    wanted = [service(sidecar={"Check": {"Args": ["x"], "Interval": "1s"}})]
    with pytest.raises(MeshError, match="Scripts are disabled on this agent; to enable"):
        LocalAgent().services.load(wanted, [])
    agent = LocalAgent(policy=LocalPolicy(ScriptPolicy(enabled_locally=True)))
    agent.services.load(wanted, [])
    assert list(agent.runners.running) == ["service:web-sidecar-proxy"]


def test_a_saved_sidecar_is_dropped_when_its_service_is_configured_without_one(tmp_path: Path) -> None:
    LocalAgent(tmp_path).services.register_service(service(sidecar={}))
    agent = LocalAgent(tmp_path)
    agent.services.load([service()], [])
    assert (list(ports(agent)), checks(agent)) == (["web"], [])
    again = LocalAgent(tmp_path)
    again.services.load([], [])
    assert ports(again) == {}


def test_a_service_registered_under_the_id_of_a_sidecar_is_nobodys_sidecar_any_more() -> None:
    agent = LocalAgent()
    agent.services.register_service(service(sidecar={}))
    agent.services.register_service(replace(service("web-sidecar-proxy"), port=5))
    agent.services.deregister_service("web")
    assert ports(agent) == {"web-sidecar-proxy": 5}


def test_a_port_is_free_when_nobody_listens_on_it() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert not is_port_free(port)
    assert is_port_free(port)


def test_proxies_are_in_the_catalog_as_they_are_here_and_go_with_their_service() -> None:
    agent = LocalAgent(policy=MANAGED)
    upstream = {"DestinationName": "db", "LocalBindPort": 9191, "Config": {"a": 1}}
    config = {"bind_port": 7, "upstreams": [{"destination_name": "db", "local_bind_port": 1}]}
    agent.services.register_service(
        service(
            sidecar={"Proxy": {"Upstreams": [upstream]}},
            managed={"Config": config, "Command": ["x"]},
            Tags=["t"],
        )
    )
    due = asyncio.run(agent.sync.turn())
    assert agent.server.services().keys() >= {"web", "web-proxy", "web-sidecar-proxy"}
    agent.server.calls.clear()
    agent.now = due
    asyncio.run(agent.sync.turn())
    assert agent.server.methods() == ["Catalog.NodeServices", "Health.NodeChecks"], "nothing differs"
    agent.services.deregister_service("web")
    asyncio.run(agent.sync.turn())
    assert [name for name in agent.server.services() if name.startswith("web")] == []
