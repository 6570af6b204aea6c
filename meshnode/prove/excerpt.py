"""The piece of a capture that a verdict shows, as ``tcpdump -X`` would."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from meshnode.base.address import Address
from meshnode.prove.hexdump import hexdump

__all__ = ["Excerpt"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS: Final = 200_000_000_000


@dataclass(frozen=True, slots=True)
class Excerpt:
    """``data`` is at ``offset`` of the payload of the datagram or of the stream that began at ``at``."""

    at: float
    transport: str
    source: Address
    destination: Address
    data: bytes
    offset: int = 0

    @property
    def time(self) -> datetime:
        """When it was captured, UTC."""
        return _EPOCH + timedelta(seconds=min(max(self.at, 0.0), _MAX_SECONDS))

    def lines(self) -> str:
        """A line as tcpdump's, then the dump; offsets count from the first byte of payload."""
        family = "IP6" if ":" in self.source.host else "IP"
        ends = f"{self.source.host}.{self.source.port} > {self.destination.host}.{self.destination.port}"
        where = f"{self.time:%H:%M:%S.%f} {family} {ends}: {self.transport.upper()}, payload"
        return f"{where}\n{hexdump(self.data, self.offset)}"

    def as_dict(self) -> dict[str, object]:
        """The excerpt as JSON data."""
        return {
            "time": self.time.isoformat(),
            "transport": self.transport,
            "source": str(self.source),
            "destination": str(self.destination),
            "offset": self.offset,
            "dump": [line.lstrip("\t") for line in hexdump(self.data, self.offset).splitlines()],
        }
