"""Every method of py-consul against running agents: a client of Consul that we did not write."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import http.server
import inspect
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import consul
import pytest
from consul.base import Consul as BaseConsul
from consul.exceptions import BadRequest, ClientError, ConsulException
from cryptography import x509

from meshnode.testing import Mesh
from meshnode.testing.waiting import wait_until

UNKNOWN = "00000000-0000-4000-8000-000000000000"
#: Methods that no test here calls, and why.
NOT_CALLED = {
    "agent.monitor": "it reads a stream without an end to its end: py-consul can only time out",
}
_names = (f"name{number}" for number in itertools.count())


def eventually(condition: Callable[[], Any]) -> Any:
    """The first truthy result: what an agent knows reaches the catalog within a moment."""
    return wait_until(condition, 20)


def client_of(agent: Any, **options: Any) -> consul.Consul:
    return consul.Consul(agent.host, agent.listen.http, **options)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Mesh]:
    with Mesh(
        servers=1, clients=2, secure=True, config={"enable_script_checks": True, "connect": {"enabled": True}}
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def guarded() -> Iterator[Mesh]:
    with Mesh(servers=1, acl=True) as guarded:
        yield guarded


@pytest.fixture
def server(cluster: Mesh) -> consul.Consul:
    return client_of(cluster["server1"])


@pytest.fixture
def client(cluster: Mesh) -> consul.Consul:
    """Calls to a client agent, which passes them on to the server."""
    return client_of(cluster["client1"])


@pytest.fixture
def manager(guarded: Mesh) -> consul.Consul:
    """Calls with the management token."""
    return client_of(guarded["server1"], token=guarded.token)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return next(_names)


@pytest.fixture
def web() -> Iterator[str]:
    """URL of a server that answers 200 to everything, if the header ``x-asks`` came with it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers.get("x-asks") == "py-consul" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


# Keys


def test_a_key_is_put_read_and_deleted(client: consul.Consul, name: str) -> None:
    assert client.kv.get(name)[1] is None
    assert client.kv.put(name, "h\xe9llo", flags=42) is True
    index, entry = client.kv.get(name)
    assert (entry["Key"], entry["Value"], entry["Flags"]) == (name, "h\xe9llo".encode(), 42)
    assert int(index) >= entry["ModifyIndex"] >= entry["CreateIndex"] > 0
    assert entry["LockIndex"] == 0
    assert "Session" not in entry
    assert client.kv.delete(name) is True
    assert client.kv.get(name)[1] is None


def test_bytes_and_an_empty_value_survive(client: consul.Consul, name: str) -> None:
    every = bytes(range(256))
    assert client.kv.put(name, every)
    assert client.kv.get(name)[1]["Value"] == every
    assert client.kv.put(name, "")
    # Consul has null for no bytes, and the library leaves that alone.
    assert client.kv.get(name)[1]["Value"] is None


def test_a_key_with_odd_characters_is_the_same_key_everywhere(client: consul.Consul, name: str) -> None:
    key = f"{name}/a b/\xe4%25?#&+="
    assert client.kv.put(key, "x")
    assert client.kv.get(key)[1]["Key"] == key
    assert client.kv.get(f"{name}/", keys=True)[1] == [key]
    assert client.kv.delete(key)
    assert client.kv.get(key)[1] is None


def test_a_prefix_is_listed_recursively_by_keys_and_up_to_a_separator(
    client: consul.Consul, name: str
) -> None:
    for key in ("a", "b/1", "b/2"):
        client.kv.put(f"{name}/{key}", key)
    entries = client.kv.get(f"{name}/", recurse=True)[1]
    assert {entry["Key"]: entry["Value"] for entry in entries} == {
        f"{name}/a": b"a",
        f"{name}/b/1": b"b/1",
        f"{name}/b/2": b"b/2",
    }
    assert client.kv.get(f"{name}/", keys=True)[1] == [f"{name}/a", f"{name}/b/1", f"{name}/b/2"]
    assert client.kv.get(f"{name}/", keys=True, separator="/")[1] == [f"{name}/a", f"{name}/b/"]
    assert client.kv.delete(f"{name}/", recurse=True) is True
    assert client.kv.get(f"{name}/", recurse=True)[1] is None


