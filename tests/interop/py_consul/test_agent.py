"""py-consul: the agent, its services and its checks."""

from __future__ import annotations

import contextlib

import consul
import pytest
from consul.exceptions import BadRequest, ClientError, ConsulException

from meshnode.testing import Mesh
from tests.support.py_consul import client_of, eventually

# The agent


def test_an_agent_describes_itself_and_its_members(client: consul.Consul, cluster: Mesh) -> None:
    itself = client.agent.self()
    assert itself["Config"]["NodeName"] == "client1"
    assert itself["Config"]["Server"] is False
    assert itself["Member"]["Name"] == "client1"
    members = {member["Name"]: member for member in client.agent.members()}
    assert {"server1", "client1"} <= set(members)
    assert members["server1"]["Addr"] == cluster["server1"].host
    assert members["server1"]["Tags"]["role"] == "consul"
    assert client_of(cluster["server1"]).agent.members(wan=True)[0]["Name"] == "server1.dc1"


def test_a_service_with_a_ttl_check_lives_through_its_states(client: consul.Consul, name: str) -> None:
    assert client.agent.service.register(
        name,
        service_id=f"{name}-1",
        address="10.0.0.9",
        port=8080,
        tags=["a", "b"],
        meta={"k": "v"},
        check=consul.Check.ttl("60s"),
        enable_tag_override=True,
    )
    service = client.agent.services()[f"{name}-1"]
    assert (service["Service"], service["Port"], service["Tags"]) == (name, 8080, ["a", "b"])
    assert (service["Address"], service["Meta"], service["EnableTagOverride"]) == (
        "10.0.0.9",
        {"k": "v"},
        True,
    )
    assert client.agent.service_definition(f"{name}-1")["Service"] == name
    assert list(client.agent.services(filter_expr=f'Service == "{name}"')) == [f"{name}-1"]

    check = f"service:{name}-1"
    assert client.agent.checks()[check]["Status"] == "critical"
    changes = [
        (client.agent.check.ttl_pass, "passing"),
        (client.agent.check.ttl_warn, "warning"),
        (client.agent.check.ttl_fail, "critical"),
    ]
    for change, status in changes:
        assert change(check, notes=f"now {status}")
        found = client.agent.checks(filter_expr=f'CheckID == "{check}"')[check]
        assert (found["Status"], found["Output"]) == (status, f"now {status}")
        eventually(lambda status=status: [one["Status"] for one in client.health.checks(name)[1]] == [status])
    assert client.catalog.service(name)[1][0]["Node"] == "client1"

    assert client.agent.service.deregister(f"{name}-1")
    assert f"{name}-1" not in client.agent.services()
    assert check not in client.agent.checks()
    eventually(lambda: client.catalog.service(name)[1] == [])


def test_a_service_goes_into_maintenance_and_out_of_it(client: consul.Consul, name: str) -> None:
    client.agent.service.register(name)
    assert client.agent.service.maintenance(name, True, reason="new disk")
    check = client.agent.checks()[f"_service_maintenance:{name}"]
    assert (check["Status"], check["Notes"], check["ServiceID"]) == ("critical", "new disk", name)
    eventually(lambda: client.health.service(name)[1] and not client.health.service(name, passing=True)[1])
    assert client.agent.service.maintenance(name, False)
    assert f"_service_maintenance:{name}" not in client.agent.checks()
    client.agent.service.deregister(name)
    # The library takes 404 for false here.
    assert client.agent.service.maintenance("nothing", True) is False


def test_a_node_goes_into_maintenance_and_out_of_it(client: consul.Consul) -> None:
    assert client.agent.maintenance(True, reason="new roof")
    assert client.agent.checks()["_node_maintenance"]["Notes"] == "new roof"
    assert client.agent.maintenance(False)
    assert "_node_maintenance" not in client.agent.checks()


def test_weights_and_several_checks_of_a_service_are_kept(client: consul.Consul, name: str) -> None:
    client.agent.service.register(
        name,
        weights={"Passing": 10, "Warning": 2},
        check=consul.Check.ttl("60s"),
        extra_checks=[consul.Check.ttl("30s")],
        replace_existing_checks=True,
    )
    assert client.agent.services()[name]["Weights"] == {"Passing": 10, "Warning": 2}
    assert {one for one in client.agent.checks() if name in one} == {f"service:{name}:1", f"service:{name}:2"}
    client.agent.service.deregister(name)


