"""Leafs that are revoked while they are used: nobody new talks to who shows one, and what is open is cut."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from meshnode.proxy.balance import Instance
from meshnode.proxy.config import ProxyConfig, PublicListener
from meshnode.runtime.proxy.contexts import make_contexts
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.sidecar import Sidecar
from tests.support.asynchronous import asynchronous
from tests.support.proxy import (
    Ca,
    Decisions,
    Pair,
    client,
    echo_server,
    local,
    make_sidecar,
    say,
    spiffe,
    start_pair,
)
from tests.support.waiting import until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def is_refused(streams: Streams) -> bool:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        return await say(*streams, b"hello") != b"hello"
    return True


def material_of(sidecar: Sidecar) -> TlsMaterial:
    assert sidecar._contexts is not None
    return sidecar._contexts.material


def revoke(pair: Pair, *serials: str) -> None:
    """What the agent of ``web`` tells then."""
    pair.certificates["web"].replace(replace(material_of(pair.web), revoked=frozenset(serials)))


@asynchronous
async def test_a_server_whose_leaf_is_revoked_is_cut_and_refused_until_it_has_another_one() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        async with client(pair) as streams:
            assert await say(*streams, b"hello") == b"hello"
            serial = pair.api.identity.serial
            revoke(pair, serial)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(streams[0].read(), 10)
        (closed,) = pair.web.ledger.closed
        assert closed.close_cause == f"cut: Certificate {serial} is revoked"
        async with client(pair) as streams:
            assert await is_refused(streams)
        (refused,) = pair.web.ledger.refused
        assert f"the certificate {serial} of {spiffe('api')} is revoked" in refused.because
        pair.certificates["api"].replace(pair.ca.leaf("api"))
        await until(lambda: pair.api.identity.serial != serial, "it has another one")
        async with client(pair) as streams:
            assert await say(*streams, b"hello") == b"hello"


@asynchronous
async def test_another_instance_of_the_same_service_goes_on_and_takes_what_is_new() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as first:
        assert await say(*first, b"hello") == b"hello"
        other, _ = make_sidecar(pair.ca, "api", Decisions(), pair.instances)
        await other.start(ProxyConfig("api", PublicListener(local(0), app)))
        known = pair.instances.known["api"]
        pair.instances.known["api"] = [
            Instance("127.0.0.1", other.address().port, spiffe("api"), distance=0.0),
            replace(known[0], distance=1.0),
        ]
        pair.web._listeners[next(iter(pair.web._listeners))]._destination._asked_at = None  # type: ignore[union-attr]
        async with client(pair) as second:
            assert await say(*second, b"hello") == b"hello"
            assert len(other.ledger) == 1
            revoke(pair, other.identity.serial)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(second[0].read(), 10)
            assert await say(*first, b"hello") == b"hello"
            async with client(pair) as third:
                assert await say(*third, b"hello") == b"hello"
                assert len(pair.api.ledger) == 2
        await other.stop(drain_timeout=0)


@asynchronous
async def test_a_client_whose_leaf_is_revoked_is_refused_without_asking_anybody() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        serial = pair.web.identity.serial
        pair.certificates["api"].replace(replace(material_of(pair.api), revoked=frozenset({serial})))
        await until(lambda: material_of(pair.api).revoked == {serial}, "it is told")
        pair.decisions.fail = True
        async with client(pair) as streams:
            assert await is_refused(streams)
        (refused,) = pair.api.ledger.refused
        assert refused.kind == "identity.revoked"
        assert pair.decisions.asked == []


def test_sessions_go_on_when_only_the_revoked_leafs_are_other() -> None:
    material = Ca().leaf("web")
    before = make_contexts(material)
    after = make_contexts(replace(material, revoked=frozenset({"01"})), before)
    assert (after.client, after.server, after.sessions) == (before.client, before.server, before.sessions)
    assert after.material.revoked == {"01"}
    renewed = make_contexts(replace(Ca().leaf("web"), revoked=frozenset({"01"})), after)
    assert renewed.client is not after.client
    assert renewed.sessions is not after.sessions