def test_check_and_set_writes_only_over_what_was_read(client: consul.Consul, name: str) -> None:
    assert client.kv.put(name, "1", cas=0) is True
    assert client.kv.put(name, "2", cas=0) is False
    index = client.kv.get(name)[1]["ModifyIndex"]
    assert client.kv.put(name, "2", cas=index) is True
    assert client.kv.delete(name, cas=index) is False
    assert client.kv.delete(name, cas=client.kv.get(name)[1]["ModifyIndex"]) is True


def test_a_blocking_read_ends_when_the_key_changes(
    client: consul.Consul, server: consul.Consul, name: str
) -> None:
    client.kv.put(name, "old")
    index, _ = client.kv.get(name)
    seen: list[Any] = []
    reader = threading.Thread(target=lambda: seen.append(client.kv.get(name, index=index, wait="20s")))
    reader.start()
    server.kv.put(name, "new")
    reader.join(20)
    assert seen
    assert seen[0][1]["Value"] == b"new"
    assert int(seen[0][0]) > int(index)


def test_a_blocking_read_ends_after_its_wait_with_the_same_index(client: consul.Consul, name: str) -> None:
    client.kv.put(name, "x")
    index, entry = client.kv.get(name)
    assert client.kv.get(name, index=index, wait="10ms")[1] == entry


@pytest.mark.parametrize("consistency", ["default", "consistent", "stale"])
def test_a_read_of_each_consistency_sees_the_write_before_it(
    client: consul.Consul, name: str, consistency: str
) -> None:
    client.kv.put(name, "x")
    assert client.kv.get(name, consistency=consistency, dc="dc1")[1]["Value"] == b"x"


def test_a_datacenter_that_nobody_knows_is_an_error(client: consul.Consul, name: str) -> None:
    with pytest.raises(ConsulException, match=r"500 .*No path to datacenter"):
        client.kv.get(name, dc="dc9")


def test_two_conditions_on_one_write_are_refused(client: consul.Consul, name: str) -> None:
    with pytest.raises(BadRequest, match="Conflicting flags"):
        client.kv.put(name, "x", cas=0, acquire=UNKNOWN)


# Sessions and locks


def test_a_session_is_made_read_renewed_and_destroyed(client: consul.Consul, name: str) -> None:
    session = client.session.create(name, lock_delay=0, ttl=60, behavior="delete")
    _, found = client.session.info(session)
    assert found["ID"] == session
    assert found["Node"] == "client1"
    assert found["Checks"] == ["serfHealth"]
    assert (found["Name"], found["TTL"], found["Behavior"], found["LockDelay"]) == (name, "60s", "delete", 0)
    assert session in [entry["ID"] for entry in client.session.list()[1]]
    assert session in [entry["ID"] for entry in client.session.node("client1")[1]]
    assert client.session.node("server1")[1] == []
    assert client.session.renew(session)["ID"] == session
    assert client.session.destroy(session) is True
    assert client.session.info(session)[1] is None
    with pytest.raises(consul.NotFound, match=f"Session id '{session}' not found"):
        client.session.renew(session)


def test_a_session_without_settings_has_those_of_consul(client: consul.Consul) -> None:
    session = client.session.create()
    _, found = client.session.info(session)
    assert (found["Behavior"], found["LockDelay"], found["TTL"]) == ("release", 15_000_000_000, "")
    client.session.destroy(session)


def test_a_session_on_an_unknown_node_or_check_is_refused(client: consul.Consul) -> None:
    with pytest.raises(ConsulException, match="500"):
        client.session.create(node="nobody")
    with pytest.raises(ConsulException, match="500"):
        client.session.create(checks=["serfHealth", "nothing"])


def test_a_lock_has_one_holder_until_it_is_released(client: consul.Consul, name: str) -> None:
    first, second = client.session.create(lock_delay=0), client.session.create(lock_delay=0)
    assert client.kv.put(name, "first", acquire=first) is True
    assert client.kv.put(name, "second", acquire=second) is False
    entry = client.kv.get(name)[1]
    assert (entry["Session"], entry["LockIndex"], entry["Value"]) == (first, 1, b"first")
    assert client.kv.put(name, "x", release=second) is False
    assert client.kv.put(name, "first", release=first) is True
    assert client.kv.put(name, "second", acquire=second) is True
    assert client.kv.get(name)[1]["LockIndex"] == 2
    for session in (first, second):
        client.session.destroy(session)
    assert "Session" not in client.kv.get(name)[1]


