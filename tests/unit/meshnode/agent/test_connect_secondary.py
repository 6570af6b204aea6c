"""Two datacenters without a network: the primary's CA, the secondary's state, and calls between them that fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import pytest
from cryptography import x509

from meshnode.acl.authorizer import PermissionDeniedError
from meshnode.agent.connect_secondary import SecondaryCa, parse_told
from meshnode.agent.primary_follow import follow
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.connect.model import NodeTrust
from meshnode.connect.secondary import datacenter_node
from meshnode.control.command import ConnectReport
from meshnode.rpc.method import RpcError
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.connect_cluster import ConnectCluster
from tests.support.state_api import Grants
from tests.support.virtual_time import run


class Pair:
    """``dc1`` leads, ``dc2`` follows; ``cut`` is the link."""

    def __init__(self, ttl: str = "72h") -> None:
        self.primary = ConnectCluster(ttl=ttl)
        self.secondary = ConnectCluster(datacenter="dc2", secondary=True, seed=8)
        self.cut = False
        self.ca = SecondaryCa(
            lambda: self.secondary.held,
            self.ask,
            datacenter="dc2",
            wall=self.secondary.wall,
            alive=lambda: self.secondary.alive,
        )
        self.secondary.on_applied = self.ca.applied
        self.primary.alive.add(datacenter_node("dc2"))
        self.asked: list[str] = []

    async def ask(self, method: str, body: Mapping[str, Any]) -> Any:
        if self.cut:
            await asyncio.sleep(0.01)
            raise MeshError("No path to datacenter dc1")
        self.asked.append(method)
        return await self.primary.call(method, body)

    def chain(self, answer: Mapping[str, Any]) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates(answer["CertPEM"].encode())


def pair(scenario: Callable[[Pair], Awaitable[None]], **given: Any) -> None:
    async def whole() -> None:
        both = Pair(**given)
        both.primary.ca.lead(1)
        tasks = [
            spawn(follow("ca", partial(both.ca.step, epoch=1), random.Random(1)), name="ca"),
            spawn(follow("report", both.ca.report, random.Random(2)), name="report"),
        ]
        await asyncio.sleep(10)
        await scenario(both)
        await cancel_and_wait(*tasks)
        await both.primary.ca.stop()

    run(whole())


def test_leaves_of_the_secondary_chain_to_the_primarys_root_in_one_trust_domain() -> None:
    async def scenario(both: Pair) -> None:
        leaf, _ = await both.secondary.cache().leaf("web")
        first, middle = both.chain({"CertPEM": leaf.certificate_pem})
        (root,) = both.primary.store.ca.roots
        first.verify_directly_issued_by(middle)
        middle.verify_directly_issued_by(x509.load_pem_x509_certificate(root.root_cert.encode()))
        domain = both.primary.store.ca.config.trust_domain
        assert leaf.uri == f"spiffe://{domain}/ns/default/dc/dc2/svc/web"
        assert leaf.root_id == root.id
        assert both.secondary.store.ca.config.leaf_cert_ttl == both.primary.store.ca.config.leaf_cert_ttl

    pair(scenario)


def test_the_key_of_the_primarys_root_never_leaves_it() -> None:
    async def scenario(both: Pair) -> None:
        (root,) = both.primary.store.ca.roots
        assert root.id in {row.root_id for row in both.secondary.store.ca.keys}
        assert both.primary.store.ca.key_of(root.id) not in {row.pem for row in both.secondary.store.ca.keys}

    pair(scenario)


def test_a_rotation_in_the_primary_waits_for_the_secondary_which_gets_another_intermediate() -> None:
    async def scenario(both: Pair) -> None:
        cache = both.secondary.cache()
        old, _ = await cache.leaf("web")
        await asyncio.sleep(5)
        both.cut = True
        started = both.primary.ca.rotate({"Action": "start"}, "")
        await started
        await asyncio.sleep(60)
        before = both.primary.store.ca
        assert before.rotation.phase == "acknowledge"
        both.cut = False
        await asyncio.sleep(40)
        active = both.primary.store.ca.active
        assert active.name == "Consul CA 2"
        assert both.secondary.store.ca.active.id == active.id
        # The leaf of the old root is replaced, within the time over which that is spread, and then the root retires.
        await asyncio.sleep(4000)
        new, _ = await cache.leaf("web")
        assert (old.root_id != active.id, new.root_id) == (True, active.id)
        assert both.primary.store.ca.rotation is None
        assert [root.id for root in both.secondary.store.ca.roots] == [active.id]
        await cache.stop()

    pair(scenario)


def test_while_it_is_cut_off_the_secondary_signs_on_and_a_rotation_does_not_wait_for_who_is_down() -> None:
    async def scenario(both: Pair) -> None:
        both.cut = True
        both.primary.alive.discard(datacenter_node("dc2"))
        await both.primary.ca.rotate({"Action": "start"}, "")
        await asyncio.sleep(300)
        assert both.primary.store.ca.active.name == "Consul CA 2"
        leaf, _ = await both.secondary.cache().leaf("api")
        # The old root is kept for it.
        assert leaf.root_id in {root.id for root in both.primary.store.ca.roots}
        both.cut = False
        await asyncio.sleep(10)
        assert both.secondary.store.ca.active.name == "Consul CA 2"

    pair(scenario)


def test_a_root_that_the_primary_distrusts_is_distrusted_here_too() -> None:
    async def scenario(both: Pair) -> None:
        cache = both.secondary.cache()
        old, _ = await cache.leaf("web")
        await both.primary.ca.rotate({"Action": "start", "Force": True}, "")
        await both.primary.ca.rotate({"Action": "distrust"}, "")
        await asyncio.sleep(40)
        assert both.secondary.store.ca.distrusted == both.primary.store.ca.distrusted == (old.root_id,)
        assert cache.bundle.distrusted == {old.root_id}
        await cache.stop()

    pair(scenario)


def test_what_the_primary_revokes_and_what_it_says_of_leaves_holds_here_too() -> None:
    async def scenario(both: Pair) -> None:
        await both.primary.call("ConnectCA.Revoke", {"SerialNumber": "AB:01"})
        config = {"Provider": "consul", "Config": {"LeafCertTTL": "1h"}}
        await both.primary.ca.configure({"Config": config}, "")
        await asyncio.sleep(40)
        assert both.secondary.store.is_revoked("ab:01")
        assert both.secondary.store.ca.config.leaf_cert_ttl == 3600.0

    pair(scenario)


def test_an_intermediate_is_replaced_when_half_of_its_life_is_over() -> None:
    async def scenario(both: Pair) -> None:
        (before,) = both.secondary.store.ca.keys
        for cluster in (both.primary, both.secondary):
            cluster.skew = 183 * 86400.0
        await asyncio.sleep(40)
        (after,) = both.secondary.store.ca.keys
        assert after.root_id == before.root_id
        assert after.intermediate != before.intermediate

    pair(scenario)


def test_nothing_is_written_or_asked_for_again_while_nothing_changes() -> None:
    async def scenario(both: Pair) -> None:
        index, count = both.secondary.machine.last_index, both.asked.count("ConnectCA.SignIntermediate")
        reports = both.asked.count("ConnectCA.Report")
        await asyncio.sleep(250)
        assert both.secondary.machine.last_index == index
        assert both.asked.count("ConnectCA.SignIntermediate") == count == 1
        assert both.asked.count("ConnectCA.Report") == reports
        await asyncio.sleep(100)  # but a primary that lost what it was told hears it again
        assert both.asked.count("ConnectCA.Report") == reports + 1

    pair(scenario)


def test_the_primary_is_told_what_all_nodes_of_the_secondary_trust() -> None:
    async def scenario(both: Pair) -> None:
        (root,) = both.primary.store.ca.roots
        await both.secondary._submit(ConnectReport(NodeTrust("n9", ("other",), ("other",))))
        await asyncio.sleep(1)
        told = {row.node: row for row in both.primary.store.trust()}[datacenter_node("dc2")]
        assert (told.roots, set(told.leaf_roots)) == ((root.id,), {root.id, "other"})
        # Nothing that all trust: what was told last stays, as if it were still waited for.
        await both.secondary._submit(ConnectReport(NodeTrust("N1", ("other",))))
        await asyncio.sleep(1)
        assert told in both.primary.store.trust()

    pair(scenario)


def test_a_datacenter_that_had_a_ca_of_its_own_is_taken_over() -> None:
    async def whole() -> None:
        both = Pair()
        own = ConnectCluster(datacenter="dc2")
        own.ca.lead(1)
        await asyncio.sleep(1)
        await own.ca.stop()
        both.primary.ca.lead(1)
        await asyncio.sleep(1)
        both.secondary.machine.connect.set(1, own.store.ca, 0)
        await both.ca.step(0, 1)
        ours, theirs = both.secondary.store.ca, both.primary.store.ca
        assert ours.config.cluster_id == theirs.config.cluster_id
        assert [root.id for root in ours.roots] == [root.id for root in theirs.roots]
        assert [bool(row.intermediate) for row in ours.keys] == [True]
        await both.primary.ca.stop()

    run(whole())


def test_only_an_operator_gets_an_intermediate_and_only_from_the_primary() -> None:
    async def scenario(both: Pair) -> None:
        with pytest.raises(RpcError, match=r"^not the primary datacenter$"):
            await both.secondary.ca.sign_intermediate({"CSR": ""}, "")
        with pytest.raises(RpcError, match="is not a PKCS #10 request"):
            await both.primary.ca.sign_intermediate({"CSR": "rubbish"}, "")
        both.primary.rights = Grants.of("operator::read")
        with pytest.raises(PermissionDeniedError):
            await both.primary.ca.sign_intermediate({"CSR": ""}, "")

    pair(scenario)


def test_roots_are_taken_over_though_the_primary_signs_no_intermediate() -> None:
    async def whole() -> None:
        both = Pair()
        both.primary.ca.lead(1)
        await asyncio.sleep(1)
        both.primary.rights = Grants.of("operator::read")
        with pytest.raises(PermissionDeniedError):
            await both.ca.step(0, 1)
        assert [root.active for root in both.secondary.store.ca.roots] == [False]
        with pytest.raises(MeshError, match="it can sign nothing"):
            both.secondary.ca._signers.active(both.secondary.store.ca)._authority()  # type: ignore[attr-defined]
        await both.primary.ca.stop()

    run(whole())


def reply() -> dict[str, Any]:
    made: dict[str, Any] = {}

    async def whole() -> None:
        cluster = ConnectCluster()
        cluster.ca.lead(1)
        await asyncio.sleep(1)
        made["roots"] = await cluster.call("ConnectCA.Roots", {})
        made["config"] = await cluster.call("ConnectCA.ConfigurationGet", {})
        await cluster.ca.stop()

    run(whole())
    return made


def test_an_answer_that_is_no_ca_is_refused() -> None:
    made = reply()
    assert parse_told(made["roots"], made["config"]).roots
    (root,) = made["roots"]["Roots"]
    for changed in (
        {"TrustDomain": "example.org"},
        {"TrustDomain": ""},
        {"Roots": [{**root, "ID": "00"}]},
        {"Roots": [{**root, "RootCert": "rubbish"}]},
        {"Roots": 5},
    ):
        with pytest.raises(RemoteProtocolError):
            parse_told({**made["roots"], **changed}, made["config"])
    with pytest.raises(RemoteProtocolError):
        parse_told(made["roots"], {"Provider": "other", "Config": {}})
