from __future__ import annotations

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.memberlist import lzw, packet
from meshnode.gossip.memberlist.codec import decode_message, pack
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.messages import Ping, Suspect
from meshnode.gossip.memberlist.packet import (
    MAX_PACKET_BYTES,
    PacketRefusedError,
    Refusal,
    add_crc,
    add_label,
    compress,
    join_compound,
    open_packet,
    split_messages,
)
from tests.unit.meshnode.gossip.memberlist import captured

PING = captured.PING
RING = Keyring([bytes(16)])
OTHER = Keyring([bytes(32)])
NONCE = bytes(12)


def refusal(data: bytes, label: bytes = b"", keyring: Keyring | None = None, verify: bool = True) -> Refusal:
    with pytest.raises(PacketRefusedError) as caught:
        open_packet(data, label, keyring, verify)
    return caught.value.refusal


def test_packets_of_serf_are_opened_and_split() -> None:
    parts = split_messages(open_packet(captured.COMPOUND_PING_SUSPECT, b"", None, True))
    ping, suspect = map(decode_message, parts)
    assert isinstance(ping, Ping)
    assert suspect == Suspect(1, "ibex", "goat")
    assert join_compound(parts) == captured.COMPOUND_PING_SUSPECT
    assert add_crc(captured.CRC_SUSPECT[5:]) == captured.CRC_SUSPECT
    inner = open_packet(captured.CRC_COMPRESSED, b"", None, True)
    assert compress(packet.decompress(packet.unpack_map(inner[1:]), 10_000)) == inner


@pytest.mark.parametrize("label", [b"", b"pool", b"x" * 255])
@pytest.mark.parametrize("keyring", [None, RING], ids=["plain", "sealed"])
def test_every_wrapping_opens_again(label: bytes, keyring: Keyring | None) -> None:
    wrapped = add_crc(compress(join_compound([PING, PING])))
    if keyring:
        wrapped = keyring.seal(wrapped, NONCE, label)
    opened = open_packet(add_label(wrapped, label), label, keyring, True)
    assert split_messages(opened) == [PING, PING]


def test_another_label_is_refused_both_ways() -> None:
    assert refusal(PING, b"pool") is Refusal.LABEL
    assert refusal(add_label(PING, b"pool")) is Refusal.LABEL
    assert refusal(add_label(PING, b"pool"), b"loop") is Refusal.LABEL
    assert refusal(b"\xf4\x00" + PING) is Refusal.MALFORMED
    assert refusal(b"\xf4\x05abc") is Refusal.MALFORMED
    assert refusal(b"\xf4") is Refusal.MALFORMED


def test_a_label_is_authenticated_by_the_seal() -> None:
    sealed = RING.seal(PING, NONCE, b"one")
    assert refusal(add_label(sealed, b"two"), b"two", RING) is Refusal.KEY


@pytest.mark.parametrize("plain", [PING, captured.NACK, captured.CRC_DEAD, captured.COMPOUND_PING_SUSPECT])
def test_plaintext_is_told_from_another_key_and_passes_only_when_allowed(plain: bytes) -> None:
    assert refusal(plain, keyring=RING) is Refusal.PLAINTEXT
    assert open_packet(plain, b"", RING, False)
    assert refusal(OTHER.seal(plain, NONCE, b""), keyring=RING) is Refusal.KEY


def test_without_verification_sealed_packets_still_open() -> None:
    assert open_packet(RING.seal(PING, NONCE, b""), b"", RING, False) == PING


def test_a_wrong_checksum_and_an_empty_packet_are_refused() -> None:
    assert refusal(captured.CRC_DEAD[:-1] + b"?") is Refusal.CHECKSUM
    assert refusal(b"") is Refusal.MALFORMED
    assert refusal(add_crc(b"")) is Refusal.MALFORMED
    assert refusal(RING.seal(b"", NONCE, b""), keyring=RING) is Refusal.MALFORMED


def test_a_packet_may_be_as_large_as_udp_and_no_larger() -> None:
    assert len(open_packet(b"\x08" + bytes(MAX_PACKET_BYTES - 1), b"", None, True)) == MAX_PACKET_BYTES
    assert refusal(b"\x08" + bytes(MAX_PACKET_BYTES)) is Refusal.MALFORMED


def test_a_packet_expands_to_the_size_of_udp_and_no_further() -> None:
    split_messages(compress(b"\x08" + bytes(MAX_PACKET_BYTES - 1)))
    with pytest.raises(RemoteProtocolError, match=str(MAX_PACKET_BYTES)):
        split_messages(compress(b"\x08" + bytes(MAX_PACKET_BYTES)))


def test_wrappers_nest_a_few_times_and_no_more() -> None:
    nested = join_compound([compress(join_compound([PING]))])
    assert split_messages(nested) == [PING]
    with pytest.raises(RemoteProtocolError, match="wrapped more than"):
        split_messages(join_compound([nested]))


def test_a_compound_message_that_is_cut_off_gives_its_whole_parts() -> None:
    whole = join_compound([PING, PING, PING])
    assert split_messages(whole[:-1]) == [PING, PING]
    for broken in (b"\x07", b"\x07\x02\x00\x01\x00"):
        with pytest.raises(RemoteProtocolError, match="table of lengths"):
            split_messages(broken)
    assert split_messages(b"\x07\x00") == []


def test_a_compound_message_holds_255_parts() -> None:
    assert split_messages(join_compound([b"\x08x"] * 255)) == [b"\x08x"] * 255


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Algo": 1, "Buf": lzw.compress(b"x")}, "algorithm"),
        ({"Algo": 0, "Buf": lzw.compress(b"")}, "empty"),
        ({"Algo": 0}, "end code"),
        ({"Algo": 0, "Buf": 3}, "Buf"),
    ],
)
def test_a_broken_compress_message_is_a_remote_error(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        split_messages(b"\x09" + pack(fields))
