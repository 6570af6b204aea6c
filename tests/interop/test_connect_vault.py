"""Connect's leaves signed by Vault, on running agents: by a stand-in, and by the real program where there is one.

OpenSSL judges the chains and is on both ends of the connections.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.connect_vault import VaultCa
from meshnode.agent.vault_client import VaultClient, VaultError
from meshnode.base.spiffe import ServiceId
from meshnode.connect.provider import NewRoot
from meshnode.connect.vault import VaultSettings, parse_vault_key
from meshnode.pki import connect_ca, keys
from tests.interop.test_connect_ca import leaf, roots, saved, talk, verified
from tests.support.mesh_agent import Mesh, MeshAgent, loopback, wait
from tests.support.programs import skip
from tests.support.vault_program import BINARY, ask, real_vault
from tests.support.vault_server import TOKEN, VaultServer


@dataclass
class Vault:
    """``server`` is the stand-in, of which more can be asked."""

    address: str
    server: VaultServer | None = None

    def config(self, **changes: str) -> dict[str, str]:
        return {
            "Address": self.address,
            "Token": TOKEN,
            "RootPKIPath": "connect-root",
            "IntermediatePKIPath": "connect-inter",
            "LeafCertTTL": "60s",
            **changes,
        }


@pytest.fixture(scope="module", params=["stand-in", "program"])
def vault(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    if request.param == "stand-in":
        with VaultServer() as server:
            yield Vault(server.address, server)
        return
    if BINARY is None:
        print("no vault/bao binary")
        skip("vault")
    with real_vault(tmp_path_factory.mktemp("vault"), f"{loopback()}.200") as address:
        yield Vault(address)


@pytest.fixture(scope="module")
def mesh(vault: Vault, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A server, whose first root Vault makes, and a client."""
    settings = {
        "address": vault.address,
        "token": TOKEN,
        "root_pki_path": "connect-root",
        "intermediate_pki_path": "connect-inter",
        "leaf_cert_ttl": "60s",
    }
    connect = {"enabled": True, "ca_provider": "vault", "ca_config": settings}
    with Mesh.new(tmp_path_factory.mktemp("mesh")) as made:
        made.add("server1", 1, server=True, bootstrap_expect=1, connect=connect).launch()
        made.add("client1", 2, retry_join=[f"{made.network}.1"]).launch()
        made.wait_alive("server1", "client1")
        wait(lambda: made["server1"].api("/v1/connect/ca/roots")[0] == 200, "a Connect root")
        yield made


def configure(agent: MeshAgent, directory: Path, provider: str, config: dict[str, str]) -> None:
    file = directory / "ca.json"
    file.write_text(json.dumps({"Provider": provider, "Config": config}))
    done = agent.cli("connect", "ca", "set-config", "-config-file", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "Configuration updated!\n", "")


def settled(mesh: Mesh, before: str) -> bool:
    """Whether the root before is gone, asked while each node has to accept the leaf of the other."""
    server, client = mesh["server1"], mesh["client1"]
    assert verified(client, "web", server) == ""
    assert verified(server, "db", client) == ""
    shown = [roots(agent)["Roots"] for agent in (server, client)]
    return all(len(each) == 1 and each[0]["ID"] != before for each in shown)


def chain_length(agent: MeshAgent, service: str) -> int:
    return str(leaf(agent, service)["CertPEM"]).count("BEGIN CERTIFICATE")


def names_of_the_token(text: str) -> list[str]:
    return re.findall(re.escape(TOKEN), text)


def test_vault_makes_the_root_and_signs_a_chain_that_openssl_takes(mesh: Mesh) -> None:
    server, client = mesh["server1"], mesh["client1"]
    (root,) = roots(client)["Roots"]
    assert root["Name"] == "Consul CA 1"
    assert verified(client, "web", server) == ""
    assert verified(server, "db", client) == ""
    assert chain_length(client, "web") == 2
    web, db = saved(client, "web"), saved(server, "db")
    assert talk(db, web) == "olleh"
    assert talk(db, None) == "", "without a certificate nobody is let in"


@pytest.mark.parametrize(
    ("provider", "changes", "length"),
    [
        ("consul", None, 2),
        ("vault", {}, 3),
        ("vault", {"RootPKIPath": "second-root", "IntermediatePKIPath": "second-inter"}, 3),
    ],
    ids=["to the built-in CA", "to Vault", "to another key in Vault"],
)
def test_a_change_of_the_provider_leaves_nobody_behind(
    mesh: Mesh, vault: Vault, tmp_path: Path, provider: str, changes: dict[str, str] | None, length: int
) -> None:
    server, client = mesh["server1"], mesh["client1"]
    for agent, service in ((client, "web"), (server, "db")):
        leaf(agent, service)
    before = roots(server)["ActiveRootID"]
    web, db = saved(client, "web"), saved(server, "db")
    configure(
        client, tmp_path, provider, {"LeafCertTTL": "60s"} if changes is None else vault.config(**changes)
    )
    # Who has read its files before the change is understood by who reads them after it, and the other way round.
    wait(lambda: roots(client)["ActiveRootID"] != before, "the switch")
    new_web = saved(client, "web")
    assert talk(db, web) == "olleh"
    assert talk(db, new_web) == "olleh"
    wait(lambda: settled(mesh, before), "the old root is dropped", 90)
    assert chain_length(client, "web") == length, (
        "the leaf, Vault's intermediate, the root signed by the one before"
    )
    assert json.loads(client.cli("connect", "ca", "get-config").stdout)["Provider"] == provider


