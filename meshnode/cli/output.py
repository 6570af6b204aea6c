"""What commands print besides lines of text: raw bytes, JSON as Go indents it, and the ``-format`` flag."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagSet, Parsed

__all__ = ["FormatFlag", "go_json", "labelled", "print_json", "write_line"]

#: What Go's ``encoding/json`` escapes so that JSON can stand in a web page.
_ESCAPED: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
#: Spaces after the widest label, as Consul's tab writer has it.
LABEL_GAP: Final = 6


class FormatFlag:
    """Adds ``-format`` to a set, and says what was asked for."""

    def __init__(self, flags: FlagSet) -> None:
        self._flag = flags.string(
            "format", "Output format: pretty or json.", default="pretty", placeholder="format"
        )

    def is_json(self, parsed: Parsed) -> bool:
        """Whether JSON is wanted; raises :class:`ConfigError` for a format that does not exist."""
        if parsed[self._flag] not in {"pretty", "json"}:
            raise ConfigError(f"-format: {parsed[self._flag]!r} is not a format: write pretty or json")
        return parsed[self._flag] == "json"


def print_json(value: Any) -> None:
    """Print ``value`` indented by four spaces, in ASCII."""
    print(json.dumps(value, indent=4))


def go_json(value: Any, indent: str) -> str:
    """``value`` as Go's ``json.MarshalIndent`` writes it, ``indent`` for each level."""
    return json.dumps(value, indent=indent, ensure_ascii=False).translate(_ESCAPED)


def labelled(rows: list[tuple[str, str]]) -> str:
    """Lines of a label and its text, the texts below one another; without a line break at the end."""
    width = max((len(label) for label, _ in rows), default=0) + LABEL_GAP
    return "\n".join(label.ljust(width) + text for label, text in rows)


def write_line(data: bytes | str) -> None:
    """Write ``data`` as it is and a line break: values need not be text in any encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write((_encoded(data) if isinstance(data, str) else data) + b"\n")
    sys.stdout.buffer.flush()


def _encoded(text: str) -> bytes:
    """UTF-8, but bytes of the command line that were none come out as they were typed."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
