"""One watch as a machine: answers in; out come the next question, a handler to run, or a pause.

    watch = Watch(plan)
    effects = watch.start()
    # perform Ask      -> effects = watch.handle_answer(...) or watch.handle_failure("why not")
    # perform Pause    -> effects = watch.handle_timer()
    # perform RunHandler, then the effect after it

There is exactly one ``Ask`` or ``Pause`` in each list, and it is the last one. Rules as Consul documents them
(https://www.consul.io/api/features/blocking.html): an index that goes backwards starts again at 0, an answer
without an index is an error, and the same content does not run the handler again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from meshnode.base.errors import RemoteProtocolError
from meshnode.watch.plan import WatchPlan

__all__ = ["MAX_PAUSE", "RETRY_INTERVAL", "Answer", "Ask", "Effect", "Pause", "RunHandler", "Watch"]

#: Seconds to wait after the first failure; it grows with the square of the failures in a row.
RETRY_INTERVAL: Final = 5.0
#: Seconds; no pause is longer.
MAX_PAUSE: Final = 180.0
MAX_INDEX: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Ask:
    """Send ``GET path?query`` and hand on the answer; it may take ten minutes."""

    path: str
    query: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RunHandler:
    """Run the handler, to its end, with ``payload`` (JSON as Python values). ``index`` is a decimal, or a hash."""

    index: str
    payload: Any

    def document(self) -> bytes:
        """The payload as a handler reads it: JSON on one line."""
        return _serialize(self.payload) + b"\n"


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait ``seconds`` because of ``reason``, then call ``handle_timer``."""

    seconds: float
    reason: str


Effect = Ask | RunHandler | Pause


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said. ``index`` and ``content_hash`` are headers as text, empty when they were not sent."""

    status: int
    index: str
    content_hash: str
    body: bytes


class Watch:
    """Asks for ever; who runs it stops performing to stop it."""

    def __init__(self, plan: WatchPlan) -> None:
        self.plan = plan
        #: What to block on: "" asks for what there is now.
        self._position = ""
        self._digest = b""
        self._failures = 0

    def start(self) -> list[Effect]:
        """The first question."""
        return [self._ask()]

    def handle_timer(self) -> list[Effect]:
        """A pause is over."""
        return [self._ask()]

    def handle_failure(self, reason: str) -> list[Effect]:
        """The question could not be asked, or not be answered: try again, less and less often."""
        self._failures += 1
        if not self.plan.by_event:
            # The next answer comes at once, whatever became of the index meanwhile.
            self._position = ""
        return [Pause(min(MAX_PAUSE, RETRY_INTERVAL * self._failures**2), reason)]

    def handle_answer(self, answer: Answer) -> list[Effect]:
        """Take in an answer; one that makes no sense is a failure."""
        missing = answer.status == 404 and self.plan.missing_is_null
        if answer.status != 200 and not missing:
            text = answer.body[:200].decode(errors="replace").strip()
            return self.handle_failure(f"Unexpected response code: {answer.status} ({text})")
        try:
            position = self._read_position(answer)
            if position == self._position:
                self._failures = 0
                return [self._ask()]
            payload = self.plan.payload(answer.body, missing=missing)
            if self.plan.by_event:
                payload = _later_events(payload, self._position)
        except RemoteProtocolError as error:
            return self.handle_failure(str(error))
        self._failures = 0
        backwards = (
            not self.plan.by_hash
            and not self.plan.by_event
            and self._position != ""
            and int(position) < int(self._position)
        )
        self._position = "0" if backwards else position
        digest = hashlib.sha256(_serialize(payload)).digest()
        changed, self._digest = digest != self._digest, digest
        return [RunHandler(position, payload), self._ask()] if changed else [self._ask()]

    def _ask(self) -> Ask:
        query = self.plan.query
        if self._position:
            query += (("hash" if self.plan.by_hash else "index", self._position),)
        return Ask(self.plan.path, query)

    def _read_position(self, answer: Answer) -> str:
        if self.plan.by_hash:
            if not answer.content_hash:
                raise RemoteProtocolError(f"the answer of {self.plan.path} has no X-Consul-ContentHash")
            return answer.content_hash
        text = answer.index
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and 0 < int(text) <= MAX_INDEX):
            raise RemoteProtocolError(
                f"the answer of {self.plan.path} has no X-Consul-Index that can be waited on, but {text[:40]!r}"
            )
        return str(int(text))


def _serialize(payload: Any) -> bytes:
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _later_events(events: Any, position: str) -> Any:
    """The events after the one that ``position`` stands for; all of them when it is not in the list any more."""
    if events is None:
        return []
    if not isinstance(events, list):
        raise RemoteProtocolError("the list of events is not a list")
    for at in range(len(events) - 1, -1, -1):
        if position and _event_position(events[at]) == position:
            return events[at + 1 :]
    return events


def _event_position(event: Any) -> str:
    """Consul's index of an event: both halves of its UUID, XORed."""
    digits = str(event.get("ID", "") if isinstance(event, dict) else "").replace("-", "")
    try:
        value = int(digits, 16)
    except ValueError:
        return ""
    return str((value >> 64) ^ (value & MAX_INDEX))