def test_a_lock_of_a_session_that_deletes_goes_with_it(client: consul.Consul, name: str) -> None:
    session = client.session.create(behavior="delete")
    assert client.kv.put(name, "x", acquire=session)
    client.session.destroy(session)
    assert client.kv.get(name)[1] is None


def test_a_lock_with_an_unknown_session_is_refused(client: consul.Consul, name: str) -> None:
    with pytest.raises(ConsulException, match=r"500 .*invalid session"):
        client.kv.put(name, "x", acquire=UNKNOWN)


# Transactions


def test_a_transaction_does_all_of_its_operations(client: consul.Consul, name: str) -> None:
    done = client.txn.put(
        [
            {"KV": {"Verb": "set", "Key": f"{name}/1", "Value": "b25l", "Flags": 7}},
            {"KV": {"Verb": "get", "Key": f"{name}/1"}},
        ]
    )
    assert done["Errors"] is None
    assert [result["KV"]["Key"] for result in done["Results"]] == [f"{name}/1"] * 2
    assert done["Results"][1]["KV"]["Value"] == "b25l"
    assert client.kv.get(f"{name}/1")[1]["Flags"] == 7


def test_a_transaction_with_one_failure_does_nothing(client: consul.Consul, name: str) -> None:
    with pytest.raises(ClientError, match=f'409 .*key \\\\?"{name}/2\\\\?" doesn\'t exist'):
        client.txn.put(
            [
                {"KV": {"Verb": "set", "Key": f"{name}/1", "Value": "b25l"}},
                {"KV": {"Verb": "get", "Key": f"{name}/2"}},
            ]
        )
    assert client.kv.get(f"{name}/1")[1] is None


# Catalog and health


def test_a_node_with_a_service_is_registered_found_and_deregistered(client: consul.Consul, name: str) -> None:
    node = f"{name}-node"
    service = {"Service": name, "ID": f"{name}-1", "Tags": ["v1"], "Port": 80, "Meta": {"a": "b"}}
    check = {"Name": "ping", "CheckID": f"{name}-ping", "Status": "passing", "ServiceID": f"{name}-1"}
    assert client.catalog.register(
        node, "10.9.8.7", service=service, check=check, tagged_addresses={"wan": "10.9.8.8"}, dc="dc1"
    )
    _, [found] = client.catalog.service(name, tag="v1", near="_agent")
    assert (found["Node"], found["Address"], found["ServicePort"]) == (node, "10.9.8.7", 80)
    assert found["TaggedAddresses"]["wan"] == "10.9.8.8"
    assert found["ServiceMeta"] == {"a": "b"}
    assert client.catalog.service(name, tag="v2")[1] == []
    assert client.catalog.service(name, filter_expr="ServicePort == 80")[1] == [found]
    assert client.catalog.services()[1][name] == ["v1"]
    assert client.catalog.connect(name)[1] == []
    assert node in [entry["Node"] for entry in client.catalog.nodes(near="_agent")[1]]
    assert list(client.catalog.node(node)[1]["Services"]) == [f"{name}-1"]

    [entry] = client.health.service(name, passing=True)[1]
    assert [one["CheckID"] for one in entry["Checks"]] == [f"{name}-ping"]
    assert [one["ServiceTags"] for one in client.health.checks(name)[1]] == [["v1"]]
    assert [one["CheckID"] for one in client.health.node(node)[1]] == [f"{name}-ping"]
    assert f"{name}-ping" in [one["CheckID"] for one in client.health.state("passing")[1]]
    assert client.health.connect(name)[1] == []

    assert client.catalog.deregister(node, check_id=f"{name}-ping")
    assert client.health.checks(name)[1] == []
    assert client.catalog.deregister(node, service_id=f"{name}-1")
    assert client.catalog.service(name)[1] == []
    assert client.catalog.deregister(node)
    assert client.catalog.node(node)[1] is None


def test_an_update_of_a_service_can_leave_its_node_alone(client: consul.Consul, name: str) -> None:
    node = f"{name}-node"
    client.catalog.register(node, "10.1.1.1")
    client.catalog.register(node, "10.2.2.2", service={"Service": name}, skip_node_update=True)
    assert client.catalog.service(name)[1][0]["Address"] == "10.1.1.1"
    client.catalog.deregister(node)


