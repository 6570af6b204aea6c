from __future__ import annotations

import hashlib

import pytest

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.gossip.memberlist.codec import decode_message
from meshnode.gossip.memberlist.keyring import SEALED_OVERHEAD, Keyring, NoKeyFitsError
from meshnode.gossip.memberlist.messages import Nack, Ping
from tests.unit.meshnode.gossip.memberlist import captured

FIRST, SECOND, THIRD = (bytes((value,)) * 16 for value in (1, 2, 3))
NONCE = bytes(range(12))


@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1400])
def test_what_is_sealed_opens_with_the_same_key_and_label(size: int, version: int, length: int) -> None:
    keyring = Keyring([bytes(size)])
    sealed = keyring.seal(bytes(length), NONCE, b"label", version)
    assert sealed[0] == version
    assert len(sealed) == SEALED_OVERHEAD + length + ((16 - length % 16) if version == 0 else 0)
    assert keyring.open(sealed, b"label") == bytes(length)
    with pytest.raises(NoKeyFitsError):
        keyring.open(sealed, b"")


def test_packets_that_serf_sealed_open() -> None:
    keyring = Keyring([FIRST, captured.KEY])
    ping, nack = (
        decode_message(keyring.open(raw, b"")) for raw in (captured.SEALED_PING, captured.SEALED_NACK)
    )
    assert isinstance(ping, Ping)
    assert (ping.node, ping.source_node) == ("py", "ibex")
    assert nack == Nack(6)


def test_every_installed_key_opens_and_the_primary_seals() -> None:
    keyring, peer = Keyring([FIRST]), Keyring([SECOND])
    keyring.add(SECOND)
    assert keyring.open(peer.seal(b"x", NONCE, b""), b"") == b"x"
    with pytest.raises(NoKeyFitsError):
        peer.open(keyring.seal(b"x", NONCE, b""), b"")
    keyring.use(SECOND)
    assert keyring.keys == (SECOND, FIRST)
    assert peer.open(keyring.seal(b"x", NONCE, b""), b"") == b"x"
    keyring.remove(FIRST)
    assert keyring.keys == (SECOND,)


def test_the_error_names_the_fingerprints_and_no_key() -> None:
    assert gossip_key_fingerprint(FIRST) == hashlib.sha256(FIRST).hexdigest()[:8]
    sealed = Keyring([THIRD]).seal(b"x", NONCE, b"")
    with pytest.raises(
        NoKeyFitsError, match=f"installed: {gossip_key_fingerprint(FIRST)}, {gossip_key_fingerprint(SECOND)}"
    ) as caught:
        Keyring([FIRST, SECOND]).open(sealed, b"")
    assert FIRST.hex() not in str(caught.value)


@pytest.mark.parametrize("size", [0, 15, 17, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(MeshError, match=f"{size} bytes"):
        Keyring([bytes(size)])


def test_the_primary_key_can_not_be_removed_and_removing_is_repeatable() -> None:
    keyring = Keyring([FIRST, SECOND])
    with pytest.raises(MeshError, match="primary"):
        keyring.remove(FIRST)
    keyring.remove(THIRD)  # what isn't there is gone already, as in memberlist: a removal can be repeated
    assert keyring.keys == (FIRST, SECOND)
    with pytest.raises(MeshError, match="install it first"):
        keyring.use(THIRD)
    keyring.add(SECOND)
    assert keyring.keys == (FIRST, SECOND)


def test_an_empty_ring_is_false_and_can_not_seal() -> None:
    assert not Keyring()
    with pytest.raises(MeshError, match="empty"):
        Keyring().seal(b"x", NONCE, b"")


@pytest.mark.parametrize(
    ("sealed", "reason"),
    [(b"", "too few"), (b"\x01" + bytes(27), "too few"), (b"\x02" + bytes(40), "version 2")],
)
def test_what_can_not_be_sealed_is_a_remote_error(sealed: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        Keyring([FIRST]).open(sealed, b"")


@pytest.mark.parametrize("plain", [b"", b"\x00", b"x\x11", b"\x03\x03", b"abc\x02\x03\x03"])
def test_wrong_padding_is_a_remote_error(plain: bytes) -> None:
    keyring = Keyring([FIRST])
    unpadded = keyring.seal(plain, NONCE, b"", 1)
    with pytest.raises(RemoteProtocolError, match="padding"):
        keyring.open(b"\x00" + unpadded[1:], b"")
