"""How long the parts of an HTTP connection may take. Times are monotonic seconds; nothing here waits."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ConnectionClock", "ExchangeClock", "Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds; 0 means no bound where it says so.

    ``upstream_idle`` is below the five seconds that Node.js keeps a connection: when its owner closes one while a
    request is on its way, that request has failed.
    """

    #: TLS handshake.
    handshake: float = 10.0
    #: From the connection's begin to its first byte, and from the first byte of a request to the end of its head.
    first: float = 10.0
    header: float = 10.0
    #: Between two requests of a connection.
    idle: float = 300.0
    #: Without a byte in either direction, while an exchange is under way; 0: no bound.
    stream_idle: float = 300.0
    #: From the head of a request to the end of its response; 0: no bound. A tunnel has none.
    request: float = 0.0
    connect: float = 5.0
    upstream_idle: float = 4.0


class ConnectionClock:
    """What a client's connection is waited for."""

    def __init__(self, timeouts: Timeouts, now: float) -> None:
        self._timeouts = timeouts
        self._since: float | None = now
        self._idle = False
        self._silent = True

    def head_began(self, now: float) -> None:
        """A byte of a head came; told for each, the first one counts."""
        if self._silent or self._idle or self._since is None:
            self._since, self._idle, self._silent = now, False, False

    def busy(self) -> None:
        """A request is under way: its own clock runs."""
        self._since, self._silent = None, False

    def idle(self, now: float) -> None:
        """Everything was answered."""
        self._since, self._idle = now, True

    def overdue(self, now: float) -> str:
        """Why it is to be closed now; empty while it is in time. An idle one is closed without a word to the client."""
        if self._since is None:
            return ""
        if self._silent:
            most, because = self._timeouts.first, "nothing was sent"
        elif self._idle:
            most, because = self._timeouts.idle, "no request was sent"
        else:
            most, because = self._timeouts.header, "no whole head of a request was sent"
        return f"{because} for {most:g} s" if now - self._since >= most else ""

    @property
    def between_requests(self) -> bool:
        """Whether nothing of a request was sent since the last one, or ever."""
        return self._idle or self._silent


class ExchangeClock:
    """One request and its response."""

    __slots__ = ("_began", "_moved", "_timeouts", "tunnel")

    def __init__(self, timeouts: Timeouts, now: float) -> None:
        self._timeouts = timeouts
        self._began = self._moved = now
        #: Whether it became one: it has no end that can be late.
        self.tunnel = False

    def moved(self, now: float) -> None:
        """A byte went either way."""
        self._moved = now

    def overdue(self, now: float) -> str:
        """Why it is given up now; empty while it is in time."""
        most, idle = self._timeouts.request, self._timeouts.stream_idle
        if most and not self.tunnel and now - self._began >= most:
            return f"it is not finished after {most:g} s"
        if idle and now - self._moved >= idle:
            return f"no byte went either way for {idle:g} s"
        return ""
