"""The leader's part of Connect: the first root, leaves, settings, rotations, and who may do what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from meshnode.acl.authorizer import PermissionDeniedError
from meshnode.agent.connect_ca import MAX_SIGNED_PER_SECOND, SWITCH_WAIT
from meshnode.base.errors import MeshError
from meshnode.base.spiffe import AgentId, ServiceId
from meshnode.catalog.model import Node, serf_check
from meshnode.catalog.store import Registration
from meshnode.connect.model import NodeTrust
from meshnode.connect.settings import parse_ca_settings
from meshnode.control.command import ConnectCaSet, ConnectReport, Register
from meshnode.pki import connect_ca, keys
from meshnode.rpc.method import RpcError
from meshnode.runtime.tasks import spawn
from tests.support.connect_cluster import START, ConnectCluster
from tests.support.state_api import Grants
from tests.support.virtual_time import run

Scenario = Callable[[ConnectCluster], Awaitable[None]]


def led(scenario: Scenario, **given: Any) -> None:
    """Run ``scenario`` on a cluster whose leader has begun its term."""

    async def whole() -> None:
        cluster = ConnectCluster(**given)
        cluster.ca.lead(1)
        await asyncio.sleep(0.1)
        await scenario(cluster)
        await cluster.ca.stop()

    run(whole())


def request(cluster: ConnectCluster, identity: Any = None) -> str:
    domain = cluster.store.ca.config.trust_domain
    return connect_ca.create_leaf_request(keys.generate_key(), identity or ServiceId(domain, "dc1", "web"))


def own_key(kind: Any = "ec-p256") -> str:
    return keys.serialize_key(keys.generate_key(kind))


async def configure(cluster: ConnectCluster, dry_run: bool = False, **config: Any) -> Any:
    body = {"Config": {"Provider": "consul", "Config": config}, "DryRun": dry_run}
    return await cluster.ca.configure(body, "token")


def names(cluster: ConnectCluster) -> list[tuple[str, bool]]:
    return [(root.name, root.active) for root in cluster.store.ca.roots]


def test_the_first_term_makes_a_root_and_a_trust_domain_and_the_next_keeps_them() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        ca = cluster.store.ca
        assert names(cluster) == [("Consul CA 1", True)]
        assert ca.key_of(ca.active.id)
        cluster.ca.lead(0)
        cluster.ca.lead(2)
        await asyncio.sleep(100)
        assert cluster.store.ca == ca

    led(scenario)


def test_a_leader_whose_state_changed_while_it_made_the_first_root_writes_nothing() -> None:
    async def scenario() -> None:
        cluster, other = ConnectCluster(), ConnectCluster()
        other.ca.lead(1)
        await asyncio.sleep(0.1)
        await other.ca.stop()
        made = cluster.ca._first

        async def overtaken() -> Any:
            first = await made()
            if cluster.store.ca.config is None:
                await cluster._submit(ConnectCaSet(other.store.ca, 0))
            return first

        cluster.ca._first = overtaken  # type: ignore[method-assign]
        cluster.ca.lead(1)
        await asyncio.sleep(5)
        assert cluster.store.ca.config.cluster_id == other.store.ca.config.cluster_id
        assert cluster.store.index == 1
        await cluster.ca.stop()

    run(scenario())


def test_where_connect_is_off_there_is_no_root_and_every_method_says_so() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        assert cluster.store.ca.config is None
        for method in cluster.ca.methods.values():
            with pytest.raises(RpcError, match="Connect must be enabled in order to use this endpoint"):
                await method({}, "")

    led(scenario, enabled=False)


def test_the_first_root_can_be_given() -> None:
    key = keys.generate_key()
    made = connect_ca.create_root(
        "Mine",
        "x.consul",
        at=datetime.fromtimestamp(START, UTC),
        entropy=bytes,
        key=key,
    )
    settings = parse_ca_settings(
        "", {"private_key": keys.serialize_key(key), "root_cert": made.certificate_pem}
    )

    async def scenario(cluster: ConnectCluster) -> None:
        assert names(cluster) == [("Mine", True)]
        assert (await cluster.ca.sign({"CSR": request(cluster)}, ""))["RootID"] == cluster.store.ca.active.id

    led(scenario, settings=settings)


def test_a_leaf_is_signed_for_who_may_write_the_service() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        cluster.rights = Grants.of("service:web:write")
        reply = await cluster.ca.sign({"CSR": request(cluster)}, "token")
        assert reply["Service"] == "web"
        assert reply["ServiceURI"].endswith("/ns/default/dc/dc1/svc/web")
        assert reply["RootID"] == cluster.store.ca.active.id
        assert reply["ModifyIndex"] == cluster.machine.last_index
        cluster.rights = Grants.of("service:web:read")
        with pytest.raises(PermissionDeniedError):
            await cluster.ca.sign({"CSR": request(cluster)}, "token")

    led(scenario)


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (ServiceId("other.consul", "dc1", "web"), "trust domain"),
        (AgentId("other.consul", "dc1", "n"), "not the id of a service"),
    ],
)
def test_nobody_else_gets_one(identity: Any, reason: str) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        with pytest.raises(MeshError, match=reason):
            await cluster.ca.sign({"CSR": request(cluster, identity)}, "")
        with pytest.raises(RpcError, match="not a PKCS #10 request"):
            await cluster.ca.sign({"CSR": "x"}, "")

    led(scenario)


def test_the_rate_of_signatures_is_bounded() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        pem = request(cluster)
        for _ in range(MAX_SIGNED_PER_SECOND):
            await cluster.ca.sign({"CSR": pem}, "")
        with pytest.raises(RpcError, match="try again soon"):
            await cluster.ca.sign({"CSR": pem}, "")
        await asyncio.sleep(1)
        await cluster.ca.sign({"CSR": pem}, "")

    led(scenario)


def test_other_settings_keep_the_root() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        roots, before = cluster.store.ca.roots, cluster.store.ca.config
        assert await configure(cluster, LeafCertTTL="1h") == {"Plan": []}
        assert cluster.store.ca.roots == roots
        after = cluster.store.ca.config
        assert (after.leaf_cert_ttl, after.cluster_id) == (3600.0, before.cluster_id)
        assert after.modify_index > before.modify_index

    led(scenario)


def test_another_key_is_another_root_which_signs_at_once_when_nobody_is_waited_for() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        key = own_key("rsa-2048")
        reply = await configure(cluster, PrivateKey=key)
        assert next(step.partition(":")[0] for step in reply["Plan"]) == "distribute"
        assert names(cluster) == [("Consul CA 1", False), ("Consul CA 2", True)]
        assert cluster.store.ca.active.intermediates
        chain = (await cluster.ca.sign({"CSR": request(cluster)}, ""))["CertPEM"]
        assert chain.count("BEGIN CERTIFICATE") == 2
        # The same key again, and the one that is hidden, are no other root.
        for again in (key, "hidden"):
            assert await configure(cluster, PrivateKey=again) == {"Plan": []}
        assert len(names(cluster)) == 2
        # No key any more: one is made.
        await configure(cluster)
        assert names(cluster)[-1] == ("Consul CA 3", True)
        assert key not in repr(cluster.store.ca)

    led(scenario)


def test_a_dry_run_tells_the_steps_and_changes_nothing() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        before, index = cluster.store.ca, cluster.machine.last_index
        assert len((await configure(cluster, dry_run=True, PrivateKey=own_key()))["Plan"]) == 5
        assert len((await cluster.ca.rotate({"Action": "start", "DryRun": True}, ""))["Plan"]) == 5
        assert (cluster.store.ca, cluster.machine.last_index) == (before, index)

    led(scenario)


def test_a_change_of_the_root_waits_a_moment_for_the_nodes() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        old = cluster.store.ca.active.id
        await cluster._submit(ConnectReport(NodeTrust("n1", (old,))))
        changing = spawn(cluster.ca.rotate({"Action": "start"}, ""), name="rotate")
        await asyncio.sleep(1)
        assert not changing.done()
        assert cluster.store.ca.rotation.phase == "acknowledge"
        new = cluster.store.ca.rotation.new
        await cluster._submit(ConnectReport(NodeTrust("n1", (new, old))))
        at = cluster.wall()
        await changing
        assert cluster.wall() - at < 0.1
        assert cluster.store.ca.active.id == new

    led(scenario)


def test_a_node_that_does_not_report_holds_the_switch_until_somebody_decides() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        await cluster._submit(ConnectReport(NodeTrust("n1", (cluster.store.ca.active.id,))))
        at = cluster.wall()
        await cluster.ca.rotate({"Action": "start"}, "")
        assert cluster.wall() - at >= SWITCH_WAIT
        with pytest.raises(RpcError, match="is in phase acknowledge"):
            await cluster.ca.rotate({"Action": "start"}, "")
        await cluster.ca.rotate({"Action": "pause"}, "")
        assert cluster.store.ca.rotation.paused
        cluster.alive.clear()
        await asyncio.sleep(100)
        assert cluster.store.ca.rotation.phase == "acknowledge"
        await cluster.ca.rotate({"Action": "abort"}, "")
        assert names(cluster) == [("Consul CA 1", True)]
        await cluster.ca.rotate({"Action": "start", "Force": True}, "")
        assert names(cluster)[-1][1]
        with pytest.raises(RpcError, match="signs already"):
            await cluster.ca.rotate({"Action": "abort"}, "")
        with pytest.raises(RpcError, match="write start, pause, resume, abort or distrust"):
            await cluster.ca.rotate({"Action": "stop"}, "")

    led(scenario)


def test_a_root_that_is_distrusted_is_gone_whoever_has_not_reported() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        old = cluster.store.ca.active.id
        with pytest.raises(RpcError, match="no rotation is running"):
            await cluster.ca.rotate({"Action": "distrust"}, "")
        await cluster._submit(ConnectReport(NodeTrust("n1", (old,), (old,))))
        await cluster.ca.rotate({"Action": "start", "Force": True}, "")
        assert names(cluster) == [("Consul CA 1", False), ("Consul CA 2", True)]
        await cluster.ca.rotate({"Action": "distrust"}, "")
        assert names(cluster) == [("Consul CA 2", True)]
        assert cluster.store.ca.rotation is None
        assert cluster.store.ca.distrusted == (old,)

    led(scenario)


def test_a_node_that_goes_down_is_not_waited_for_a_moment_longer() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        await cluster._submit(ConnectReport(NodeTrust("n1", (cluster.store.ca.active.id,))))
        await cluster.ca.rotate({"Action": "start"}, "")
        await asyncio.sleep(0.1)
        cluster.alive.clear()
        down = Registration(Node(name="n1", address="127.0.0.1"), None, (serf_check("n1", alive=False),))
        await cluster._submit(Register(down, 1.0))
        await asyncio.sleep(0.1)
        assert names(cluster)[-1] == ("Consul CA 2", True)

    led(scenario)


def test_one_that_is_started_paused_signs_nothing_before_it_is_resumed() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        at = cluster.wall()
        await cluster.ca.rotate({"Action": "start", "Paused": True}, "")
        assert cluster.wall() - at < SWITCH_WAIT
        await asyncio.sleep(100)
        assert names(cluster) == [("Consul CA 1", True), ("Consul CA 2", False)]
        assert cluster.store.ca.rotation.phase == "distribute"
        await cluster.ca.rotate({"Action": "resume"}, "")
        assert names(cluster)[-1] == ("Consul CA 2", True)

    led(scenario)


def test_a_new_leader_goes_on_with_a_rotation() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        old = cluster.store.ca.active.id
        await cluster._submit(ConnectReport(NodeTrust("n1", (old,))))
        await cluster.ca.rotate({"Action": "start"}, "")
        cluster.ca.lead(0)
        new = cluster.store.ca.rotation.new
        await cluster._submit(ConnectReport(NodeTrust("n1", (new, old))))
        await asyncio.sleep(100)
        assert cluster.store.ca.active.id == old
        cluster.ca.lead(2)
        await asyncio.sleep(2)
        assert cluster.store.ca.active.id == new
        assert [root.id for root in cluster.store.ca.roots] == [new]

    led(scenario)


def test_a_root_is_replaced_before_its_end_without_anybody_asking() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        cluster.skew += 3280 * 86400.0
        await asyncio.sleep(60)
        assert names(cluster) == [("Consul CA 1", True)]
        cluster.skew += 10 * 86400.0
        await asyncio.sleep(60)
        assert names(cluster)[-1] == ("Consul CA 2", True)

    led(scenario)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"LeafCertTTL": "0s"}, "LeafCertTTL: 0s"),
        ({"PrivateKey": "SECRET"}, "PrivateKey: this is not a private key"),
        ({"PrivateKey": "SECRET", "RootCert": "x"}, "not an X.509 certificate"),
    ],
)
def test_settings_that_can_not_be_used_change_nothing_and_are_not_quoted(
    config: dict[str, Any], reason: str
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        before = cluster.store.ca
        with pytest.raises(RpcError, match=reason) as refused:
            await configure(cluster, **config)
        assert "SECRET" not in str(refused.value)
        assert cluster.store.ca == before

    led(scenario)


def test_settings_and_rotations_need_operator_write() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        cluster.rights = Grants.of("operator::read", "service:*:write")
        with pytest.raises(PermissionDeniedError):
            await configure(cluster)
        with pytest.raises(PermissionDeniedError):
            await cluster.ca.rotate({"Action": "start"}, "")
        cluster.rights = Grants.of("operator::write")
        await configure(cluster)

    led(scenario)


def test_what_keeps_a_key_elsewhere_from_being_kept_up_is_told_once_until_it_changes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        faults = iter(["sealed", "sealed", "away", "", "away"])

        async def fails(*_: Any) -> None:
            if reason := next(faults, ""):
                raise MeshError(f"Vault is {reason}")

        monkeypatch.setattr(cluster.ca, "_keep_up_keys", fails)
        await asyncio.sleep(300)

    led(scenario)
    told = [
        record.getMessage().rpartition(" ")[2] for record in caplog.records if "needs a look" in record.msg
    ]
    assert told == ["sealed", "away", "away"]
