"""Both file formats in all their forms, as dpkt and tcpdump read them, and files that break off."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
from pathlib import Path

import dpkt
import pytest

from meshnode.base.errors import MeshError
from meshnode.prove.records import MAX_BLOCK_BYTES, MAX_FRAME_BYTES, Record, RecordReader
from tests.support.frames import pcap, pcapng
from tests.support.programs import needs

FRAMES = [bytes([number]) * (20 + number) for number in range(5)]


def read(file: io.BytesIO) -> tuple[list[Record], bool]:
    reader = RecordReader(file, "x.pcap")
    return list(reader.records()), reader.cut


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "fraction"), [(0xA1B2C3D4, 5e-6), (0xA1B23C4D, 5e-9)])
def test_classic_files_of_either_byte_order_and_resolution(order: str, magic: int, fraction: float) -> None:
    records, cut = read(pcap(FRAMES, 113, order=order, magic=magic))
    assert [record.data for record in records] == FRAMES
    assert [record.at for record in records] == pytest.approx(
        [second + fraction for second in range(5)], abs=1e-12
    )
    assert {record.link_type for record in records} == {113}
    assert not cut


def test_dpkt_reads_the_same_from_a_classic_file() -> None:
    theirs = [(float(at), data) for at, data in dpkt.pcap.Reader(pcap(FRAMES))]
    ours = [(round(record.at, 6), record.data) for record in read(pcap(FRAMES))[0]]
    assert ours == theirs


@pytest.mark.parametrize("order", ["<", ">"])
def test_each_interface_of_a_pcapng_file_has_its_link_and_clock(order: str) -> None:
    frames = [(0, FRAMES[0]), (1, FRAMES[1]), (0, FRAMES[2]), (-1, FRAMES[3])]
    records, cut = read(pcapng(frames, [1, 276], order))
    assert [(record.link_type, record.data) for record in records] == [
        (1, FRAMES[0]), (276, FRAMES[1]), (1, FRAMES[2]), (1, FRAMES[3])
    ]  # fmt: skip
    assert [record.at for record in records] == [0, 1, 2, 0]
    assert not cut


def test_sections_of_different_byte_order_follow_each_other() -> None:
    both = pcapng([(0, FRAMES[0])], [1], "<").getvalue() + pcapng([(0, FRAMES[1])], [101], ">").getvalue()
    records, cut = read(io.BytesIO(both))
    assert [(record.link_type, record.data) for record in records] == [(1, FRAMES[0]), (101, FRAMES[1])]
    assert not cut


def test_a_frame_that_was_cut_by_the_snap_length_says_how_long_it_was() -> None:
    assert [(len(record.data), record.length) for record in read(pcap([bytes(90)], snap=60))[0]] == [(60, 90)]


@pytest.mark.parametrize(
    "file", [pcap(FRAMES), pcapng([(0, frame) for frame in FRAMES], [1])], ids=["pcap", "pcapng"]
)
def test_a_file_cut_anywhere_gives_whole_records_and_says_so(file: io.BytesIO) -> None:
    whole = file.getvalue()
    # Where a record (of pcapng: any block) ends, nothing shows that there were more.
    ends = {file.seek(0)}
    while True:
        head = file.read(16) if whole[0] == 0xD4 else file.read(8)
        if len(head) < 8:
            break
        if whole[0] == 0xD4:
            ends.add(
                file.tell() + 8 if file.tell() == 16 else file.tell() + int.from_bytes(head[8:12], "little")
            )
        else:
            ends.add(file.tell() - 8 + int.from_bytes(head[4:8], "little"))
        file.seek(max(ends))
    for end in range(30, len(whole)):
        records, cut = read(io.BytesIO(whole[:end]))
        assert [record.data for record in records] == FRAMES[: len(records)]
        assert cut is (end not in ends)


@pytest.mark.parametrize(("size", "cut"), [(MAX_FRAME_BYTES, False), (MAX_FRAME_BYTES + 1, True)])
def test_a_frame_at_the_limit_is_read_and_one_past_it_is_damage(size: int, cut: bool) -> None:
    assert read(pcap([bytes(size)], snap=1 << 30))[1] is cut


@pytest.mark.parametrize(("size", "cut"), [(MAX_BLOCK_BYTES, False), (MAX_BLOCK_BYTES + 4, True)])
def test_a_block_at_the_limit_is_read_and_one_past_it_is_damage(size: int, cut: bool) -> None:
    start = pcapng([], [1]).getvalue()
    block = struct.pack("<II", 99, size) + bytes(size - 12) + struct.pack("<I", size)
    assert read(io.BytesIO(start + block))[1] is cut


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "it is empty"), (b"not a capture", "it starts with 0x6e6f7420"), (bytes(100), "0x00000000"),
     (b"\xd4\xc3\xb2\xa1\x02\x00", "its header is cut off")],
)  # fmt: skip
def test_what_is_no_capture_is_named_as_such(content: bytes, why: str) -> None:
    with pytest.raises(MeshError, match=rf"x\.pcap is not a pcap or pcapng capture: .*{why}"):
        read(io.BytesIO(content))


def test_a_frame_of_an_interface_that_was_never_described_is_damage() -> None:
    assert read(pcapng([(3, FRAMES[0])], [1])) == ([], True)


@needs("tshark")
def test_tshark_counts_the_same_frames(tmp_path: Path) -> None:
    file = pcapng([(0, bytes(60)), (1, bytes(70)), (0, bytes(80))], [1, 1])
    (tmp_path / "x.pcapng").write_bytes(file.getvalue())
    command = ["tshark", "-n", "-r", str(tmp_path / "x.pcapng"), "-T", "fields", "-e", "frame.len"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [int(line) for line in printed.split()] == [len(record.data) for record in read(file)[0]]


def test_damage_ends_in_records_or_in_an_error_of_ours() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "5"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    files = [pcap(FRAMES).getvalue(), pcapng([(0, frame) for frame in FRAMES], [1, 276]).getvalue()]
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "1000"))):
        damaged = bytearray(rng.choice(files))
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            records, _ = read(io.BytesIO(bytes(damaged)))
        except MeshError:
            continue
        assert sum(len(record.data) for record in records) <= len(damaged)