def test_agents_are_nodes_of_the_catalog(client: consul.Consul, cluster: Mesh) -> None:
    assert client.catalog.datacenters() == ["dc1"]
    nodes = {entry["Node"]: entry["Address"] for entry in client.catalog.nodes()[1]}
    assert nodes["server1"] == cluster["server1"].host
    assert client.catalog.services()[1]["consul"] == []
    [entry] = client.health.service("consul", passing=True)[1]
    assert (entry["Node"]["Node"], entry["Service"]["Port"]) == ("server1", 8300)
    assert {one["Name"] for one in client.health.node("server1")[1]} == {"Serf Health Status"}


def test_only_instances_that_pass_and_have_the_tag_are_healthy(client: consul.Consul, name: str) -> None:
    for number, status in enumerate(("passing", "warning", "critical")):
        client.catalog.register(
            f"{name}-{number}",
            "10.0.0.1",
            service={"Service": name, "Tags": ["all", status]},
            check={"Name": "c", "Status": status, "ServiceID": name},
        )
    assert [entry["Node"]["Node"] for entry in client.health.service(name, passing=True)[1]] == [f"{name}-0"]
    assert len(client.health.service(name)[1]) == 3
    assert len(client.health.service(name, tag="warning")[1]) == 1
    assert len(client.health.service(name, tag=["all", "warning"])[1]) == 1
    assert f"{name}-2" in [one["Node"] for one in client.health.state("critical")[1]]
    assert client.health.state("any", filter_expr=f'Node == "{name}-1"')[1][0]["Status"] == "warning"
    for number in range(3):
        client.catalog.deregister(f"{name}-{number}")


def test_a_blocking_question_for_a_service_ends_when_it_is_registered(
    client: consul.Consul, server: consul.Consul, name: str
) -> None:
    index, found = client.health.service(name)
    assert found == []
    seen: list[Any] = []
    reader = threading.Thread(
        target=lambda: seen.extend(client.health.service(name, index=index, wait="20s")[1])
    )
    reader.start()
    # The watch ends early if another service changes; so ask until it is there.
    server.catalog.register(f"{name}-node", "10.0.0.1", service={"Service": name})
    reader.join(20)
    assert [entry["Service"]["Service"] for entry in seen or client.health.service(name)[1]] == [name]
    assert not reader.is_alive()
    server.catalog.deregister(f"{name}-node")


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


# Events, coordinates, status, snapshots


def test_an_event_that_is_fired_is_listed_with_its_payload(client: consul.Consul, name: str) -> None:
    fired = client.event.fire(name, "payload", node="client1")
    assert (fired["Name"], fired["NodeFilter"], fired["Version"]) == (name, "client1", 1)
    [heard] = eventually(lambda: client.event.list(name)[1])
    assert (heard["ID"], heard["Payload"]) == (fired["ID"], b"payload")
    assert heard["LTime"] > 0
    index, _ = client.event.list(name)
    assert int(index) > 0


def test_coordinates_are_reported_and_read(client: consul.Consul) -> None:
    coordinate = {"Vec": [0.1] * 8, "Error": 1.5, "Adjustment": 0.0, "Height": 0.00001}
    assert client.coordinate.update("server1", coordinate)
    eventually(lambda: client.coordinate.node("server1")[1])
    assert client.coordinate.node("server1")[1][0]["Node"] == "server1"
    assert "server1" in [entry["Node"] for entry in client.coordinate.nodes()[1]]
    assert [entry["Datacenter"] for entry in client.coordinate.datacenters()] == ["dc1"]


def test_the_leader_is_one_of_the_peers(client: consul.Consul, cluster: Mesh) -> None:
    assert client.status.leader() == f"{cluster['server1'].host}:8300"
    assert client.status.peers() == [client.status.leader()]


def test_a_snapshot_brings_the_state_back(client: consul.Consul, name: str) -> None:
    client.kv.put(name, "before")
    archive = client.snapshot.save()
    assert archive.startswith(b"\x1f\x8b")
    client.kv.put(name, "after")
    assert client.snapshot.restore(archive)
    assert client.kv.get(name)[1]["Value"] == b"before"
    with pytest.raises(ConsulException):
        client.snapshot.restore(b"not an archive")


# Prepared queries


