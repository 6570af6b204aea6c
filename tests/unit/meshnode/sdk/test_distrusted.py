"""Native services when a root is distrusted: what is open by its leafs is cut by either side, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.sdk.errors import PeerUnknownError
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Ca
from tests.support.sdk import Native, ServicePair, pair
from tests.support.waiting import until


def root_id(ca: Ca) -> str:
    return ca.root.certificate.fingerprint(hashes.SHA1()).hex(":")


async def give(native: Native, material: TlsMaterial) -> None:
    native.certificates.replace(material)
    await until(lambda: native.service._running.material is material, "it is used")


async def renew(two: ServicePair, new: Ca) -> None:
    """Both trust both roots, and have leafs of the new one."""
    both = two.ca.root.certificate_pem + new.root.certificate_pem
    for native in (two.web, two.api):
        name = native.service.name
        for ca in (two.ca, new):
            await give(native, replace(ca.leaf(name), roots_pem=both, root_names=("Old", "New")))


async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"hello")
    return await asyncio.wait_for(reader.readexactly(5), 10)


@asynchronous
@pytest.mark.parametrize("side", ["web", "api"])
async def test_either_side_cuts_what_is_open_by_a_distrusted_root_and_the_rest_goes_on(side: str) -> None:
    new = Ca(name="Consul CA 8")
    async with pair() as two:
        old = await two.web.service.dial("api")
        assert await speak(*old) == b"hello"
        await renew(two, new)
        young = await two.web.service.dial("api")
        assert await speak(*young) == b"hello"
        native = {"web": two.web, "api": two.api}[side]
        gone = frozenset({root_id(two.ca)})
        await give(native, replace(new.leaf(side), root_names=("New",), distrusted=gone))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(old[0].readexactly(1), 10)
        assert await speak(*young) == b"hello"
        (closed,) = native.service.live.ledger.closed
        assert closed.close_cause == f"cut: Root Old ({root_id(two.ca)}) is distrusted"
        young[1].close()


@asynchronous
async def test_a_root_that_is_retired_in_an_orderly_way_cuts_nothing() -> None:
    new = Ca(name="Consul CA 8")
    async with pair() as two:
        old = await two.web.service.dial("api")
        assert await speak(*old) == b"hello"
        await renew(two, new)
        for native in (two.web, two.api):
            await give(native, new.leaf(native.service.name))
        assert await speak(*old) == b"hello"
        old[1].close()


@asynchronous
async def test_a_peer_of_before_is_known_no_more() -> None:
    new = Ca(name="Consul CA 8")
    async with pair() as two:
        reader, writer = await two.web.service.dial("api")
        assert await speak(reader, writer) == b"hello"
        peer = writer.get_extra_info("ssl_object")
        chain = [
            certificate.public_bytes(Encoding.DER)
            for certificate in x509.load_pem_x509_certificates(two.ca.leaf("api").chain_pem.encode())
        ]
        assert two.web.service.identify(peer) == two.web.service.identify_certificate(peer.getpeercert(True))
        two.web.service.identify_chain(chain)
        await renew(two, new)
        gone = frozenset({root_id(two.ca)})
        await give(two.web, replace(new.leaf("web"), distrusted=gone))
        with pytest.raises(PeerUnknownError, match="is distrusted"):
            two.web.service.identify(peer)
        with pytest.raises(PeerUnknownError, match="no root that is trusted now"):
            two.web.service.identify_chain(chain)
