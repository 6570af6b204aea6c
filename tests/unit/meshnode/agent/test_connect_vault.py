"""Vault as the CA, on a stand-in that makes real certificates."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from cryptography import x509

from meshnode.agent.connect_provider import BuiltInCa
from meshnode.agent.connect_vault import ROLE, VaultCa
from meshnode.agent.vault_client import VaultClient, VaultError
from meshnode.base.errors import ConfigError, MeshError, RemoteProtocolError
from meshnode.base.spiffe import ServiceId
from meshnode.connect.model import CaRoot, CaState
from meshnode.connect.provider import CaProvider, NewRoot, SignedLeaf
from meshnode.connect.vault import VaultSettings, parse_vault_key
from meshnode.pki import connect_ca, keys
from meshnode.pki.connect_intermediate import check_intermediate, create_intermediate_request
from tests.support.vault_server import TOKEN, VaultServer

T = TypeVar("T")
DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
DAY = 86_400.0


@pytest.fixture
def vault() -> Iterator[VaultServer]:
    with VaultServer() as server:
        yield server


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def place(vault: VaultServer, **changes: str) -> VaultSettings:
    return replace(VaultSettings(vault.address, TOKEN, "connect-root", "connect-inter"), **changes)


def provider(
    vault: VaultServer, made: NewRoot | None = None, *, ttl: float = 3600.0, **changes: Any
) -> VaultCa:
    """Of the root that was made, or of none."""
    key_type = changes.pop("key_type", "ec-p256")
    known = changes.pop("known", ())
    key = parse_vault_key(made.key.elsewhere) if made is not None else None
    settings = replace(key.settings, **changes) if key is not None else place(vault, **changes)
    return VaultCa(
        VaultClient(settings),
        root=made.root if made is not None else None,
        key=key,
        known=known,
        key_type=key_type,
        leaf_ttl=ttl,
        trust_domain=DOMAIN,
        wall=vault.now,
    )


def first(vault: VaultServer, **changes: Any) -> NewRoot:
    return run(provider(vault, **changes).new_root("Consul CA 1", DOMAIN))


def request(service: str = "web", domain: str = DOMAIN) -> str:
    return connect_ca.create_leaf_request(keys.generate_key(), ServiceId(domain, "dc1", service))


def signed(ca: CaProvider, pem: str = "", ttl: float = 60.0) -> SignedLeaf:
    return run(ca.sign(pem or request(), trust_domain=DOMAIN, datacenter="dc1", ttl=ttl))


def read(pem: str) -> x509.Certificate:
    return keys.parse_certificate(pem)


def verify(leaf: SignedLeaf, root: CaRoot) -> None:
    chain = [read(pem) for pem in (leaf.certificate_pem, *leaf.chain, root.root_cert)]
    for certificate, issuer in itertools.pairwise(chain):
        certificate.verify_directly_issued_by(issuer)


def test_it_makes_the_mounts_a_root_an_intermediate_and_the_role_and_signs(vault: VaultServer) -> None:
    made = first(vault)
    assert made.root.name == "Consul CA 1"
    assert made.key.pem == ""
    leaf = signed(provider(vault, made), request("we_b"))
    verify(leaf, made.root)
    assert (leaf.service, leaf.uri) == ("we_b", f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/we_b")
    assert leaf.not_after - vault.now() == pytest.approx(60, abs=5)
    assert read(leaf.certificate_pem).subject.rfc4514_string() == "CN=we_b"
    assert int(leaf.serial.replace(":", ""), 16) == read(leaf.certificate_pem).serial_number
    assert {name: mount.kind for name, mount in vault.mounts.items()} == {
        "secret": "kv", "connect-root": "pki", "connect-inter": "pki",
    }  # fmt: skip
    assert ROLE in vault.mounts["connect-inter"].roles
    assert vault.mounts["connect-root"].max_ttl == 3650 * DAY
    assert TOKEN not in repr(made)


@pytest.mark.parametrize("key_type", ["ec-p384", "rsa-2048"])
def test_the_kind_of_key_is_the_one_that_was_chosen(vault: VaultServer, key_type: str) -> None:
    made = first(vault, key_type=key_type)
    public = keys.accepted_public_key(read(made.root.root_cert).public_key())
    assert keys.key_type_of(public) == key_type
    verify(signed(provider(vault, made)), made.root)


def test_a_long_name_of_a_service_is_in_the_uri_alone(vault: VaultServer) -> None:
    leaf = signed(provider(vault, first(vault)), request("s" * 65))
    assert not read(leaf.certificate_pem).subject.rdns
    assert leaf.uri.endswith("s" * 65)


def test_the_root_that_a_mount_has_is_taken_and_a_failed_try_is_gone_on_with(vault: VaultServer) -> None:
    vault.denied = ["connect-inter/"]
    with pytest.raises(VaultError, match="does not let us POST connect-inter/intermediate/generate"):
        first(vault)
    (left,) = vault.mounts["connect-root"].issuers.values()
    vault.denied = []
    assert read(first(vault).root.root_cert) == left.certificate


@pytest.mark.parametrize("many", [True, False], ids=["several issuers in a mount", "one, as before 1.11"])
def test_a_mount_whose_policy_lets_only_sign_intermediates_is_enough(vault: VaultServer, many: bool) -> None:
    vault.many = many
    first(vault)
    vault.denied = ["connect-root/root/generate", "connect-root/issuer"]
    made = first(vault)
    verify(signed(provider(vault, made)), made.root)


def test_the_root_signs_the_intermediate_of_a_secondary_datacenter_whose_name_was_checked(
    vault: VaultServer,
) -> None:
    made, key = first(vault), keys.generate_key()
    asked = create_intermediate_request(key, "dc2", DOMAIN)
    pem = run(provider(vault, made).sign_intermediate(asked, trust_domain=DOMAIN))
    check_intermediate(pem, key, made.root.root_cert, trust_domain=DOMAIN, at=datetime.now(UTC))
    other = create_intermediate_request(key, "dc2", DOMAIN.replace("1", "2"))
    with pytest.raises(RemoteProtocolError, match="the request is for trust domain 2"):
        run(provider(vault, made).sign_intermediate(other, trust_domain=DOMAIN))


def test_a_known_root_is_followed_by_another_in_the_same_mount_which_the_first_one_signs(
    vault: VaultServer,
) -> None:
    one = first(vault)
    two = run(provider(vault, known={one.root.id}).new_root("Consul CA 2", DOMAIN))
    assert two.root.id != one.root.id
    crossed = read(run(provider(vault, one).cross_sign(two.root)))
    crossed.verify_directly_issued_by(read(one.root.root_cert))
    for made in (one, two):
        leaf = signed(provider(vault, made))
        verify(leaf, made.root)
    read(leaf.chain[0]).verify_directly_issued_by(crossed)


def test_a_vault_with_one_root_in_a_mount_says_that_another_path_is_needed(vault: VaultServer) -> None:
    vault.many = False
    one = first(vault)
    again = provider(vault, known={one.root.id})
    with pytest.raises(MeshError, match="made no root, as it has one: write another RootPKIPath"):
        run(again.new_root("Consul CA 2", DOMAIN))
    two = first(vault, root_path="other-root", intermediate_path="other-inter")
    verify(signed(provider(vault, two)), two.root)


def test_it_signs_a_root_of_the_built_in_ca_and_the_other_way_round(vault: VaultServer) -> None:
    made = first(vault)
    built_in = run(BuiltInCa(CaState(), vault.now, os.urandom).new_root("Consul CA 2", DOMAIN))
    crossed = read(run(provider(vault, made).cross_sign(built_in.root)))
    crossed.verify_directly_issued_by(read(made.root.root_cert))
    state = CaState(roots=(replace(built_in.root, active=True),), keys=(built_in.key,))
    crossed = read(run(BuiltInCa(state, vault.now, os.urandom).cross_sign(made.root)))
    read(signed(provider(vault, made)).chain[0]).verify_directly_issued_by(crossed)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("secret", "secret, is a mount of the kind 'kv', not pki"),
        ("connect-inter", "has a CA that is no root, as another one signed it"),
    ],
)
def test_a_mount_that_can_not_hold_the_root_is_named(vault: VaultServer, path: str, reason: str) -> None:
    first(vault)
    with pytest.raises(ConfigError, match=reason):
        first(vault, root_path=path, intermediate_path="other")


def test_a_leaf_never_outlives_its_intermediate_and_one_that_may_live_too_long_is_refused(
    vault: VaultServer,
) -> None:
    vault.mounts["connect-root"] = type(vault.mounts["secret"])("pki", 2 * DAY)
    with pytest.raises(ConfigError, match=r"LeafCertTTL: 72h0m0s is too long.*raise max_lease_ttl"):
        first(vault, ttl=3 * DAY)
    made = first(vault)
    leaf = signed(provider(vault, made), ttl=3 * DAY)
    assert leaf.not_after <= read(leaf.chain[0]).not_valid_after_utc.timestamp()


def test_nobody_gets_a_leaf_of_another_mesh_and_vault_is_not_asked(vault: VaultServer) -> None:
    ca = provider(vault, first(vault))
    vault.asked.clear()
    with pytest.raises(RemoteProtocolError, match=r"trust domain other\.consul"):
        signed(ca, request(domain="other.consul"))
    assert vault.asked == []


def test_a_role_that_somebody_deleted_is_made_again(vault: VaultServer) -> None:
    made = first(vault)
    vault.mounts["connect-inter"].roles.clear()
    verify(signed(provider(vault, made)), made.root)


def test_what_another_key_signed_is_not_handed_out(vault: VaultServer) -> None:
    made, other = first(vault), first(vault, root_path="other-root", intermediate_path="other-inter")
    mount = vault.mounts["connect-inter"]
    (issuer,) = mount.issuers
    mount.issuers[issuer] = next(iter(vault.mounts["other-inter"].issuers.values()))
    with pytest.raises(MeshError, match="signs with another intermediate than Connect's"):
        signed(provider(vault, made))
    roots = vault.mounts["connect-root"].issuers
    for issuer in roots:
        roots[issuer] = next(iter(vault.mounts["other-root"].issuers.values()))
    with pytest.raises(MeshError, match="signs with another root than Consul CA 1"):
        run(provider(vault, made).renewed())
    with pytest.raises(MeshError, match="signs with another root than Consul CA 1"):
        run(provider(vault, made).cross_sign(replace(other.root)))


def test_the_intermediate_is_replaced_before_its_end_under_the_same_root(vault: VaultServer) -> None:
    made = first(vault)
    assert run(provider(vault, made).upkeep()) is None
    vault.skew += 270 * DAY
    assert run(provider(vault, made).upkeep()) is None
    vault.skew += 10 * DAY
    row = run(provider(vault, made).upkeep())
    assert row is not None
    assert row.root_id == made.root.id
    renewed = NewRoot(made.root, row)
    for each in (made, renewed):  # What was signed, and is signed still, by the first one stays good.
        verify(signed(provider(vault, each)), made.root)
    assert run(provider(vault, renewed).upkeep()) is None
    vault.skew += 90 * DAY
    with pytest.raises(MeshError, match=r"the intermediate of .* is over"):
        signed(provider(vault, made))


def test_a_leaf_that_lives_for_a_year_does_not_have_the_intermediate_replaced_all_the_time(
    vault: VaultServer,
) -> None:
    made = first(vault, ttl=180 * DAY)
    assert run(provider(vault, made, ttl=180 * DAY).upkeep()) is None


def test_a_token_is_renewed_in_the_second_half_of_its_life(vault: VaultServer) -> None:
    vault.add_token("s.short", 3600.0, renewable=True)
    made = first(vault, token="s.short")
    for skew, renewed in ((0.0, False), (1700.0, False), (1900.0, True), (5000.0, True), (5100.0, False)):
        vault.skew, vault.asked = skew, []
        run(provider(vault, made).upkeep())
        assert ("POST auth/token/renew-self" in vault.asked) == renewed, skew


def test_a_token_that_can_not_be_renewed_is_told_in_time(vault: VaultServer) -> None:
    vault.add_token("s.short", 3600.0, renewable=False)
    made = first(vault, token="s.short")
    vault.skew = 3550.0
    with pytest.raises(VaultError, match=r"ends in \d+ seconds and can't be renewed") as refused:
        run(provider(vault, made).upkeep())
    assert "s.short" not in str(refused.value)
    vault.skew = 3700.0
    with pytest.raises(VaultError, match="permission denied"):
        run(provider(vault, made).upkeep())


def test_another_token_for_the_same_place_keeps_the_intermediate_and_another_place_does_not(
    vault: VaultServer,
) -> None:
    made = first(vault)
    vault.add_token("s.other", 0.0, renewable=False)
    old = parse_vault_key(made.key.elsewhere)
    moved = parse_vault_key(run(provider(vault, made, token="s.other").move()).elsewhere)
    assert moved == replace(old, settings=replace(old.settings, token="s.other"))
    with pytest.raises(VaultError, match="permission denied"):
        run(provider(vault, made, token="s.wrong").move())
    row = run(provider(vault, made, intermediate_path="second").move())
    assert parse_vault_key(row.elsewhere).settings.intermediate_path == "second"
    verify(signed(provider(vault, NewRoot(made.root, row))), made.root)
    with VaultServer() as another, pytest.raises(MeshError):
        run(provider(vault, made, address=another.address).move())


def test_without_a_root_it_signs_nothing(vault: VaultServer) -> None:
    for work in (provider(vault).upkeep(), provider(vault).cross_sign(first(vault).root)):
        with pytest.raises(MeshError, match="no root in Vault yet"):
            run(work)


def test_an_answer_that_is_not_vaults_is_an_error(vault: VaultServer) -> None:
    made = first(vault)
    for answer in (b'{"data": {"certificate": 1}}', b'{"data": {"certificate": "no PEM"}}', b'{"data": []}'):
        vault.say = (200, {}, answer)
        with pytest.raises(MeshError):
            signed(provider(vault, made))