def test_a_prepared_query_is_made_run_changed_and_deleted(client: consul.Consul, name: str) -> None:
    client.catalog.register(f"{name}-node", "10.0.0.1", service={"Service": name, "Tags": ["v1"]})
    query = client.query.create(name, name=f"{name}-query", tags=["v1"], ttl="10s", nearestn=1)["ID"]
    [read] = client.query.get(query)
    assert (read["Name"], read["Service"]["Service"], read["DNS"]["TTL"]) == (f"{name}-query", name, "10s")
    assert query in [entry["ID"] for entry in client.query.list()]
    found = client.query.execute(f"{name}-query", limit=5)
    assert [node["Node"]["Node"] for node in found["Nodes"]] == [f"{name}-node"]
    assert (found["Service"], found["Datacenter"], found["Failovers"]) == (name, "dc1", 0)
    # Every query that the library makes is a template of names, and those have no other address.
    with pytest.raises(ConsulException, match="templates can only be resolved up by name, not by ID"):
        client.query.execute(query)
    assert client.query.update(query, name, name=f"{name}-query", tags=["v2"])
    assert client.query.execute(f"{name}-query")["Nodes"] == []
    assert client.query.delete(query)
    assert client.query.get(query) is None
    client.catalog.deregister(f"{name}-node")


def test_a_template_explains_what_a_name_becomes(client: consul.Consul, name: str) -> None:
    query = client.query.create("${match(1)}", name=f"{name}-", regexp=f"^{name}-(.*)$")["ID"]
    assert client.query.explain(f"{name}-web")["Query"]["Service"]["Service"] == "web"
    client.query.delete(query)


# Operator


def test_the_servers_are_the_raft_configuration(client: consul.Consul) -> None:
    [found] = client.operator.raft_config()["Servers"]
    assert (found["Node"], found["Leader"], found["Voter"]) == ("server1", True, True)
    assert found["Address"] == client.status.leader()
    with pytest.raises(ConsulException):
        client.operator.raft_remove_peer(address="10.99.99.99:8300")
    with pytest.raises(BadRequest):
        client.operator.raft_remove_peer()


def test_the_only_server_can_not_hand_over_its_leadership(client: consul.Consul) -> None:
    with pytest.raises(ConsulException, match=r"500 .*only it can lead"):
        client.operator.raft_transfer_leader()


def test_autopilot_is_read_changed_and_healthy(client: consul.Consul) -> None:
    before = client.operator.autopilot_configuration()
    assert before["LastContactThreshold"] == "200ms"
    assert client.operator.update_autopilot_configuration(
        cleanup_dead_servers=False, max_trailing_logs=300, last_contact_threshold="300ms"
    )
    after = client.operator.autopilot_configuration()
    assert (after["CleanupDeadServers"], after["MaxTrailingLogs"]) == (False, 300)
    assert after["LastContactThreshold"] == "300ms"
    assert client.operator.update_autopilot_configuration(cas=before["ModifyIndex"]) is False
    health = eventually(lambda: (found := client.operator.autopilot_health())["Healthy"] and found)
    assert [found["Name"] for found in health["Servers"]] == ["server1"]


def test_a_gossip_key_is_installed_used_and_removed(server: consul.Consul) -> None:
    old = next(iter(server.operator.keyring_list()[0]["Keys"]))
    new = "MDEyMzQ1Njc4OWFiY2RlZg=="
    assert server.operator.keyring_install(new)
    assert server.operator.keyring_use(new, relay_factor=1)
    assert server.operator.keyring_remove(old)
    for ring in server.operator.keyring_list():
        assert list(ring["Keys"]) == [new]
    with pytest.raises(ConsulException, match="500"):
        server.operator.keyring_remove(new)


# Access control


def test_without_access_control_its_routes_say_that_it_is_off(client: consul.Consul) -> None:
    with pytest.raises(consul.ACLDisabled, match="ACL support disabled"):
        client.acl.token.list()


def test_bootstrap_is_refused_when_there_is_a_management_token(manager: consul.Consul) -> None:
    with pytest.raises(consul.ACLPermissionDenied, match=r"[Bb]ootstrap"):
        manager.acl.bootstrap()


def test_nothing_is_allowed_without_a_token(manager: consul.Consul, guarded: Mesh, name: str) -> None:
    manager.kv.put(name, "x")
    anonymous = client_of(guarded["server1"])
    with pytest.raises(consul.ACLPermissionDenied, match="Permission denied"):
        anonymous.kv.get(name)
    with pytest.raises(consul.ACLPermissionDenied, match="ACL not found"):
        anonymous.kv.get(name, token=UNKNOWN)
    assert anonymous.catalog.nodes()[1] == []


