"""Request lines for logs, without the secrets in them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

__all__ = ["loggable_target"]

HIDDEN: Final = "<hidden>"
#: Longest target that is logged whole.
MAX_LOGGED_CHARS: Final = 1024
#: The legacy ACL routes carry a token in their path.
_ACL_PATH: Final = re.compile(r"^(/v1/acl/(?:create|update|destroy|info|clone|list)/).+")


def loggable_target(path: str, raw_query: str) -> str:
    """``/v1/kv/a?token=<hidden>``: the target with tokens masked and with nothing that could break a log line."""
    shown = _ACL_PATH.sub(rf"\g<1>{HIDDEN}", path)
    if raw_query:
        shown += "?" + "&".join(_masked(field) for field in raw_query.split("&"))
    if len(shown) > MAX_LOGGED_CHARS:
        shown = f"{shown[:MAX_LOGGED_CHARS]}..."
    return shown if shown.isprintable() else shown.encode("unicode_escape", "surrogatepass").decode("ascii")


def _masked(field: str) -> str:
    name, equals, _ = field.partition("=")
    return f"{name}={HIDDEN}" if equals and unquote_plus(name) == "token" else field
