"""Roots that are distrusted while their leafs are used: either side cuts what is open by them, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes

from meshnode.runtime.proxy.contexts import make_contexts
from meshnode.runtime.proxy.interfaces import TlsMaterial
from tests.support.asynchronous import asynchronous
from tests.support.chains import under
from tests.support.proxy import Ca, Pair, client, echo_server, say, start_pair
from tests.support.waiting import until


def root_id(ca: Ca) -> str:
    return ca.root.certificate.fingerprint(hashes.SHA1()).hex(":")


def material_of(pair: Pair, name: str) -> TlsMaterial:
    contexts = {"web": pair.web, "api": pair.api}[name]._contexts
    assert contexts is not None
    return contexts.material


async def give(pair: Pair, name: str, material: TlsMaterial) -> None:
    pair.certificates[name].replace(material)
    await until(lambda: material_of(pair, name) is material, "it is used")


async def trust_both(pair: Pair, other: Ca) -> str:
    """Both sides trust both roots; returns the bundle."""
    both = pair.ca.root.certificate_pem + other.root.certificate_pem
    for name in ("web", "api"):
        await give(pair, name, replace(material_of(pair, name), roots_pem=both, root_names=("Old", "New")))
    return both


def only(ca: Ca, service: str, *distrusted: Ca) -> TlsMaterial:
    return replace(ca.leaf(service), root_names=("New",), distrusted=frozenset(map(root_id, distrusted)))


@asynchronous
@pytest.mark.parametrize("side", ["web", "api"])
async def test_what_is_open_by_a_distrusted_root_is_cut_by_either_side_and_the_rest_goes_on(
    side: str,
) -> None:
    new = Ca(name="Consul CA 8")
    async with echo_server() as app, start_pair(app) as pair:
        both = await trust_both(pair, new)
        async with client(pair) as old:
            assert await say(*old, b"hello") == b"hello"
            for name in ("web", "api"):
                renewed = replace(new.leaf(name), roots_pem=both, root_names=("Old", "New"))
                await give(pair, name, renewed)
            async with client(pair) as young:
                assert await say(*young, b"hello") == b"hello"
                await give(pair, side, only(new, side, pair.ca))
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(old[0].read(), 10)
                assert await say(*young, b"again") == b"again"
        sidecar = {"web": pair.web, "api": pair.api}[side]
        causes = [entry.close_cause for entry in sidecar.ledger.closed]
        assert causes.count(f"cut: Root Old ({root_id(pair.ca)}) is distrusted") == 1
        assert len([cause for cause in causes if cause.startswith("cut")]) == 1


@asynchronous
@pytest.mark.parametrize("distrusted", ["Old", "New"])
async def test_a_leaf_by_an_intermediate_goes_with_the_root_above_it(distrusted: str) -> None:
    new = Ca(name="Consul CA 8")
    async with echo_server() as app, start_pair(app) as pair:
        both = await trust_both(pair, new)
        for name in ("web", "api"):
            await give(pair, name, replace(under(pair.ca, name), roots_pem=both, root_names=("Old", "New")))
        async with client(pair) as streams:
            assert await say(*streams, b"hello") == b"hello"
            goes, stays = (pair.ca, new) if distrusted == "Old" else (new, pair.ca)
            await give(pair, "api", only(stays, "api", goes))
            if distrusted == "New":
                assert await say(*streams, b"again") == b"again"
                return
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(streams[0].read(), 10)
        (closed,) = pair.api.ledger.closed
        assert closed.close_cause == f"cut: Root Old ({root_id(pair.ca)}) is distrusted"


@asynchronous
async def test_a_root_that_is_retired_in_an_orderly_way_cuts_nothing() -> None:
    new = Ca(name="Consul CA 8")
    async with echo_server() as app, start_pair(app) as pair:
        await trust_both(pair, new)
        async with client(pair) as streams:
            assert await say(*streams, b"hello") == b"hello"
            for name in ("web", "api"):
                await give(pair, name, only(new, name))
            assert await say(*streams, b"again") == b"again"
            assert not [*pair.web.ledger.closed, *pair.api.ledger.closed]


@asynchronous
async def test_who_was_let_in_but_has_not_reached_the_application_does_not_any_more() -> None:
    new = Ca(name="Consul CA 8")
    async with echo_server() as app, start_pair(app) as pair:
        await trust_both(pair, new)
        pair.decisions.gate = asyncio.Event()
        async with client(pair) as streams:
            streams[1].write(b"hello")
            await until(lambda: pair.decisions.asked, "its handshake is done")
            await give(pair, "api", only(new, "api", pair.ca))
            pair.decisions.gate.set()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(streams[0].read(), 10)
        (refused,) = pair.api.ledger.refused
        assert refused.kind == "identity.distrusted"
        assert refused.because.endswith(f": Root Old ({root_id(pair.ca)}) is distrusted")
        assert len(pair.api.ledger) == 0


def test_sessions_go_on_when_only_the_distrusted_roots_are_other() -> None:
    material = Ca().leaf("web")
    before = make_contexts(material)
    after = make_contexts(replace(material, distrusted=frozenset({"01"})), before)
    assert (after.client, after.sessions) == (before.client, before.sessions)
    assert after.material.distrusted == {"01"}