def test_a_policy_is_made_read_changed_and_deleted(manager: consul.Consul, name: str) -> None:
    made = manager.acl.policy.create(
        name, description="d", rules={"key_prefix": {f"{name}/": {"policy": "read"}}}
    )
    assert manager.acl.policy.read(made["ID"])["Name"] == name
    assert name in [policy["Name"] for policy in manager.acl.policy.list()]
    changed = manager.acl.policy.update(
        made["ID"], name, description="e", rules={"key_prefix": {f"{name}/": {"policy": "write"}}}
    )
    assert changed["Description"] == "e"
    assert '"write"' in changed["Rules"]
    assert manager.acl.policy.delete(made["ID"])
    assert made["ID"] not in [policy["ID"] for policy in manager.acl.policy.list()]


def test_a_token_gives_what_its_policy_allows(manager: consul.Consul, name: str) -> None:
    policy = manager.acl.policy.create(name, rules={"key_prefix": {f"{name}/": {"policy": "write"}}})
    token = manager.acl.token.create(policies_id=[policy["ID"]], description="d")
    secret = token["SecretID"]
    assert manager.kv.put(f"{name}/a", "x", token=secret)
    with pytest.raises(consul.ACLPermissionDenied):
        manager.kv.put("elsewhere", "x", token=secret)
    assert manager.acl.token.read(token["AccessorID"])["Description"] == "d"
    assert manager.acl.token.read_self(token=secret)["AccessorID"] == token["AccessorID"]
    assert token["AccessorID"] in [one["AccessorID"] for one in manager.acl.token.list(policy=policy["ID"])]
    clone = manager.acl.token.clone(token["AccessorID"], description="clone")
    assert clone["SecretID"] != secret
    assert manager.kv.get(f"{name}/a", token=clone["SecretID"])[1]["Value"] == b"x"
    updated = manager.acl.token.update(token["AccessorID"], description="none")
    assert updated["SecretID"] == secret
    with pytest.raises(consul.ACLPermissionDenied):
        manager.kv.put(f"{name}/a", "y", token=secret)
    assert manager.acl.token.delete(clone["AccessorID"])
    with pytest.raises(consul.ACLPermissionDenied, match="ACL not found"):
        manager.kv.get(f"{name}/a", token=clone["SecretID"])


def test_a_role_gives_its_policies_to_its_tokens(manager: consul.Consul, name: str) -> None:
    manager.acl.policy.create(name, rules={"key_prefix": {f"{name}/": {"policy": "write"}}})
    role = manager.acl.role.create(name, description="d", policies_name=[name])
    assert manager.acl.role.read(role["ID"])["Policies"][0]["Name"] == name
    assert manager.acl.role.read_by_name(name)["ID"] == role["ID"]
    assert role["ID"] in [one["ID"] for one in manager.acl.role.list()]
    token = manager.acl.token.create(roles_name=[name])
    assert manager.kv.put(f"{name}/a", "x", token=token["SecretID"])
    assert manager.kv.get(f"{name}/a", token=token["SecretID"])[1]["Value"] == b"x"
    assert manager.acl.role.update(role["ID"], name, description="e")["Description"] == "e"
    with pytest.raises(consul.ACLPermissionDenied):
        manager.kv.put(f"{name}/a", "x", token=token["SecretID"])
    with pytest.raises(consul.ACLPermissionDenied):
        manager.kv.get(f"{name}/a", token=token["SecretID"])
    assert manager.acl.role.delete(role["ID"])
    with pytest.raises(consul.ACLPermissionDenied, match="ACL not found"):
        manager.acl.role.read(role["ID"])


def test_the_default_token_is_changed_while_the_agent_runs(
    manager: consul.Consul, guarded: Mesh, name: str
) -> None:
    anonymous = client_of(guarded["server1"])
    manager.kv.put(name, "x")
    assert anonymous.catalog.nodes()[1] == []
    assert manager.agent.token.set_default(guarded.token)
    assert anonymous.kv.get(name)[1]["Value"] == b"x"
    assert [node["Node"] for node in anonymous.catalog.nodes()[1]] == ["server1"]
    assert manager.agent.token.set("default", "")
    with pytest.raises(consul.ACLPermissionDenied):
        anonymous.agent.self()
    with pytest.raises(consul.ACLPermissionDenied):
        anonymous.kv.get(name)
    assert anonymous.catalog.nodes()[1] == []


