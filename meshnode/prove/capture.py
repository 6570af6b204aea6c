"""Packets of a capture file, and what in it could not be read.

What can't be read is counted, never guessed at: each counter that is not zero takes away from what the capture proves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from meshnode.base.errors import MeshError
from meshnode.prove.fragments import Fragments
from meshnode.prove.frame import LINK_TYPES, Packet, network_layer, transport_layer
from meshnode.prove.records import Record, RecordReader
from meshnode.prove.tap_file import PROGRAM

__all__ = ["Capture", "Packet"]


@dataclass(slots=True)
class Capture:
    """Reads one capture; the counters are final when :meth:`packets` is exhausted.

    ``frames`` were read. Of these, ``skipped`` hold no TCP or UDP (such as ARP), ``damaged`` have headers that
    can't be read, and ``lost`` IP datagrams lack a fragment. ``cut``: the file ends within a record. ``tapped``: a tap
    wrote it, of what passed through sockets.
    """

    file: BinaryIO
    name: str
    frames: int = 0
    skipped: int = 0
    damaged: int = 0
    cut: bool = False
    tapped: bool = False
    _fragments: Fragments = field(default_factory=Fragments)

    @property
    def lost(self) -> int:
        """IP datagrams that stayed incomplete."""
        return self._fragments.lost

    def packets(self) -> Iterator[Packet]:
        """Yield the packets in file order; raises :class:`MeshError` when the file is no capture that is read."""
        reader = RecordReader(self.file, self.name)
        for record in reader.records():
            self.frames += 1
            try:
                packet = self._packet(record)
            except (ValueError, IndexError, struct.error):
                self.damaged += 1
                continue
            if packet is not None:
                yield packet
        self._fragments.finish()
        self.cut, self.tapped = reader.cut, reader.program == PROGRAM

    def problems(self) -> list[str]:
        """What was on the wire and is not judged, a sentence each; empty when everything was."""
        found = []
        if self.cut:
            found.append(f"{self.name} is cut short after frame {self.frames}: what followed is not judged")
        if self.damaged:
            found.append(f"{self.name}: {self.damaged} packets have headers that can't be read")
        if self.lost:
            found.append(f"{self.name}: {self.lost} fragmented datagrams are incomplete")
        return found

    def _packet(self, record: Record) -> Packet | None:
        if record.link_type not in LINK_TYPES:
            raise MeshError(
                f"{self.name} has link type {record.link_type}, which is not read: capture on an Ethernet, bridge "
                "or veth interface, or on any"
            )
        datagram = network_layer(record.data, record.link_type, record.length)
        if datagram is not None and datagram.fragment is not None:
            datagram = self._fragments.add(datagram)
            if datagram is None:
                return None
        packet = transport_layer(record.at, datagram) if datagram is not None else None
        if packet is None:
            self.skipped += 1
        return packet
