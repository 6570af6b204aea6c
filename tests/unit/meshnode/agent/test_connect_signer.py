"""From one provider to the other and back: the leader's CA with a stand-in for Vault."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.base.spiffe import ServiceId
from meshnode.connect.model import NodeTrust
from meshnode.connect.settings import parse_ca_settings
from meshnode.connect.vault import parse_vault_key
from meshnode.control.command import ConnectReport
from meshnode.control.endpoints.connect_ca import METHODS
from meshnode.pki import connect_ca, keys
from meshnode.rpc.method import RpcError
from tests.support.connect_cluster import ConnectCluster
from tests.support.vault_server import TOKEN, VaultServer
from tests.support.waiting import until

Scenario = Callable[[ConnectCluster], Awaitable[None]]


@pytest.fixture
def vault() -> Iterator[VaultServer]:
    with VaultServer() as server:
        yield server


def config(vault: VaultServer, **changes: Any) -> dict[str, Any]:
    given = {
        "Address": vault.address,
        "Token": TOKEN,
        "RootPKIPath": "connect-root",
        "IntermediatePKIPath": "connect-inter",
        "LeafCertTTL": "1h",
    }
    return {**given, **changes}


def led(vault: VaultServer, scenario: Scenario, *, first: str = "consul") -> None:
    """Run ``scenario`` on a cluster that has its first root, made by the provider ``first``."""

    async def whole() -> None:
        settings = parse_ca_settings("vault", config(vault)) if first == "vault" else None
        cluster = ConnectCluster(settings=settings)
        vault.skew = cluster.wall() - time.time()
        cluster.ca.lead(1)
        await until(lambda: cluster.store.ca.active, "the first root")
        await scenario(cluster)
        await cluster.ca.stop()

    asyncio.run(whole())


async def configure(cluster: ConnectCluster, provider: str, given: dict[str, Any], **more: Any) -> Any:
    return await cluster.ca.configure({"Config": {"Provider": provider, "Config": given}, **more}, "")


async def chain(cluster: ConnectCluster) -> list[Any]:
    """A new leaf and what is handed out with it."""
    domain = cluster.store.ca.config.trust_domain
    pem = connect_ca.create_leaf_request(keys.generate_key(), ServiceId(domain, "dc1", "web"))
    text = (await cluster.ca.sign({"CSR": pem}, ""))["CertPEM"]
    end = "-----END CERTIFICATE-----\n"
    return [keys.parse_certificate(part + end) for part in text.split(end)[:-1]]


def root_of(cluster: ConnectCluster, index: int) -> Any:
    return keys.parse_certificate(cluster.store.ca.roots[index].root_cert)


def assert_linked(*certificates: Any) -> None:
    for certificate, issuer in itertools.pairwise(certificates):
        certificate.verify_directly_issued_by(issuer)


def test_vault_may_make_the_first_root_and_no_key_of_it_is_in_the_state(vault: VaultServer) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        (row,) = cluster.store.ca.keys
        assert row.pem == ""
        leaf, intermediate = await chain(cluster)
        assert_linked(leaf, intermediate, root_of(cluster, 0))
        assert cluster.store.ca.config.provider == "vault"

    led(vault, scenario, first="vault")


def test_the_first_root_is_made_as_soon_as_vault_is_there(vault: VaultServer) -> None:
    async def scenario() -> None:
        vault.sealed = True
        cluster = ConnectCluster(settings=parse_ca_settings("vault", config(vault)))
        vault.skew = cluster.wall() - time.time()
        with pytest.raises(MeshError, match="is sealed"):
            await cluster.ca._first()
        vault.sealed = False
        vault.denied = ["connect-inter/"]
        with pytest.raises(MeshError, match="does not let us"):
            await cluster.ca._first()
        vault.denied = []
        made = await cluster.ca._first()
        names = keys.parse_certificate(made.roots[0].root_cert).extensions
        uri = f"spiffe://{made.config.trust_domain}" if made.config is not None else ""
        assert any(uri in str(name.value) for name in names), (
            "the root of the first try has the domain of the last"
        )

    asyncio.run(scenario())


def test_to_vault_to_another_key_there_and_back_each_root_is_signed_by_the_one_before(
    vault: VaultServer,
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        await configure(cluster, "vault", config(vault))
        leaf, intermediate, cross = await chain(cluster)
        assert_linked(leaf, intermediate, root_of(cluster, 1))
        assert_linked(leaf, intermediate, cross, root_of(cluster, 0))
        assert len(cluster.store.ca.keys) == 1

        await cluster.ca.rotate({"Action": "start"}, "")
        leaf, intermediate, cross = await chain(cluster)
        assert_linked(leaf, intermediate, root_of(cluster, 2))
        assert_linked(leaf, intermediate, cross, root_of(cluster, 1))

        await configure(cluster, "vault", config(vault, RootPKIPath="second", IntermediatePKIPath="third"))
        leaf, intermediate, cross = await chain(cluster)
        assert_linked(leaf, intermediate, root_of(cluster, 3))
        assert_linked(leaf, intermediate, cross, root_of(cluster, 2))

        await configure(cluster, "consul", {"LeafCertTTL": "1h"})
        leaf, cross = await chain(cluster)
        assert_linked(leaf, root_of(cluster, 4))
        assert_linked(leaf, cross, root_of(cluster, 3))
        assert TOKEN not in json.dumps([dict(row.elsewhere) for row in cluster.store.ca.keys])
        assert [root.name for root in cluster.store.ca.roots] == [f"Consul CA {i}" for i in range(1, 6)]

    led(vault, scenario)


def test_until_the_switch_the_old_provider_signs_and_giving_it_up_brings_its_settings_back(
    vault: VaultServer,
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        before = cluster.store.ca
        await cluster._submit(ConnectReport(NodeTrust("n1", (before.active.id,))))
        changing = asyncio.ensure_future(configure(cluster, "vault", config(vault)))  # noqa: TID251
        await until(lambda: cluster.store.ca.rotation, "the rotation begins")
        (leaf,) = await chain(cluster)
        assert_linked(leaf, root_of(cluster, 0))
        asked = len(vault.asked)
        with pytest.raises(RpcError, match="is in phase acknowledge"):
            await configure(cluster, "vault", config(vault, RootPKIPath="second"))
        assert len(vault.asked) == asked, "nothing is made in Vault for what can't be begun"
        await changing
        await cluster.ca.rotate({"Action": "abort"}, "")
        after = cluster.store.ca
        assert (after.config.provider, after.keys, after.roots) == ("consul", before.keys, before.roots)
        await cluster.ca.rotate({"Action": "start", "Force": True}, "")
        assert cluster.store.ca.row_of(cluster.store.ca.active.id).pem

    led(vault, scenario)


def test_without_the_right_to_cross_sign_the_rotation_says_so_and_waits_for_everybody(
    vault: VaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        vault.denied = ["connect-root/root/sign-self-issued", "connect-root/issuer"]
        key = cluster.store.ca.keys[0]
        issuer = parse_vault_key(key.elsewhere).root_issuer
        vault.denied = [f"connect-root/issuer/{issuer}/sign-self-issued"]
        plan = (await configure(cluster, "consul", {}, DryRun=True))["Plan"]
        assert "NOT signed by the old root" in plan[0]
        assert "the new root is not signed by the old one: Vault at" in caplog.text
        assert "sign-self-issued: permission denied" in caplog.text

    with caplog.at_level(logging.WARNING):
        led(vault, scenario, first="vault")


def test_a_dry_run_makes_nothing_in_vault_and_says_when_it_can_not_be_reached(vault: VaultServer) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        before = cluster.store.ca
        plan = (await configure(cluster, "vault", config(vault), DryRun=True))["Plan"]
        assert "signed by the old root too" in plan[0]
        assert (cluster.store.ca, [*vault.mounts]) == (before, ["secret"])
        with pytest.raises(RpcError, match="permission denied"):
            await configure(cluster, "vault", config(vault, Token="s.wrong"), DryRun=True)

    led(vault, scenario)


def test_the_settings_are_read_back_without_the_token_and_can_be_written_so(vault: VaultServer) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        method: Any = METHODS["ConnectCA.ConfigurationGet"]
        _, shown = method.read(cluster.machine, {}, cluster.rights)
        assert shown["Provider"] == "vault"
        assert shown["Config"]["Token"] == "hidden"
        assert TOKEN not in json.dumps(shown)
        assert TOKEN not in repr(cluster.store.ca)
        before = cluster.store.ca
        assert await configure(cluster, "vault", {**shown["Config"], "LeafCertTTL": "2h"}) == {"Plan": []}
        after = cluster.store.ca
        assert (after.roots, after.keys, after.config.leaf_cert_ttl) == (before.roots, before.keys, 7200.0)
        await chain(cluster)

    led(vault, scenario, first="vault")


def test_a_hidden_token_is_sent_nowhere_but_where_it_was_written_for(vault: VaultServer) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        with VaultServer() as other:
            given = config(vault, Address=other.address, Token="hidden")
            with pytest.raises(
                RpcError, match="write the token itself: the one that is in force is for Vault"
            ):
                await configure(cluster, "vault", given)
            assert other.asked == []

    led(vault, scenario, first="vault")


def test_a_hidden_token_needs_one_that_is_there(vault: VaultServer) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        with pytest.raises(RpcError, match="there is none yet"):
            await configure(cluster, "vault", config(vault, Token="hidden"))

    led(vault, scenario)


def test_a_new_token_is_taken_over_without_a_new_root(vault: VaultServer) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        roots = cluster.store.ca.roots
        with pytest.raises(RpcError, match="permission denied"):
            await configure(cluster, "vault", config(vault, Token="s.other"))
        vault.add_token("s.other", 0.0, renewable=False)
        assert await configure(cluster, "vault", config(vault, Token="s.other")) == {"Plan": []}
        del vault.tokens[TOKEN]
        await chain(cluster)
        assert cluster.store.ca.roots == roots

    led(vault, scenario, first="vault")


def test_an_intermediate_that_was_replaced_is_in_the_state(vault: VaultServer) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        old = cluster.store.ca.keys[0]
        cluster.skew += 280 * 86_400.0
        vault.skew += 280 * 86_400.0
        state = cluster.ca._state()
        assert state is not None
        await cluster.ca._keep_up_keys(state, 1)
        assert cluster.store.ca.keys[0] != old
        leaf, intermediate = await chain(cluster)
        assert_linked(leaf, intermediate, root_of(cluster, 0))
        assert intermediate != keys.parse_certificate(parse_vault_key(old.elsewhere).intermediate)

    led(vault, scenario, first="vault")


def test_vault_that_is_away_is_an_error_of_the_leaf_alone(vault: VaultServer) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        before = cluster.store.ca
        vault.sealed = True
        with pytest.raises(MeshError, match="is sealed: unseal it"):
            await chain(cluster)
        vault.sealed = False
        vault.stop()
        with pytest.raises(MeshError, match="connection refused"):
            await chain(cluster)
        with pytest.raises(RpcError, match="connection refused"):
            await cluster.ca.rotate({"Action": "start"}, "")
        vault.start()
        assert len(await chain(cluster)) == 2
        assert cluster.store.ca == before

    led(vault, scenario, first="vault")


def test_a_root_in_vault_that_expired_while_servers_were_off_is_replaced_by_another_one_in_vault(
    vault: VaultServer,
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        old = cluster.store.ca.active
        await cluster._submit(ConnectReport(NodeTrust("dead", (old.id,), (old.id,))))
        await cluster.ca.stop()
        cluster.skew += 3660 * 86_400.0
        vault.skew += 3660 * 86_400.0
        with pytest.raises(MeshError, match=r"the intermediate of Vault .* is over"):
            await chain(cluster)
        cluster.elect(2)
        await until(lambda: cluster.store.ca.active.id != old.id, "the next root")
        assert [root.name for root in cluster.store.ca.roots] == ["Consul CA 2"]
        leaf, intermediate = await chain(cluster)
        assert_linked(leaf, intermediate, root_of(cluster, 0))

    led(vault, scenario, first="vault")


def test_while_vault_is_away_an_expired_root_stays_and_the_log_says_what_keeps_the_next_one(
    vault: VaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        old = cluster.store.ca.active
        await cluster.ca.stop()
        cluster.skew += 3660 * 86_400.0
        vault.stop()
        cluster.elect(2)
        await until(lambda: "Connect's CA can't go on: " in caplog.text, "the reason")
        assert f"the Connect root {old.name} ended at" in caplog.text
        assert cluster.store.ca.active == old

    led(vault, scenario, first="vault")