def test_the_token_of_a_request_without_one_is_the_default_token(
    manager: consul.Consul, guarded: Mesh
) -> None:
    anonymous = client_of(guarded["server1"])
    manager.agent.token.set_default(guarded.token)
    try:
        assert anonymous.acl.token.read_self()["SecretID"] == guarded.token
    finally:
        manager.agent.token.set_default("")


def test_the_other_tokens_of_an_agent_are_changed_while_it_runs(
    manager: consul.Consul, guarded: Mesh
) -> None:
    assert manager.agent.token.set_agent(guarded.token)
    assert manager.agent.token.set_agent_recovery("")
    assert manager.agent.token.set_replication("")
    # It came with Consul 1.15: 404.
    assert manager.agent.token.set_config_file_service_registration("") is False


# What came after Consul 1.2.3

LATER: dict[str, Callable[[consul.Consul], Any]] = {
    "gateways of the catalog": lambda c: c.catalog.gateway_services("g"),
    "writing a config entry": lambda c: c.config.set("service-defaults", "web"),
    "reading a config entry": lambda c: c.config.get("service-defaults", "web"),
    "listing config entries": lambda c: c.config.list("service-defaults"),
    "deleting a config entry": lambda c: c.config.delete("service-defaults", "web"),
    "discovery chains": lambda c: c.discovery_chain.get("web"),
    "usage": lambda c: c.operator.usage(),
    "login": lambda c: c.acl.login("m", "t"),
    "logout": lambda c: c.acl.logout("t"),
    "listing auth methods": lambda c: c.acl.auth_method.list(),
    "reading an auth method": lambda c: c.acl.auth_method.read("m"),
    "making an auth method": lambda c: c.acl.auth_method.create("m", "jwt"),
    "changing an auth method": lambda c: c.acl.auth_method.update("m", "jwt"),
    "deleting an auth method": lambda c: c.acl.auth_method.delete("m"),
    "listing binding rules": lambda c: c.acl.binding_rule.list(),
    "reading a binding rule": lambda c: c.acl.binding_rule.read("r"),
    "making a binding rule": lambda c: c.acl.binding_rule.create("m", "service", "n"),
    "changing a binding rule": lambda c: c.acl.binding_rule.update("r", "m", "service", "n"),
    "deleting a binding rule": lambda c: c.acl.binding_rule.delete("r"),
    "listing templated policies": lambda c: c.acl.templated_policy.list(),
    "reading a templated policy": lambda c: c.acl.templated_policy.read("builtin/service"),
    "previewing a templated policy": lambda c: c.acl.templated_policy.preview("builtin/service"),
}


@pytest.mark.parametrize("what", LATER)
def test_what_came_after_consul_1_2_3_is_not_found(client: consul.Consul, what: str) -> None:
    # The library has None or False for 404, and raises for everything else that is no success.
    assert not LATER[what](client)


def test_ingress_gateways_are_not_found(client: consul.Consul) -> None:
    with pytest.raises(ConsulException, match="Missing index header"):
        client.health.ingress("web")


# Connect


def test_an_intention_is_written_read_checked_and_deleted(client: consul.Consul, name: str) -> None:
    assert client.connect.intentions.check(f"{name}-a", f"{name}-b") is True
    assert client.connect.intentions.upsert(
        f"{name}-a", f"{name}-b", action="deny", description="d", meta={"k": "v"}
    )
    found = client.connect.intentions.read(f"{name}-a", f"{name}-b")
    assert (found["Action"], found["Description"], found["Meta"]) == ("deny", "d", {"k": "v"})
    assert (found["SourceName"], found["DestinationName"], found["Precedence"]) == (
        f"{name}-a",
        f"{name}-b",
        9,
    )
    assert client.connect.intentions.check(f"{name}-a", f"{name}-b", source_type="consul") is False
    assert [
        one["DestinationName"] for one in client.connect.intentions.list() if one["SourceName"] == f"{name}-a"
    ] == [f"{name}-b"]
    assert [
        one["Action"] for one in client.connect.intentions.match("destination", f"{name}-b")[f"{name}-b"]
    ] == ["deny"]
    assert [one["Action"] for one in client.connect.intentions.match("source", f"{name}-a")[f"{name}-a"]] == [
        "deny"
    ]
    assert client.connect.intentions.upsert(f"{name}-a", f"{name}-b", action="allow")
    assert client.connect.intentions.check(f"{name}-a", f"{name}-b") is True
    assert client.connect.intentions.delete(f"{name}-a", f"{name}-b")
    assert client.connect.intentions.read(f"{name}-a", f"{name}-b") is None
    with pytest.raises(ConsulException):
        client.connect.intentions.upsert("a", "b", action="perhaps")


