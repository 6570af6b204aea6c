"""What single keys of the configuration do, seen from outside: over a real agent's API, with dig, in its exit code."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.testing import Mesh, MeshAgent
from meshnode.testing.waiting import wait_until

RECOVERY = str(uuid.uuid4())
CONFIG: dict[str, Any] = {
    "node_meta": {"rack": "7"},
    "tagged_addresses": {"dmz": "198.51.100.9"},
    "session_ttl_min": "30s",
    "domain": "mesh.example.",
    "default_intention_policy": "allow",
    "acl_agent_master_token": RECOVERY,
    "acl_enable_key_list_policy": True,
    "connect": {"enabled": True, "ca_provider": "consul", "ca_config": {"private_key_type": "rsa"}},
    "telemetry": {"metrics_prefix": "ours", "disable_hostname": True},
}


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh(acl=True, config=CONFIG) as made:
        yield made


@pytest.fixture
def agent(mesh: Mesh) -> MeshAgent:
    return mesh.servers[0]


def token(agent: MeshAgent, rules: str) -> str:
    """A new token with ``rules``, its secret."""
    made = agent.api("/v1/acl/create", method="PUT", body={"Name": "t", "Type": "client", "Rules": rules})
    return str(made["ID"])


def configure(agent: MeshAgent, **changes: Any) -> None:
    """Write keys into the agent's file; ``None`` takes one out."""
    keys = json.loads(agent.config_file.read_text()) | changes
    agent.config_file.write_text(json.dumps({k: v for k, v in keys.items() if v is not None}))


