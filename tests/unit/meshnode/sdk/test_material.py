from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.proxy.authorize import Identity, read_peer
from meshnode.runtime.proxy import following
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.sdk.errors import PeerUnknownError
from meshnode.sdk.material import MAX_CHAIN, CurrentMaterial
from tests.support.asynchronous import asynchronous
from tests.support.chains import issued, under
from tests.support.proxy import Ca, Certificates, spiffe
from tests.support.waiting import until


def der(*texts: str) -> list[bytes]:
    return [
        certificate.public_bytes(Encoding.DER)
        for text in texts
        for certificate in x509.load_pem_x509_certificates(text.encode())
    ]


def using(ca: Ca) -> CurrentMaterial:
    current = CurrentMaterial(None, "api")  # type: ignore[arg-type]
    current._use(ca.leaf("api"))
    return current


@asynchronous
async def test_bad_material_leaves_what_was_there(caplog: pytest.LogCaptureFixture) -> None:
    ca = Ca()
    certificates = Certificates(ca.leaf("api"))
    current = CurrentMaterial(certificates, "api")
    await current.start()
    before = current.material
    for bad in (TlsMaterial("x", "y", "z"), ca.leaf("other")):
        certificates.replace(bad)
    certificates.replace(following := ca.leaf("api"))
    await until(lambda: current.material is following, "the good one is used")
    assert caplog.text.count("the new certificate is not used") == 2
    assert before.key_pem not in caplog.text
    await current.close()


@asynchronous
async def test_the_first_material_has_to_be_good() -> None:
    with pytest.raises(ConfigError, match="not certificates in PEM form"):
        await CurrentMaterial(Certificates(TlsMaterial("x", "y", "z")), "api").start()


@asynchronous
async def test_a_provider_that_breaks_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RETRY_INTERVAL", 0.001)
    ca, given_so_far = Ca(), []

    class Breaking:
        async def watch(self) -> AsyncIterator[TlsMaterial]:
            given_so_far.append(ca.leaf("api"))
            yield given_so_far[-1]
            raise ConnectionError("the agent went away")

    current = CurrentMaterial(Breaking(), "api")
    await current.start()
    await until(lambda: len(given_so_far) > 2, "it is asked again")
    await current.close()
    assert current.identity.uri == spiffe("api")


def test_who_vouches_for_whom_is_learnt_from_what_is_verified_and_not_from_what_comes_with_it() -> None:
    ca, stranger = Ca(), Ca()
    current = using(ca)
    chain, odd = der(under(ca, "web").chain_pem), der(under(stranger, "web").chain_pem)
    theirs, other = (read_peer(found[0]) for found in (chain, odd))
    assert isinstance(theirs, Identity)
    assert isinstance(other, Identity)
    current.verify([*der(ca.leaf("web").chain_pem), odd[1]])
    current.issuers.trust(ca.root.certificate_pem + stranger.root.certificate_pem, (), frozenset())
    assert not current.issuers.vouched(other.issuer)
    assert not current.issuers.vouched(theirs.issuer)
    current.verify(chain)
    assert current.issuers.vouched(theirs.issuer)


def test_a_chain_leads_to_a_root_or_is_refused() -> None:
    ca = Ca()
    current = using(ca)
    leaf = ca.leaf("web").chain_pem
    between, key = issued(ca.root.certificate_pem, ca.root.key, "", is_ca=True)
    below, _ = issued(between, key, spiffe("web"))
    holder = ca.leaf("web")
    forged, _ = issued(holder.chain_pem, holder.key_pem, spiffe("admin"))
    stranger = Ca()
    for good in (der(leaf), der(below, between), der(leaf, ca.root.certificate_pem), der(leaf, between)):
        current.verify(good)
    for bad in (
        [],
        der(below),
        der(below, stranger.root.certificate_pem),
        der(forged, holder.chain_pem),
        der(stranger.leaf("web").chain_pem),
        der(stranger.leaf("web").chain_pem, ca.root.certificate_pem),
        der(below, leaf, between),
    ):
        with pytest.raises(PeerUnknownError):
            current.verify(bad)


def test_a_chain_is_bounded() -> None:
    ca = Ca()
    current, leaf = using(ca), der(ca.leaf("web").chain_pem)
    current.verify(leaf * MAX_CHAIN)
    with pytest.raises(PeerUnknownError, match=f"more than {MAX_CHAIN}"):
        current.verify(leaf * (MAX_CHAIN + 1))
    with pytest.raises(PeerUnknownError, match="too long"):
        current.verify([b"\x30" * (64 * 1024 + 1)])


CA = Ca()
CURRENT = using(CA)
LEAF = der(CA.leaf("web").chain_pem)[0]


@example(b"", 15, 128)  # a serial number below 0
@given(st.binary(max_size=200), st.integers(0, len(LEAF) - 1), st.integers(1, 255))
def test_no_bytes_are_more_than_refused(noise: bytes, place: int, change: int) -> None:
    with pytest.raises(PeerUnknownError):
        CURRENT.verify([noise])
    twisted = LEAF[:place] + bytes([LEAF[place] ^ change]) + LEAF[place + 1 :]
    try:
        CURRENT.verify([twisted])
    except PeerUnknownError:
        return
    # A signature has more than one spelling; what is signed has one.
    signed = x509.load_der_x509_certificate(twisted).tbs_certificate_bytes
    assert signed == x509.load_der_x509_certificate(LEAF).tbs_certificate_bytes


def test_every_changed_byte_of_what_is_signed_is_refused() -> None:
    signed = x509.load_der_x509_certificate(LEAF).tbs_certificate_bytes
    start = LEAF.index(signed)
    for place in range(start, start + len(signed)):
        with pytest.raises(PeerUnknownError):
            CURRENT.verify([LEAF[:place] + bytes([LEAF[place] ^ 1]) + LEAF[place + 1 :]])