def test_a_leaf_is_signed_by_the_active_root(client: consul.Consul) -> None:
    roots = eventually(lambda: (found := client.connect.ca.roots())["Roots"] and found)
    [active] = [root for root in roots["Roots"] if root["Active"]]
    assert active["ID"] == roots["ActiveRootID"]
    assert client.agent.connect.ca.roots()["ActiveRootID"] == roots["ActiveRootID"]
    leaf = client.agent.connect.ca.leaf("web")
    assert leaf["Service"] == "web"
    assert leaf["ServiceURI"] == f"spiffe://{roots['TrustDomain']}/ns/default/dc/dc1/svc/web"
    certificate = x509.load_pem_x509_certificate(leaf["CertPEM"].encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(active["RootCert"].encode()))
    assert "PRIVATE KEY" in leaf["PrivateKeyPEM"]


def test_the_configuration_of_the_ca_is_read_and_changed(client: consul.Consul) -> None:
    before = client.connect.ca.configuration()
    assert before["Provider"] == "consul"
    assert client.connect.ca.update_configuration("consul", {**before["Config"], "LeafCertTTL": "71h"})
    assert client.connect.ca.configuration()["Config"]["LeafCertTTL"] == "71h"
    with pytest.raises(ConsulException):
        client.connect.ca.update_configuration("nobody", {})


def test_authorize_is_sent_with_a_method_that_consul_1_2_3_does_not_take(client: consul.Consul) -> None:
    with pytest.raises(ClientError, match="405 method PUT not allowed"):
        client.agent.connect.authorize("web", "spiffe://x", "00")


# The library


def test_the_asynchronous_client_reads_what_it_wrote(cluster: Mesh, name: str) -> None:
    pytest.importorskip(
        "aiohttp", reason="py-consul's asyncio client needs aiohttp, which nothing else here does"
    )
    from consul import aio

    async def run() -> None:
        async with aio.Consul(cluster["client1"].host, 8500) as client:
            assert await client.kv.put(name, "x")
            index, entry = await client.kv.get(name)
            assert entry["Value"] == b"x"
            reader = client.kv.get(name, index=index, wait="20s")
            _, (_, changed) = await asyncio.gather(client.kv.put(name, "y"), reader)
            assert changed["Value"] == b"y"

    asyncio.run(run())


def methods(owner: object, path: str = "") -> Iterator[str]:
    """Dotted names of all public methods of the library, from its own objects."""
    for key, value in vars(owner).items():
        if type(value).__module__.startswith("consul.api"):
            yield from methods(value, f"{path}{key}.")
    if path:
        for key, _method in inspect.getmembers(type(owner), inspect.isfunction):
            if not key.startswith("_"):
                yield f"{path}{key}"


def test_every_method_of_the_library_is_called_here_or_has_a_reason() -> None:
    mentioned = {
        ast.unparse(node).partition(".")[2]
        for node in ast.walk(ast.parse(Path(__file__).read_text()))
        if isinstance(node, ast.Attribute)
    }
    # "tokens" is another name of "token", and so on: one of both is enough.
    plural = {"tokens", "policies", "roles", "templated_policies", "auth_methods", "binding_rules"}
    known = {method for method in methods(consul.Consul()) if not plural & set(method.split("."))} | {
        f"Check.{key}" for key, _ in inspect.getmembers(consul.Check, inspect.ismethod) if key[0] != "_"
    }
    assert issubclass(consul.Consul, BaseConsul)
    assert len(known) > 100, "the walk is broken"
    assert known - mentioned - set(NOT_CALLED) == set(), "py-consul has methods that no test calls"
    assert set(NOT_CALLED) <= known - mentioned, "called by now, or gone: take it off the list"