def test_a_new_key_in_the_same_mount_is_a_rotation_too(mesh: Mesh) -> None:
    server, client = mesh["server1"], mesh["client1"]
    for agent, service in ((client, "web"), (server, "db")):
        leaf(agent, service)
    before = roots(server)["ActiveRootID"]
    start = json.dumps({"Action": "start"}).encode()
    assert server.api("/v1/connect/ca/rotation", "PUT", start) == (200, "")
    wait(lambda: settled(mesh, before), "the old root is dropped", 90)
    assert talk(saved(server, "db"), saved(client, "web")) == "olleh"


def test_the_token_is_shown_nowhere(mesh: Mesh, vault: Vault, tmp_path: Path) -> None:
    server, client = mesh["server1"], mesh["client1"]
    shown = json.loads(client.cli("connect", "ca", "get-config").stdout)
    assert (shown["Provider"], shown["Config"]["Token"]) == ("vault", "hidden")
    snapshot = str(tmp_path / "state.tgz")
    assert server.cli("snapshot", "save", snapshot).returncode == 0
    told = [
        *(agent.log for agent in mesh.agents.values()),
        *(agent.api("/v1/agent/self")[1] for agent in mesh.agents.values()),
        server.cli("snapshot", "inspect", snapshot).stdout,
        server.api("/v1/connect/ca/configuration")[1],
        server.api("/v1/connect/ca/roots")[1],
        server.api("/v1/connect/ca/rotation")[1],
    ]
    assert [names_of_the_token(text) for text in told] == [[]] * len(told)
    wrong = vault.config(Token="s.wrong", RootPKIPath="third")
    body = json.dumps({"Provider": "vault", "Config": wrong}).encode()
    status, text = server.api("/v1/connect/ca/configuration", "PUT", body)
    assert status == 500
    assert "permission denied. The token must be valid" in text
    assert "s.wrong" not in text


def test_the_policy_of_the_documentation_is_enough_and_what_it_leaves_out_is_named(vault: Vault) -> None:
    if vault.server is not None:
        skip("stand-in")
    text = (Path(__file__).parents[2] / "docs" / "vault.md").read_text()
    policy = text.split("```hcl\n")[-1].split("```")[0].replace("connect-", "policy-")
    ask(vault.address, "POST", "sys/policies/acl/meshnode", {"policy": policy})
    made = ask(vault.address, "POST", "auth/token/create", {"policies": ["meshnode"], "period": "1h"})
    token = made["auth"]["client_token"]
    settings = VaultSettings(vault.address, token, "policy-root", "policy-inter")
    domain = "11111111-2222-3333-4444-555555555555.consul"

    def provider(found: VaultSettings, made: NewRoot | None = None) -> VaultCa:
        return VaultCa(
            VaultClient(found),
            root=made.root if made is not None else None,
            key=parse_vault_key(made.key.elsewhere) if made is not None else None,
            known={made.root.id} if made is not None else (),
            leaf_ttl=60.0,
            trust_domain=domain,
            wall=time.time,
        )

    async def scenario() -> None:
        one = await provider(settings).new_root("Consul CA 1", domain)
        two = await provider(settings, one).new_root("Consul CA 2", domain)
        crossed = keys.parse_certificate(await provider(settings, one).cross_sign(two.root))
        crossed.verify_directly_issued_by(keys.parse_certificate(one.root.root_cert))
        pem = connect_ca.create_leaf_request(keys.generate_key(), ServiceId(domain, "dc1", "web"))
        for made in (one, two):
            leaf = await provider(settings, made).sign(pem, trust_domain=domain, datacenter="dc1", ttl=60.0)
            issuer = keys.parse_certificate(leaf.chain[0])
            keys.parse_certificate(leaf.certificate_pem).verify_directly_issued_by(issuer)
            issuer.verify_directly_issued_by(keys.parse_certificate(made.root.root_cert))
        assert await provider(settings, two).upkeep() is None
        with pytest.raises(VaultError, match="does not let us GET sys/mounts/other: permission denied"):
            await provider(replace(settings, root_path="other")).new_root("Consul CA 3", domain)

    asyncio.run(scenario())


def test_while_vault_is_away_leaves_go_on_and_then_new_ones_come(mesh: Mesh, vault: Vault) -> None:
    if vault.server is None:
        skip("vault in memory")
    server, client, stand_in = mesh["server1"], mesh["client1"], vault.server
    first = leaf(client, "web")["SerialNumber"]

    def while_away(fault: Callable[[bool], Any], sentence: str) -> None:
        fault(True)
        try:
            assert leaf(client, "web")["SerialNumber"] == first
            assert verified(client, "web", server) == ""
            status, text = client.api("/v1/agent/connect/ca/leaf/fresh")
            assert status == 500
            assert sentence in text
            assert TOKEN not in text
        finally:
            fault(False)

    while_away(lambda on: stand_in.stop() if on else stand_in.start(), "connection refused")
    while_away(lambda on: setattr(stand_in, "sealed", on), "is sealed: unseal it")
    wait(lambda: client.api("/v1/agent/connect/ca/leaf/fresh")[0] == 200, "a leaf when Vault is back", 60)
    assert verified(client, "fresh", server) == ""
    server.kill()
    server.start()
    wait(lambda: client.api("/v1/agent/connect/ca/leaf/later")[0] == 200, "the next leader signs too", 60)
