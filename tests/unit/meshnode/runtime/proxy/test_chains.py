"""What OpenSSL has verified, on both sides of a handshake through an intermediate."""

from __future__ import annotations

import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from meshnode.proxy.authorize import Identity, read_peer
from meshnode.proxy.issuers import Issuers
from meshnode.runtime.proxy.chains import verified_chain
from meshnode.runtime.proxy.contexts import make_contexts
from tests.support.chains import under
from tests.support.proxy import Ca


def shaken(
    client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    left, right = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(left, right, session=session),
        server.wrap_bio(right, left, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ends[1].write(b"x")
    assert ends[0].read() == b"x"
    return ends


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_sides_have_the_chain_up_to_the_root_and_a_resumed_session_has_none(
    version: ssl.TLSVersion,
) -> None:
    ca = Ca()
    contexts = {name: make_contexts(under(ca, name)) for name in ("web", "api")}
    client, server = contexts["web"].client, contexts["api"].server
    client.maximum_version = version
    root = ca.root.certificate.public_bytes(Encoding.DER)
    ends = shaken(client, server)
    for end in ends:
        chain = verified_chain(end)
        assert (len(chain), chain[0], chain[2]) == (3, end.getpeercert(binary_form=True), root)
        issuers, peer = Issuers(), read_peer(chain[0])
        assert isinstance(peer, Identity)
        issuers.trust(ca.root.certificate_pem, (), frozenset())
        assert not issuers.vouched(peer.issuer)
        issuers.learn(chain)
        assert issuers.vouched(peer.issuer)
    again = shaken(client, server, ends[0].session)
    assert again[0].session_reused
    assert all(end.getpeercert(binary_form=True) for end in again)
    assert verified_chain(again[0]) == []


def test_a_later_python_gives_it_by_itself() -> None:
    class Later:
        def get_verified_chain(self) -> list[bytes]:
            return [b"leaf", b"root"]

    assert verified_chain(Later()) == [b"leaf", b"root"]  # type: ignore[arg-type]
    assert verified_chain(object()) == []  # type: ignore[arg-type]
