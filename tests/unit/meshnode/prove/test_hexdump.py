"""The dump is tcpdump's, byte for byte."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from meshnode.base.address import Address
from meshnode.prove.hexdump import hexdump
from tests.support.frames import pcap, udp
from tests.support.programs import needs

SOURCE, DESTINATION = Address("10.0.0.1", 40000), Address("10.0.0.2", 40001)


def test_a_row_has_offset_pairs_and_text() -> None:
    assert hexdump(b"GET /v1/kv\r\n\x00\xff~ x", 0x30).splitlines() == [
        "\t0x0030:  4745 5420 2f76 312f 6b76 0d0a 00ff 7e20  GET./v1/kv....~.",
        "\t0x0040:  78                                       x",
    ]


def test_nothing_is_an_empty_dump() -> None:
    assert hexdump(b"") == ""


@needs("tcpdump")
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 100])
def test_tcpdump_prints_the_same(length: int, tmp_path: Path) -> None:
    frame = udp(SOURCE, DESTINATION, bytes(range(20, 20 + length)))
    (tmp_path / "one.pcap").write_bytes(pcap([frame]).getvalue())
    command = ["tcpdump", "-n", "-X", "-r", str(tmp_path / "one.pcap")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[1:] == hexdump(frame[14:]).splitlines()
