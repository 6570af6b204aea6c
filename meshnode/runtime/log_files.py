"""Where the log goes beside standard output, for agents that ask for it: a file that is rotated, the local syslog."""

from __future__ import annotations

import logging
import logging.handlers
import socket
import time
from pathlib import Path

from meshnode.base.errors import ConfigError

__all__ = ["RotatingFile", "Syslog"]


class RotatingFile(logging.handlers.BaseRotatingHandler):
    """Rotation by size and age together, which the standard handlers offer only one at a time.

    ``max_bytes`` 0: never by size; ``max_files`` old ones stay (0: all). Raises :class:`ConfigError`.
    """

    def __init__(self, path: str, max_bytes: int, rotate_seconds: float, max_files: int) -> None:
        try:
            super().__init__(path, "a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"log_file: can't write {path}: {error.strerror}", key="log_file") from None
        self._path, self._max_bytes, self._rotate_seconds = path, max_bytes, rotate_seconds
        self._max_files = max_files
        self._opened = time.time()

    def write_line(self, _level: int, line: str) -> None:
        """Write ``line``; raises ``OSError``."""
        if self.stream is None:
            return
        full = self._max_bytes > 0 and self.stream.tell() + len(line) > self._max_bytes
        old = self._rotate_seconds > 0 and time.time() - self._opened > self._rotate_seconds
        if full or old:
            self.stream.close()
            try:
                self.rotate(self._path, f"{self._path}-{time.time_ns()}")
            finally:
                # Where it can't be renamed the same file goes on.
                self.stream = self._open()
                self._opened = time.time()
            self._prune()
        self.stream.write(line + "\n")
        self.stream.flush()

    def _prune(self) -> None:
        """Delete the oldest rotated files beyond ``max_files``; -1 deletes all of them (Consul)."""
        if self._max_files == 0:
            return
        path = Path(self._path)
        old = sorted(path.parent.glob(path.name + "-*"))
        for stale in old[: max(0, len(old) - max(self._max_files, 0))]:
            stale.unlink(missing_ok=True)


class Syslog:
    """The local syslog. Raises :class:`ConfigError` for an unknown facility or no daemon."""

    def __init__(self, facility: str, address: str) -> None:
        number = logging.handlers.SysLogHandler.facility_names.get(facility.lower())
        if number is None:
            raise ConfigError(
                f"syslog_facility: {facility!r} is not a facility such as LOCAL0", key="syslog_facility"
            )
        try:
            # The handler itself says nothing when nobody is there.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                probe.connect(address)
        except OSError as error:
            raise ConfigError(
                f"enable_syslog: no syslog daemon answers on {address} ({error.strerror})",
                key="enable_syslog",
            ) from None
        self._handler = logging.handlers.SysLogHandler(address, number)

    def write_line(self, level: int, line: str) -> None:
        """Send ``line``."""
        self._handler.handle(
            logging.LogRecord("meshnode", max(level, logging.DEBUG), "", 0, "%s", (line,), None)
        )

    def close(self) -> None:
        """Close the socket."""
        self._handler.close()
