"""What native services tell of their connections, and how revoked leafs end them."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from typing import Any

import pytest

from meshnode.sdk.errors import DialError, PeerUnknownError
from meshnode.sdk.service import Service
from tests.support.asynchronous import asynchronous
from tests.support.proxy import spiffe
from tests.support.sdk import Native, ServicePair, pair
from tests.support.waiting import until


async def report(service: Service) -> dict[str, Any]:
    return dict(await service._report())


async def revoke(native: Native, *serials: str) -> None:
    """What the agent of this service tells then."""
    material = replace(native.service._running.material, revoked=frozenset(serials))
    native.certificates.replace(material)
    await until(lambda: native.service._running.material is material, "it is told")


async def ended(two: ServicePair) -> None:
    await until(lambda: len(two.api.service.live) == 0, "it has ended")
    await until(lambda: len(two.web.service.live.ledger) == 0, "on the other side too")


@asynchronous
async def test_a_connection_is_told_by_both_ends_with_its_bytes() -> None:
    async with pair() as two:
        reader, writer = await two.web.service.dial("api")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"again!")
        assert await reader.readexactly(6) == b"again!"
        web, api = await report(two.web.service), await report(two.api.service)
        (out,), (came,) = web["Connections"], api["Connections"]
        assert (out["Direction"], came["Direction"]) == ("outbound", "inbound")
        assert (out["Source"], out["Destination"]) == (spiffe("web"), spiffe("api"))
        assert (came["Source"], came["Destination"]) == (spiffe("web"), spiffe("api"))
        assert [out[name] for name in ("BytesIn", "BytesOut")] == [11, 11]
        assert [came[name] for name in ("BytesIn", "BytesOut")] == [11, 11]
        assert out["Serial"] == two.api.service.identity.serial
        assert out["Peer"] == f"127.0.0.1:{two.port}"
        assert (came["Rule"], came["Because"]) == ("allow-1", "intention * => api allows it")
        assert api["Listeners"] == [
            {"Name": "native", "Address": f"127.0.0.1:{two.port}", "Serial": two.api.service.identity.serial}
        ]
        assert (api["Service"], api["Pid"], web["Listeners"]) == ("api", os.getpid(), [])
        assert api["Counters"]["inbound.conns"] == web["Counters"]["upstream.conns"] == 1
        writer.close()
        await ended(two)
        web, api = await report(two.web.service), await report(two.api.service)
        assert (web["Connections"], api["Connections"]) == ([], [])
        assert [row["BytesIn"] for row in (*web["Closed"], *api["Closed"])] == [11, 11]


@asynchronous
async def test_a_cut_and_a_refusal_are_told_with_the_rule() -> None:
    async with pair() as two:
        _, writer = await two.web.service.dial("api")
        await until(lambda: two.connected, "it is served")
        two.api.decisions.deny("web")
        await ended(two)
        (closed,) = (await report(two.api.service))["Closed"]
        assert closed["CloseCause"] == "cut: intention web => api denies it"
        reader, second = await two.web.service.dial("api")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        body = await report(two.api.service)
        (refused,) = body["Refused"]
        assert (refused["Kind"], refused["Source"], refused["Rule"]) == ("denied", spiffe("web"), "deny-1")
        assert body["Counters"]["refused.denied"] == 1
        writer.close()
        second.close()


@asynchronous
async def test_a_server_whose_leaf_is_revoked_is_cut_and_not_dialled_again() -> None:
    async with pair() as two:
        reader, writer = await two.web.service.dial("api")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        serial = two.api.service.identity.serial
        await revoke(two.web, serial)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(reader.readexactly(1), 10)
        (closed,) = (await report(two.web.service))["Closed"]
        assert closed["CloseCause"] == f"cut: Certificate {serial} is revoked"
        with pytest.raises(DialError, match="is revoked"):
            await two.web.service.dial("api")
        two.api.certificates.replace(two.ca.leaf("api"))
        await until(lambda: two.api.service.identity.serial != serial, "it has another one")
        assert await two.say() == b"hello"
        writer.close()


@asynchronous
async def test_a_client_whose_leaf_is_revoked_is_cut_and_unknown_without_asking_anybody() -> None:
    async with pair() as two:
        _, writer = await two.web.service.dial("api")
        await until(lambda: two.connected, "it is served")
        two.api.decisions.fail = True
        await revoke(two.api, two.web.service.identity.serial)
        await ended(two)
        (closed,) = (await report(two.api.service))["Closed"]
        assert closed["CloseCause"] == f"cut: Certificate {two.web.service.identity.serial} is revoked"
        reader, second = await two.web.service.dial("api")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        assert "is revoked" in (await report(two.api.service))["Refused"][0]["Because"]
        ours = two.web.service._running.material.chain_pem
        with pytest.raises(PeerUnknownError, match="is revoked"):
            two.api.service.identify_chain(_der(ours))
        writer.close()
        second.close()


@asynchronous
async def test_a_refusal_in_another_thread_is_told_by_the_loop() -> None:
    async with pair() as two:
        service, threads = two.api.service, []
        tell = service.refusals.tell

        def told(peer: str, because: str, **more: Any) -> None:
            threads.append(threading.get_ident())
            tell(peer, because, **more)

        service.refusals.tell = told  # type: ignore[method-assign]
        context: Any = service.server_context()
        await asyncio.to_thread(context._on_refused, "it shows nothing")
        await until(lambda: threads, "it is told")
        assert threads == [threading.get_ident()]
        assert service.refusals.kinds["handshake"] == 1


def _der(pem: str) -> list[bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem.encode())]