def test_the_old_way_to_give_a_check_works_too(client: consul.Consul, name: str) -> None:
    client.agent.service.register(name, ttl="60s")  # type: ignore[arg-type, unused-ignore]
    assert f"service:{name}" in client.agent.checks()
    client.agent.service.deregister(name)


def test_a_check_of_the_node_is_registered_and_deregistered(client: consul.Consul, name: str) -> None:
    assert client.agent.check.register("a name", check=consul.Check.ttl("60s"), check_id=name, notes="why")
    found = client.agent.checks()[name]
    assert (found["Name"], found["Notes"], found["ServiceID"]) == ("a name", "why", "")
    assert client.agent.check.deregister(name)
    assert name not in client.agent.checks()


def test_a_check_belongs_to_the_service_that_it_names(client: consul.Consul, name: str) -> None:
    client.agent.service.register(name, tags=["t"])
    client.agent.check.register("c", check=consul.Check.ttl("60s"), check_id=f"{name}-c", service_id=name)
    found = client.agent.checks()[f"{name}-c"]
    assert (found["ServiceID"], found["ServiceName"]) == (name, name)
    client.agent.service.deregister(name)
    assert f"{name}-c" not in client.agent.checks()


def test_a_check_of_an_unknown_service_is_refused(client: consul.Consul) -> None:
    with pytest.raises(ConsulException, match=r"ServiceID .*does not exist"):
        client.agent.check.register("c", check=consul.Check.ttl("60s"), service_id="nothing")


def test_a_ttl_of_an_unknown_check_can_not_be_renewed(client: consul.Consul) -> None:
    with pytest.raises(ConsulException, match="does not have associated TTL"):
        client.agent.check.ttl_pass("nothing")


def test_http_tcp_and_script_checks_pass(client: consul.Consul, name: str, web: str) -> None:
    host, _, port = web.removeprefix("http://").partition(":")
    checks = {
        "http": consul.Check.http(
            web, "100ms", timeout="5s", deregister="10m", header={"x-asks": ["py-consul"]}
        ),
        "tcp": consul.Check.tcp(host, int(port), "100ms", timeout="5s"),
        "script": consul.Check.script(["true"], "100ms"),
    }
    for kind, check in checks.items():
        assert client.agent.check.register(kind, check=check, check_id=f"{name}-{kind}")

    def status() -> dict[str, str]:
        found = client.agent.checks()
        return {kind: found[f"{name}-{kind}"]["Status"] for kind in checks}

    with contextlib.suppress(TimeoutError):
        eventually(lambda: set(status().values()) == {"passing"})
    assert status() == dict.fromkeys(checks, "passing"), client.agent.checks()
    for kind in checks:
        client.agent.check.deregister(f"{name}-{kind}")


def test_a_grpc_check_of_a_closed_port_is_critical(client: consul.Consul, name: str) -> None:
    check = consul.Check.grpc("127.0.0.1:1", "100ms", timeout="5s", use_tls=False)
    client.agent.check.register("grpc", check=check, check_id=name)
    eventually(lambda: client.agent.checks()[name]["Output"])
    assert client.agent.checks()[name]["Status"] == "critical"
    client.agent.check.deregister(name)


def test_a_docker_check_in_the_form_of_before_consul_1_0_is_refused(client: consul.Consul) -> None:
    with pytest.raises(BadRequest):
        client.agent.check.register("docker", check=consul.Check.docker("c", "/bin/sh", "true", "10s"))


def test_join_reload_metrics_and_force_leave_answer(client: consul.Consul, cluster: Mesh) -> None:
    assert client.agent.join(cluster["server1"].host)
    assert client.agent.reload()
    assert {"Gauges", "Counters", "Samples"} <= set(client.agent.metrics())
    with pytest.raises(ConsulException, match="500"):
        client.agent.join("127.0.0.1:1")


def test_prometheus_metrics_come_as_text_when_they_are_on(client: consul.Consul) -> None:
    with pytest.raises(ClientError, match=r"415 .*[Pp]rometheus"):
        client.agent.metrics(format_prometheus=True)


def test_an_agent_that_left_can_be_forced_out(client: consul.Consul, cluster: Mesh) -> None:
    assert client_of(cluster["client2"]).agent.leave()

    def statuses() -> dict[str, int]:
        return {member["Name"]: member["Status"] for member in client.agent.members()}

    eventually(lambda: statuses()["client2"] == 3)
    assert client.agent.force_leave("client2")
    eventually(lambda: client.catalog.node("client2")[1] is None)
