"""The agent's log: lines in Consul's format to standard output, a file or syslog, and to whoever monitors.

A line is ``2019/01/24 14:39:05 [INFO] agent: text``. Secrets are masked, and what is not printable is escaped, before
a line leaves this module. A sink that fails (a full disk, a closed pipe) loses lines; it never stops the agent.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from meshnode.base.errors import ConfigError
from meshnode.base.later import Later

if TYPE_CHECKING:
    from meshnode.runtime import log_files
else:
    log_files = Later("meshnode.runtime.log_files")

__all__ = ["LEVELS", "MAX_KEPT_LINES", "LogHub", "parse_level"]

TRACE: Final = 5
LEVELS: Final = {
    "TRACE": TRACE,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERR": logging.ERROR,
}
_NAMES: Final = {
    TRACE: "TRACE",
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARN",
    logging.ERROR: "ERR",
    logging.CRITICAL: "ERR",
}
#: Lines kept for a monitor that attaches later; Consul keeps 512.
MAX_KEPT_LINES: Final = 512
#: Lines that may wait for the banner; with more the log doesn't wait for it.
MAX_HELD_LINES: Final = 2048
_SECRET = re.compile(
    r"(token=)[^&\s\"']+"
    r"|(\"?(?:encrypt|token|key)\"?\s*[:=]\s*\"?)[A-Za-z0-9+/=-]{20,}"
    r"|(bearer\s+)\S+"
    r"|(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|$)",
    re.IGNORECASE | re.DOTALL,
)


def parse_level(text: str) -> int:
    """``info`` -> the level's number; accepts ``error`` and ``warning`` too. Raises :class:`ConfigError`."""
    name = {"ERROR": "ERR", "WARNING": "WARN"}.get(text.upper(), text.upper())
    if name not in LEVELS:
        raise ConfigError(f"Unknown log level: {text}", key="log_level")
    return LEVELS[name]


def _masked(text: str) -> str:
    text = _SECRET.sub(lambda m: next(filter(None, m.groups())) + "<hidden>", text)
    if text.isprintable():
        return text
    # One record is one line, whatever a peer has put into it.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Formatter(logging.Formatter):
    def __init__(self, *, as_json: bool, with_source: bool) -> None:
        super().__init__()
        self._as_json = as_json
        self._with_source = with_source

    def format(self, record: logging.LogRecord) -> str:
        source = record.name.removeprefix("meshnode.")
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None and record.levelno >= logging.ERROR:
            text = f"{text} ({type(record.exc_info[1]).__name__})"
        text = _masked(text)
        level = _NAMES.get(record.levelno, "INFO")
        if self._as_json:
            at = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))
            return json.dumps(
                {"@level": level.lower(), "@message": text, "@module": source, "@timestamp": at}
            )
        stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(record.created))
        return f"{stamp} [{level}] {source}: {text}" if self._with_source else f"{stamp} [{level}] {text}"


class LogHub(logging.Handler):
    """Formats each record once and hands the line to the sinks and to every attached monitor.

    ``with_source=False`` leaves out which part of the program speaks, as Consul's proxy does.
    """

    def __init__(self, level: int, *, as_json: bool = False, with_source: bool = True) -> None:
        super().__init__(TRACE)
        self.setFormatter(_Formatter(as_json=as_json, with_source=with_source))
        self.threshold = level
        self._indent = "" if as_json else "    "
        self._held: list[str] | None = None
        self._kept: deque[tuple[int, str]] = deque(maxlen=MAX_KEPT_LINES)
        self._monitors: dict[object, tuple[int, Callable[[str], None]]] = {}
        self._sinks: list[Callable[[int, str], None]] = [self._to_stdout]
        self._closing: list[Callable[[], None]] = []

    def install(self) -> None:
        """Make this the one handler of the ``meshnode`` logger tree."""
        root = logging.getLogger("meshnode")
        root.handlers = [self]
        root.propagate = False
        self._adjust()

    def set_level(self, level: int) -> None:
        """Change what goes to the sinks; monitors keep the level that they asked for."""
        self.threshold = level
        self._adjust()

    def hold_lines(self) -> None:
        """Keep lines from standard output until ``release_lines``: they come after the banner (Consul)."""
        self._held = []

    def release_lines(self) -> None:
        """Write what was held back, and from now on every line at once. Safe to call again."""
        held, self._held = self._held, None
        for line in held or ():
            _write(line)

    def add_file(self, path: str, max_bytes: int, rotate_seconds: float, max_files: int = 0) -> None:
        """Also write to ``path``, rotated by size (0: never) and by age; ``max_files`` old ones stay (0: all)."""
        file = log_files.RotatingFile(path, max_bytes, rotate_seconds, max_files)
        self._closing.append(file.close)
        self._sinks.append(file.write_line)

    def add_syslog(self, facility: str, address: str = "/dev/log") -> None:
        """Also write to the local syslog. Raises :class:`ConfigError` for an unknown facility or no daemon."""
        syslog = log_files.Syslog(facility, address)
        self._closing.append(syslog.close)
        self._sinks.append(syslog.write_line)

    def close(self) -> None:
        """Close the file and the syslog; what is logged afterwards goes to standard output alone."""
        super().close()
        del self._sinks[1:]
        while self._closing:
            self._closing.pop()()

    def attach(self, level: int, sink: Callable[[str], None]) -> object:
        """Send the kept lines of ``level`` and above to ``sink``, then every new one; returns what to detach."""
        for kept_level, line in list(self._kept):
            if kept_level >= level:
                sink(line)
        key = object()
        self._monitors[key] = (level, sink)
        self._adjust()
        return key

    def detach(self, key: object) -> None:
        """Stop sending lines to a monitor."""
        self._monitors.pop(key, None)
        self._adjust()

    def emit(self, record: logging.LogRecord) -> None:
        """Format and distribute one record."""
        line = self.format(record)
        if record.levelno >= self.threshold:
            self._kept.append((record.levelno, line))
            for write in self._sinks:
                try:
                    write(record.levelno, line)
                except (OSError, ValueError):
                    continue
        for level, sink in list(self._monitors.values()):
            if record.levelno >= level:
                sink(line)

    def _adjust(self) -> None:
        wanted = min([self.threshold, *(level for level, _ in self._monitors.values())])
        logging.getLogger("meshnode").setLevel(wanted)

    def _to_stdout(self, _level: int, line: str) -> None:
        line = self._indent + line
        if self._held is None:
            _write(line)
            return
        self._held.append(line)
        if len(self._held) > MAX_HELD_LINES:
            self.release_lines()


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
