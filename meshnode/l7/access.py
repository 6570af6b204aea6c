"""One line of the access log for each exchange, and one for each request that was not let through."""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.proxy.ledger import shown_path

__all__ = ["Exchange", "access_line"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what became of it. Bytes are of bodies; ``received`` came from the client, ``sent`` went to it.

    ``status`` is 0 when nothing was answered; ``audited`` and ``refused`` say what the rules did: the latter is a word,
    ``denied`` or ``http.400`` for a path that they can't be asked about, and ``refusal`` its id in the ledger.
    ``because`` is empty when the application answered and all went well.
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
    refused: str = ""
    refusal: int = 0
    audited: bool = False


def access_line(done: Exchange) -> str:
    """One exchange in one line, without the query of its path."""
    who = f"{done.source} from {done.peer}" if done.source else done.peer
    number = f" #{done.connection}" if done.connection else ""
    line = (
        f"{done.listener}{number} {who}: {done.method} {done.authority}{shown_path(done.path)} {done.version}"
        f" -> {done.status or '-'}; in {done.received} out {done.sent} bytes, {done.seconds:.3f} s"
    )
    if done.request_id:
        line += f", request {done.request_id}"
    if done.refusal:
        line += f", refused as #{done.refusal}"
    if done.rule:
        line += f", rule {done.rule}"
    return f"{line}: {done.because}" if done.because else line
