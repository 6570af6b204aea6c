"""One line of the access log for each exchange, and one for each request that was not let through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Exchange", "access_line"]

_MAX_PATH_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what became of it. Bytes are of bodies; ``received`` came from the client, ``sent`` went to it.

    ``status`` is 0 when nothing was answered; ``denied`` and ``audited`` say what the rules did. ``because`` is empty
    when the application answered and all went well.
    """

    listener: str
    connection: int
    peer: str
    source: str
    method: str
    authority: str
    path: str
    version: str
    status: int
    received: int
    sent: int
    seconds: float
    request_id: str = ""
    rule: str = ""
    because: str = ""
    denied: bool = False
    audited: bool = False


def access_line(done: Exchange) -> str:
    """Queries are left out: they hold what is nobody's business, tokens among it."""
    path = done.path.partition("?")[0]
    path = path if len(path) <= _MAX_PATH_CHARS else f"{path[:_MAX_PATH_CHARS]}..."
    who = f"{done.source} from {done.peer}" if done.source else done.peer
    number = f" #{done.connection}" if done.connection else ""
    line = (
        f"{done.listener}{number} {who}: {done.method} {done.authority}{path} {done.version} -> {done.status or '-'}; "
        f"in {done.received} out {done.sent} bytes, {done.seconds:.3f} s"
    )
    if done.request_id:
        line += f", request {done.request_id}"
    if done.rule:
        line += f", rule {done.rule}"
    return f"{line}: {done.because}" if done.because else line
