from __future__ import annotations

from random import Random

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.memberlist import lzw
from meshnode.gossip.memberlist.codec import unpack_map
from tests.unit.meshnode.gossip.memberlist import captured


def test_what_go_compressed_is_read_and_written_byte_for_byte() -> None:
    compressed = unpack_map(captured.PUSH_PULL[1:])[b"Buf"]
    plain = lzw.decompress(compressed, 10_000)
    assert plain.startswith(b"\x06\x83\xa4Join")
    assert lzw.compress(plain) == compressed


@pytest.mark.parametrize("alphabet", [1, 2, 16, 256])
@pytest.mark.parametrize("size", [0, 1, 2, 255, 4_096, 70_000])
def test_data_survives_compression_over_every_code_width_and_table_reset(alphabet: int, size: int) -> None:
    seed = size * 1000 + alphabet
    print(f"seed {seed}")
    rng = Random(seed)
    data = bytes(rng.randrange(alphabet) for _ in range(size))
    assert lzw.decompress(lzw.compress(data), size) == data


def test_a_decompression_bomb_stops_at_the_limit() -> None:
    bomb = lzw.compress(bytes(1_000_000))
    assert len(bomb) < 3_000
    assert len(lzw.decompress(bomb, 1_000_000)) == 1_000_000
    with pytest.raises(RemoteProtocolError, match="more than 999999 bytes"):
        lzw.decompress(bomb, 999_999)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "without its end code"),
        (lzw.compress(b"hello")[:-2], "without its end code"),
        ((256 | 300 << 9).to_bytes(3, "little"), "impossible code"),
        ((256 | 258 << 9).to_bytes(3, "little"), "impossible code"),
    ],
)
def test_broken_data_is_a_remote_error(data: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        lzw.decompress(data, 100)


def test_a_table_that_is_full_and_never_cleared_still_reads() -> None:
    # Literals only: the table fills up and stays full, as other writers than Go's may leave it.
    values = [value % 256 for value in range(6000)]
    bits, held, width, known = 256, 9, 9, 258
    for index, value in enumerate(values):
        bits |= value << held
        held += width
        if index and known < 4096:
            known += 1
            if known == 1 << width and width < 12:
                width += 1
    bits |= 257 << held
    data = bits.to_bytes((held + width + 7) // 8, "little")
    assert lzw.decompress(data, 6000) == bytes(values)