def dig(host: str, port: int, name: str) -> list[str]:
    command = ["dig", "+short", "+time=2", "+tries=1", "-p", str(port), f"@{host}", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


# The node


def test_a_node_is_in_the_catalog_with_its_metadata_and_all_its_addresses(agent: MeshAgent) -> None:
    (row,) = agent.wait_for("/v1/catalog/nodes?node-meta=rack:7")
    assert row["TaggedAddresses"] == {"dmz": "198.51.100.9", "lan": agent.host, "wan": agent.host}
    assert agent.api("/v1/catalog/nodes?node-meta=rack:8") == []


def test_what_an_agent_tells_of_itself_is_new_after_a_reload(agent: MeshAgent) -> None:
    def rack() -> tuple[str, str]:
        told = agent.api("/v1/agent/self")
        return told["Meta"]["rack"], told["DebugConfig"]["identity"]["node_meta"]["rack"]

    assert rack() == rack() == ("7", "7")
    digests = [agent.api("/v1/agent/self")["Meshnode"]["ConfigDigest"]]
    for value in ("8", "7"):
        configure(agent, node_meta={"rack": value})
        agent.api("/v1/agent/reload", method="PUT")
        assert rack() == rack() == (value, value)
        digests.append(agent.api("/v1/agent/self")["Meshnode"]["ConfigDigest"])
        assert digests[-1] != digests[-2]


def test_names_end_in_the_configured_domain_and_in_no_other(agent: MeshAgent) -> None:
    # DNS asks with the agent's default token, which may nothing here: the name of the service is free to ask.
    secret = token(agent, 'node "" { policy = "read" } service "" { policy = "read" }')
    agent.api("/v1/agent/token/acl_token", method="PUT", body={"Token": secret})
    try:
        assert dig(*agent.dns, "server1.node.mesh.example") == [agent.host]
        assert dig(*agent.dns, "server1.node.consul") == []
    finally:
        agent.api("/v1/agent/token/acl_token", method="PUT", body={"Token": ""})


def test_dns_is_served_where_it_was_told_to() -> None:
    with Mesh() as mesh:
        agent = mesh.servers[0]
        other = agent.host.rpartition(".")[0] + ".77"
        agent.stop()
        ports = json.loads(agent.config_file.read_text())["ports"] | {"dns": 8653}
        configure(agent, addresses={"dns": other}, ports=ports)
        agent.start()
        mesh.wait_healthy()
        assert dig(other, 8653, "server1.node.consul") == [agent.host]
        with pytest.raises(subprocess.CalledProcessError):
            dig(agent.host, 8653, "server1.node.consul")


def test_the_shortest_session_is_what_the_configuration_says(agent: MeshAgent) -> None:
    def made(ttl: str) -> int:
        return agent.request("/v1/session/create", method="PUT", body={"TTL": ttl}).status

    assert (made("29s"), made("30s")) == (500, 200)


def test_metrics_have_the_configured_prefix_and_no_host_name(agent: MeshAgent) -> None:
    # An interval of metrics is ten seconds, the first one is shown once it is over.
    shown = agent.wait_for("/v1/agent/metrics", until=lambda metrics: metrics["Gauges"])
    names = [row["Name"] for kind in ("Gauges", "Counters", "Samples") for row in shown[kind]]
    assert names
    assert all(name.startswith("ours.") for name in names)
    assert not [name for name in names if "server1" in name]


def test_a_service_is_found_with_all_the_ways_to_it(agent: MeshAgent) -> None:
    ways = {"lan": {"Address": agent.host, "Port": 80}, "wan": {"Address": "203.0.113.7", "Port": 8080}}
    for body in ({"Name": "ways", "TaggedAddresses": ways}, {"Name": "socket", "SocketPath": "/run/s.sock"}):
        agent.api("/v1/agent/service/register", method="PUT", body=body)
    assert agent.api("/v1/agent/service/ways")["TaggedAddresses"] == ways
    (row,) = agent.wait_for("/v1/health/service/ways")
    assert row["Service"]["TaggedAddresses"] == ways
    (flat,) = agent.api("/v1/catalog/service/ways")
    assert flat["ServiceTaggedAddresses"] == ways
    (row,) = agent.wait_for("/v1/health/service/socket")
    assert (row["Service"]["SocketPath"], row["Service"]["Port"]) == ("/run/s.sock", 0)
    both = {"Name": "both", "SocketPath": "/run/s.sock", "Port": 80}
    refused = agent.request("/v1/agent/service/register", method="PUT", body=both)
    assert refused.status == 400
    assert "service both cannot have both socket path /run/s.sock and address/port" in refused.text
    for name in ("ways", "socket"):
        agent.api(f"/v1/agent/service/deregister/{name}", method="PUT")


# Access control and the mesh


def test_the_agents_recovery_token_is_good_for_the_agent_and_for_nothing_else(agent: MeshAgent) -> None:
    assert agent.request("/v1/agent/self", token=RECOVERY).status == 200
    assert agent.request("/v1/agent/reload", method="PUT", token=RECOVERY).status == 200
    assert agent.request("/v1/kv/a", method="PUT", body=b"", token=RECOVERY).status == 403
    assert agent.request("/v1/agent/self", token="").status == 403


def test_with_the_list_policy_keys_are_listed_by_who_may_list_them(agent: MeshAgent) -> None:
    reader = token(agent, 'key "a/" { policy = "read" }')
    lister = token(agent, 'key "a/" { policy = "list" }')
    agent.api("/v1/kv/a/b", method="PUT", body=b"")
    assert agent.request("/v1/kv/a/?recurse", token=reader).status == 403
    assert agent.request("/v1/kv/a/b", token=reader).status == 200
    assert agent.request("/v1/kv/a/?recurse", token=lister).status == 200


def test_intentions_have_a_default_of_their_own(agent: MeshAgent) -> None:
    """What ACLs default to is "deny" here."""
    asked = agent.api("/v1/connect/intentions/check?source=a&destination=b")
    assert asked["Allowed"] is True


def test_the_ca_begins_with_the_provider_and_the_settings_of_the_configuration(agent: MeshAgent) -> None:
    config = agent.wait_for("/v1/connect/ca/configuration")
    assert config["Provider"] == "consul"
    assert config["Config"]["PrivateKeyType"] == "rsa"
    (root,) = agent.wait_for("/v1/connect/ca/roots", until=lambda roots: roots["Roots"])["Roots"]
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-text"],
        input=root["RootCert"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Public Key Algorithm: rsaEncryption" in text


def test_services_checks_and_watches_have_tokens_and_states_of_their_own(
    agent: MeshAgent, tmp_path: Path
) -> None:
    """The agent's own token may write its node alone: what is registered is registered by the definitions' tokens."""
    web, db = (
        token(agent, 'service "web" { policy = "write" }'),
        token(agent, 'service "db" { policy = "write" }'),
    )
    watcher = token(agent, 'key "seen" { policy = "read" }')
    own = token(agent, 'node "" { policy = "write" } service "" { policy = "read" }')
    agent.api("/v1/kv/seen", method="PUT", body=b"")
    said = tmp_path / "said"
    command = ["sh", "-c", f"cat >> {said}"]
    configure(
        agent,
        acl_agent_token=own,
        services=[
            {"name": "web", "token": web, "check": {"id": "first", "ttl": "1h", "status": "warning"}},
            {"name": "web", "id": "other", "token": own},
            {"name": "db", "token": own},
        ],
        checks=[
            {"id": "dbs", "name": "dbs", "service_id": "db", "ttl": "1h", "token": db, "status": "passing"}
        ],
        watches=[
            {"type": "key", "key": "seen", "token": watcher, "args": command},
            {"type": "key", "key": "seen", "token": own, "args": [*command[:2], f"cat >> {said}.wrong"]},
        ],
    )
    agent.api("/v1/agent/reload", method="PUT")
    rows = agent.wait_for("/v1/health/service/web", until=lambda rows: len(rows) == 1)
    assert [row["Service"]["ID"] for row in rows] == ["web"]
    agent.wait_for(
        "/v1/health/checks/db", until=lambda checks: [check["Status"] for check in checks] == ["passing"]
    )
    checks = agent.api("/v1/health/checks/web")
    assert [(check["CheckID"], check["Status"]) for check in checks] == [("first", "warning")]
    assert agent.api("/v1/catalog/service/web")[0]["ServiceID"] == "web"
    agent.wait_for("/v1/agent/self", until=lambda _: said.exists() and said.read_text())
    assert not Path(f"{said}.wrong").exists()


def test_programs_of_the_configuration_may_run_where_those_of_the_api_may_not() -> None:
    script = {"args": ["sh", "-c", "echo it ran"], "interval": "1s"}
    with Mesh(config={"enable_local_script_checks": True, "check": {"name": "ours", **script}}) as mesh:
        agent = mesh.servers[0]
        agent.wait_for("/v1/agent/checks", until=lambda checks: "it ran" in checks["ours"]["Output"])
        refused = agent.request(
            "/v1/agent/check/register",
            method="PUT",
            body={"Name": "theirs", "Args": script["args"], "Interval": "1s"},
        )
    assert refused.status == 500
    assert "Scripts are disabled on this agent from remote calls" in refused.text


def test_a_call_waits_for_a_leader_as_long_as_the_configuration_says() -> None:
    """By default that is 7 s: within 5 s there would be no answer at all."""
    with Mesh(servers=2, config={"performance": {"rpc_hold_timeout": "200ms"}}) as mesh:
        leader = mesh.servers[0].api("/v1/status/leader").partition(":")[0]
        other = next(agent for agent in mesh.servers if agent.host != leader)
        next(agent for agent in mesh.servers if agent.host == leader).kill()
        other.wait_for("/v1/status/leader", until=lambda leader: not leader)
        refused = other.request("/v1/kv/a?consistent", timeout=5)
    assert (refused.status, refused.text.strip()) == (500, "rpc error making call: No cluster leader")


# The WAN, and leaving


def test_a_server_joins_the_wan_once_again_and_again_or_gives_up() -> None:
    with Mesh(datacenters=("dc1", "dc2")) as mesh:
        first, second = mesh.servers
        # retry_join_wan brought them together; start_join_wan does too.
        assert len(first.api("/v1/agent/members?wan=1")) == 2
        second.stop()
        for file in second.data_dir.glob("serf/*.snapshot"):
            file.unlink()
        configure(second, retry_join_wan=None, start_join_wan=[first.listen.wan])
        second.start()
        mesh.wait_healthy()
        # Nobody is there: after the second attempt it gives up, with both pauses of a twentieth of a second.
        second.stop()
        configure(
            second,
            start_join_wan=None,
            retry_join_wan=[f"{first.host}:1"],
            retry_interval_wan="50ms",
            retry_max_wan=2,
        )
        second.launch()
        line = second.wait_for_log("max join WAN retry exhausted, exiting")
        assert f"{first.host}:1" in line
        wait_until(lambda: not second.running, 20)
        assert second.stop() == 1


@pytest.mark.parametrize("rejoins", [True, False])
def test_a_node_that_left_comes_back_by_itself_where_it_was_told_to(rejoins: bool) -> None:
    with Mesh(clients=1, config={"rejoin_after_leave": rejoins}) as mesh:
        client = mesh.clients[0]
        assert client.leave() == 0
        configure(client, retry_join=None)
        client.start()
        if rejoins:
            client.wait_for("/v1/agent/members", until=lambda members: len(members) == 2)
        else:
            # The snapshot has been read by now: an agent that runs has tried whom it knew.
            client.wait_for_log("agent running")
            assert len(client.api("/v1/agent/members")) == 1
