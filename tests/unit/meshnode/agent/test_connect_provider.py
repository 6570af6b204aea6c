"""The built-in CA as a provider: what another one has to do as well."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from meshnode.agent.connect_provider import BuiltInCa, given_root
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.spiffe import ServiceId
from meshnode.connect.model import CaConfig, CaState
from meshnode.connect.provider import CaProvider, NewRoot
from meshnode.pki import connect_ca, keys

NOW = 1_800_000_000.0


def provider(ca: CaState | None = None, key_type: str = "ec-p256") -> BuiltInCa:
    return BuiltInCa(ca or CaState(), lambda: NOW, os.urandom, key_type)


def state_of(made: NewRoot) -> CaState:
    root = replace(made.root, active=True)
    return CaState(CaConfig("id"), (root,), (made.key,))


def test_it_makes_a_root_signs_with_it_and_signs_the_next_one() -> None:
    async def scenario() -> None:
        first = await provider().new_root("Consul CA 1", "x.consul")
        ca: CaProvider = provider(state_of(first))
        request = connect_ca.create_leaf_request(keys.generate_key(), ServiceId("x.consul", "dc1", "web"))
        leaf = await ca.sign(request, trust_domain="x.consul", datacenter="dc1", ttl=60.0)
        assert (leaf.service, leaf.not_before, leaf.not_after) == ("web", NOW - 60, NOW + 60)
        second = await provider().new_root("Consul CA 2", "x.consul")
        crossed = keys.parse_certificate(await ca.cross_sign(second.root))
        crossed.verify_directly_issued_by(keys.parse_certificate(first.root.root_cert))
        assert first.key.pem not in repr(first)
        assert await ca.upkeep() is None

    asyncio.run(scenario())


@pytest.mark.parametrize("key_type", ["ec-p384", "rsa-2048"])
def test_the_kind_of_key_is_the_one_that_was_chosen(key_type: str) -> None:
    made = asyncio.run(provider(key_type=key_type).new_root("Consul CA 1", "x.consul"))
    assert keys.key_type_of(keys.parse_key(made.key.pem).public_key()) == key_type


def test_without_a_key_it_signs_nothing() -> None:
    made = asyncio.run(provider().new_root("Consul CA 1", "x.consul"))
    for ca in (CaState(), CaState(CaConfig("id"), state_of(made).roots)):
        with pytest.raises(MeshError, match="no root with a key"):
            asyncio.run(provider(ca).cross_sign(made.root))


def test_a_root_that_was_made_elsewhere_must_belong_to_its_key() -> None:
    one, other = (asyncio.run(provider().new_root("Consul CA 1", "x.consul")) for _ in range(2))
    assert given_root(one.root.root_cert, one.key.pem).root == one.root
    with pytest.raises(ConfigError, match="don't belong together"):
        given_root(one.root.root_cert, other.key.pem)
