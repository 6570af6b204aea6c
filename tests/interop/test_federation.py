"""Two datacenters with everything sealed: calls from one to the other, names, failover, rules and certificates.

``dc1`` is the primary. Each has gossip keys of its own, and both share those of the WAN.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.base.gossip_key import generate_gossip_key
from meshnode.testing import ApiError, Mesh, MeshAgent
from meshnode.testing.waiting import wait_until
from tests.support.federation import (
    CONFIG,
    allowed,
    consul,
    dig,
    leaf,
    register,
    rewrite,
    roots,
    stop_servers,
    verified,
)
from tests.support.programs import needs

SEEN = "192.0.2.7"
WAN = "198.51.100.7"


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh(servers=1, clients=1, secure=True, datacenters=("dc1", "dc2"), config=CONFIG) as made:
        for datacenter in made.datacenters:
            key = generate_gossip_key(os.urandom)
            agents = [agent for agent in made if agent.datacenter == datacenter]
            for agent in agents:
                agent.kill()
                rewrite(agent, encrypt=key)
                (agent.data_dir / "serf" / "local.keyring").unlink()
            for agent in agents:
                agent.start()
        made.wait_healthy()
        made["dc2-server1"].wait_for("/v1/connect/ca/roots", timeout=60)
        yield made


@pytest.fixture
def near(mesh: Mesh) -> MeshAgent:
    """A client, which knows no other datacenter itself."""
    return mesh["dc1-client1"]


@pytest.fixture
def far(mesh: Mesh) -> MeshAgent:
    return mesh["dc2-server1"]


DC2 = {"dc": "dc2"}


# Pools


def test_both_datacenters_are_one_wan_pool_with_keys_of_its_own(mesh: Mesh) -> None:
    members = {m["Name"] for m in mesh["dc1-server1"].api("/v1/agent/members?wan=1")}
    assert members == {"dc1-server1.dc1", "dc2-server1.dc2"}
    lines = consul(mesh["dc2-server1"], "members", "-wan").splitlines()
    assert [line.split()[0] for line in lines] == ["Node", "dc1-server1.dc1", "dc2-server1.dc2"]
    keys = {dc: mesh[f"{dc}-server1"].api("/v1/operator/keyring") for dc in ("dc1", "dc2")}
    of = {(dc, row["WAN"]): set(row["Keys"]) for dc, found in keys.items() for row in found}
    assert of["dc1", True] == of["dc2", True]
    assert len({frozenset(ring) for ring in of.values()}) == 3


def test_servers_are_joined_over_the_wan_by_hand_too(mesh: Mesh) -> None:
    said = consul(mesh["dc2-server1"], "join", "-wan", mesh["dc1-server1"].listen.wan)
    assert said == "Successfully joined cluster by contacting 1 nodes.\n"


def test_datacenters_are_listed_with_the_nearest_first(mesh: Mesh) -> None:
    assert mesh["dc1-client1"].api("/v1/catalog/datacenters") == ["dc1", "dc2"]
    assert mesh["dc2-client1"].api("/v1/catalog/datacenters") == ["dc2", "dc1"]


# ?dc=


def test_keys_sessions_transactions_and_queries_are_written_where_they_are_asked_for(
    near: MeshAgent, far: MeshAgent
) -> None:
    assert near.api("/v1/kv/far/key", method="PUT", body=b"there", query=DC2) is True
    assert far.api("/v1/kv/far/key", query={"raw": ""}) == "there"
    assert near.request("/v1/kv/far/key").status == 404
    (row,) = near.api("/v1/kv/far/key", query=DC2)
    operations = [{"KV": {"Verb": "set", "Key": "far/txn", "Value": "dHhu"}}]
    assert near.api("/v1/txn", method="PUT", body=operations, query=DC2)["Errors"] is None
    assert far.api("/v1/kv/far/txn", query={"raw": ""}) == "txn"
    session = near.api("/v1/session/create", method="PUT", body={"Node": "dc2-client1"}, query=DC2)["ID"]
    assert [found["Node"] for found in far.api(f"/v1/session/info/{session}")] == ["dc2-client1"]
    taken = {"acquire": session, **DC2}
    assert near.api("/v1/kv/far/lock", method="PUT", body=b"", query=taken) is True
    assert near.api(f"/v1/session/renew/{session}", method="PUT", query=DC2)[0]["ID"] == session
    assert near.api(f"/v1/session/destroy/{session}", method="PUT", query=DC2) is True
    made = near.api("/v1/query", method="POST", body={"Name": "q", "Service": {"Service": "x"}}, query=DC2)[
        "ID"
    ]
    assert [query["ID"] for query in far.api("/v1/query")] == [made]
    assert near.api("/v1/query") == []
    near.api(f"/v1/query/{made}", method="DELETE", query=DC2)
    assert near.api("/v1/kv/far", method="DELETE", query={"recurse": "", **DC2}) is True
    assert far.request("/v1/kv/far/key").status == 404
    assert row["Key"] == "far/key"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/catalog/nodes",
        "/v1/catalog/services",
        "/v1/catalog/service/consul",
        "/v1/catalog/node/dc2-server1",
        "/v1/health/node/dc2-server1",
        "/v1/health/state/any",
        "/v1/health/service/consul",
        "/v1/coordinate/nodes",
        "/v1/operator/raft/configuration",
        "/v1/operator/autopilot/configuration",
        "/v1/operator/autopilot/health",
        "/v1/internal/ui/nodes",
        "/v1/internal/ui/services",
        "/v1/connect/intentions",
        "/v1/config/service-defaults",
        "/v1/connect/ca/roots",
        "/v1/session/list",
    ],
)
def test_a_read_with_dc_is_the_answer_of_that_datacenter(path: str, near: MeshAgent, far: MeshAgent) -> None:
    def told(text: str) -> Any:
        # What is another one by the moment: coordinates, contact, the time of a health check.
        return [word for word in ("dc2-server1", "dc2-client1", "dc1-server1") if word in text]

    answer, own = near.request(path, query=DC2), far.request(path)
    assert (answer.status, told(answer.text)) == (own.status, told(own.text)) == (200, told(own.text))
    assert "dc1-server1" not in answer.text
    if "x-consul-index" in own.headers and "autopilot/health" not in path:
        assert "x-consul-index" in answer.headers


def test_a_blocking_query_to_the_other_datacenter_ends_with_the_change(
    near: MeshAgent, far: MeshAgent
) -> None:
    far.api("/v1/kv/watched", method="PUT", body=b"1")
    index = near.request("/v1/kv/watched", query=DC2).headers["x-consul-index"]
    answers: list[Any] = []

    def wait() -> None:
        began = time.monotonic()
        value = near.api(
            "/v1/kv/watched", query={"index": index, "wait": "60s", "raw": "", **DC2}, timeout=70
        )
        answers.append((value, time.monotonic() - began))

    thread = threading.Thread(target=wait)
    thread.start()
    far.api("/v1/kv/watched", method="PUT", body=b"2")
    thread.join(30)
    assert [value for value, _ in answers] in ([2], ["2"])
    assert answers[0][1] < 30


def test_an_event_of_the_other_datacenter_is_fired_there_only(
    mesh: Mesh, near: MeshAgent, far: MeshAgent
) -> None:
    fired = near.api("/v1/event/fire/deploy", method="PUT", body=b"v1", query=DC2)["ID"]
    far.wait_for("/v1/event/list?name=deploy", until=lambda found: [e["ID"] for e in found] == [fired])
    assert mesh["dc1-server1"].api("/v1/event/list?name=deploy") == []
    assert near.api("/v1/event/list?name=deploy") == []


@pytest.mark.parametrize("agent", ["dc1-client1", "dc1-server1"])
def test_a_datacenter_that_nobody_knows_is_named(mesh: Mesh, agent: str) -> None:
    for path in ("/v1/kv/x", "/v1/catalog/nodes", "/v1/event/fire/x"):
        method = "PUT" if "event" in path else "GET"
        with pytest.raises(ApiError) as refused:
            mesh[agent].api(path, method=method, query={"dc": "nowhere"})
        assert refused.value.status == 500
        assert "No path to datacenter" in refused.value.text
        assert "nowhere" in refused.value.text


# Catalog, names, failover


@needs("dig")
def test_services_of_the_other_datacenter_are_found_with_the_addresses_that_it_has_outside(
    near: MeshAgent, far: MeshAgent
) -> None:
    register(far, "shop", SEEN, WAN, 8080)
    answer = near.request("/v1/catalog/service/shop", query=DC2)
    assert answer.headers["x-consul-translate-addresses"] == "true"
    assert [row["Address"] for row in answer.value] == [WAN]
    assert [row["Node"]["Address"] for row in near.api("/v1/health/service/shop", query=DC2)] == [WAN]
    assert [row["Address"] for row in far.api("/v1/catalog/service/shop")] == [SEEN]
    for agent, address in ((near, WAN), (far, SEEN)):
        assert dig(agent, "shop.service.dc2.consul") == [address]
        assert dig(agent, "node-of-shop.node.dc2.consul") == [address]
    assert dig(near, "shop.service.consul") == []
    assert dig(near, "shop.service.dc2.consul", "SRV")[0].split()[2] == "8080"
    assert dig(near, "shop.service.dc9.consul") == []


@needs("dig")
@pytest.mark.parametrize("failover", [{"NearestN": 1}, {"Datacenters": ["dc9", "dc2"]}])
def test_a_prepared_query_goes_on_in_the_other_datacenter(
    failover: dict[str, Any], near: MeshAgent, far: MeshAgent
) -> None:
    register(far, "stock", SEEN, WAN)
    body = {"Name": "anywhere", "Service": {"Service": "stock", "Failover": failover}}
    made = near.api("/v1/query", method="POST", body=body)["ID"]
    found = near.api("/v1/query/anywhere/execute")
    assert (found["Datacenter"], found["Failovers"], len(found["Nodes"])) == ("dc2", 1, 1)
    assert dig(near, "anywhere.query.consul") == [WAN]
    near.api(f"/v1/query/{made}", method="DELETE")


# Rules of the primary


def test_intentions_are_written_in_the_primary_from_wherever_and_hold_everywhere(
    mesh: Mesh, near: MeshAgent, far: MeshAgent
) -> None:
    body = {"SourceName": "web", "DestinationName": "shop", "Action": "deny", "Meta": {"why": "test"}}
    made = mesh["dc2-client1"].api("/v1/connect/intentions", method="POST", body=body)["ID"]
    there = near.api(f"/v1/connect/intentions/{made}")
    here = far.wait_for(f"/v1/connect/intentions/{made}")
    own = ("CreateIndex", "ModifyIndex")
    assert {k: v for k, v in here.items() if k not in own} == {k: v for k, v in there.items() if k not in own}
    assert not any(allowed(agent, "web", "shop") for agent in mesh)
    near.api(f"/v1/connect/intentions/{made}", method="PUT", body={**body, "Action": "allow"})
    wait_until(lambda: all(allowed(agent, "web", "shop") for agent in mesh), 20)
    far.api(f"/v1/connect/intentions/{made}", method="DELETE")
    wait_until(lambda: far.api("/v1/connect/intentions") == [], 20)
    assert near.api("/v1/connect/intentions") == []


def test_config_entries_are_the_primarys(mesh: Mesh, near: MeshAgent, far: MeshAgent) -> None:
    entry = {"Kind": "service-defaults", "Name": "shop", "Protocol": "http"}
    assert mesh["dc2-client1"].api("/v1/config", method="PUT", body=entry) is True
    assert near.api("/v1/config/service-defaults/shop")["Protocol"] == "http"
    assert far.wait_for("/v1/config/service-defaults/shop")["Protocol"] == "http"
    near.api("/v1/config/service-defaults/shop", method="DELETE")
    wait_until(lambda: far.request("/v1/config/service-defaults/shop").status == 404, 20)


# Certificates


@needs("openssl")
def test_leaves_of_both_datacenters_verify_everywhere_in_one_trust_domain(mesh: Mesh, tmp_path: Path) -> None:
    first, second = mesh["dc1-client1"], mesh["dc2-client1"]
    assert roots(first)["TrustDomain"] == roots(second)["TrustDomain"]
    assert [r["ID"] for r in roots(first)["Roots"]] == [r["ID"] for r in roots(second)["Roots"]]
    for agent, certificates in ((first, 1), (second, 2)):
        found = leaf(agent, "shop")
        assert found["CertPEM"].count("BEGIN CERTIFICATE") == certificates
        assert f"/dc/{agent.datacenter}/svc/shop" in found["ServiceURI"]
        for peer in (first, second):
            assert verified(tmp_path, found["CertPEM"], roots(peer)["Roots"]) == ""


@needs("openssl")
def test_a_rotation_in_the_primary_gives_the_secondary_another_intermediate(
    mesh: Mesh, tmp_path: Path
) -> None:
    first, second = mesh["dc1-client1"], mesh["dc2-client1"]
    old, before = roots(second)["ActiveRootID"], roots(second)["Roots"]
    leaf(second, "shop")
    # Asked for in the secondary: it is the primary's to do.
    body = {"Provider": "consul", "Config": {"PrivateKeyType": "ec", "PrivateKeyBits": 384}}
    second.api("/v1/connect/ca/configuration", method="PUT", body=body)
    second.wait_for("/v1/agent/connect/ca/roots", until=lambda found: found["ActiveRootID"] != old)
    new = roots(second)["ActiveRootID"]
    first.wait_for("/v1/agent/connect/ca/roots", until=lambda found: found["ActiveRootID"] == new)
    changed = leaf(second, "stock")
    assert verified(tmp_path, changed["CertPEM"], [r for r in roots(first)["Roots"] if r["ID"] == new]) == ""
    # Who trusts only the old root verifies it as well: the new one's certificate by the old one goes along.
    trusted = [r for r in before if r["ID"] == old]
    assert verified(tmp_path, changed["CertPEM"], trusted) == ""
    shown = second.api("/v1/connect/ca/configuration")
    assert shown == first.api("/v1/connect/ca/configuration")


# A cut


def test_a_datacenter_that_is_cut_off_goes_on_and_catches_up(mesh: Mesh, tmp_path: Path) -> None:
    first, second, far = mesh["dc1-server1"], mesh["dc2-client1"], mesh["dc2-server1"]
    body = {"SourceName": "cut", "DestinationName": "shop", "Action": "deny"}
    first.api("/v1/connect/intentions", method="POST", body=body)
    wait_until(lambda: not allowed(far, "cut", "shop"), 20)
    killed = stop_servers(mesh, "dc1")
    # All that is local, and what the primary said before.
    assert second.api("/v1/kv/alone", method="PUT", body=b"1") is True
    assert not allowed(second, "cut", "shop")
    assert verified(tmp_path, leaf(second, "fresh")["CertPEM"], roots(second)["Roots"]) == ""
    refused = second.request("/v1/connect/intentions", method="POST", body={**body, "SourceName": "other"})
    assert refused.status == 500
    wait_until(lambda: "No path to datacenter" in second.request("/v1/kv/x", query={"dc": "dc1"}).text, 30)
    for agent in killed:
        agent.start()
    mesh.wait_healthy()
    first.api("/v1/connect/intentions", method="POST", body={**body, "SourceName": "healed"})
    wait_until(lambda: not allowed(far, "healed", "shop"), 30)
    assert second.api("/v1/kv/x", method="PUT", body=b"1", query={"dc": "dc1"}) is True
    assert "the copy of the primary datacenter may be old" in far.log


def test_a_primary_that_says_nothing_any_more_is_given_up_in_time_and_followed_again(mesh: Mesh) -> None:
    """Frozen, as behind a link that drops everything: nothing refuses, nothing answers."""
    first, second, far = mesh["dc1-server1"], mesh["dc2-client1"], mesh["dc2-server1"]
    mesh["dc1-client1"].kill()
    first.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        waiting = second.request("/v1/kv/x", query={"dc": "dc1", "index": "1", "wait": "5m"}, timeout=60)
        assert (waiting.status, time.monotonic() - began < 40) == (500, True)
        assert second.api("/v1/kv/alone", method="PUT", body=b"2") is True
        wait_until(lambda: second.request("/v1/kv/x", query={"dc": "dc1"}).status == 500, 5)
        assert "No path to datacenter" in second.request("/v1/kv/x", query={"dc": "dc1"}).text
    finally:
        first.signal(signal.SIGCONT)
    mesh["dc1-client1"].start()
    mesh.wait_healthy()
    body = {"SourceName": "thawed", "DestinationName": "shop", "Action": "deny"}
    first.api("/v1/connect/intentions", method="POST", body=body)
    wait_until(lambda: not allowed(far, "thawed", "shop"), 30)
