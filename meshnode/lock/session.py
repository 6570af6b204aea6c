"""The session that a lock hangs on: opened, kept alive by renewals, closed."""

from __future__ import annotations

import json
from typing import Final

from meshnode.base.duration import format_duration
from meshnode.lock.calls import Call, LockError, Pause, Steps

__all__ = ["DELETE", "RELEASE", "SESSION_TTL", "close_session", "keep_session", "open_session"]

#: Seconds that a session outlives its last renewal at least; the servers wait up to twice as long.
SESSION_TTL: Final = 15.0
#: Seconds between attempts when a renewal failed.
RENEWAL_RETRY_INTERVAL: Final = 1.0
#: What happens to the keys of a session that ends: they are unlocked, or they are deleted.
RELEASE: Final = "release"
DELETE: Final = "delete"


def open_session(
    name: str,
    behavior: str,
    ttl: float = SESSION_TTL,
    *,
    node: str = "",
    checks: tuple[str, ...] | None = None,
) -> Steps[str]:
    """Create a session and return its id; raises :class:`LockError`.

    ``node`` is the agent's own when empty; ``checks`` of ``None`` leaves the choice to the server.
    """
    body: dict[str, object] = {"Name": name, "Behavior": behavior, "TTL": format_duration(ttl)}
    body |= {"Node": node} if node else {}
    body |= {"Checks": list(checks)} if checks is not None else {}
    reply = yield Call("PUT", "/v1/session/create", body=json.dumps(body).encode())
    reply.expect("failed to create session")
    try:
        session = json.loads(reply.body)["ID"]
    except (ValueError, KeyError, TypeError):
        session = ""
    if not isinstance(session, str) or not session:
        raise LockError("failed to create session: the answer has no ID")
    return session


def keep_session(session: str, now: float, ttl: float = SESSION_TTL, interval: float = 0.0) -> Steps[str]:
    """Renew ``session`` every ``interval`` seconds (0: half the TTL); returns, once it is lost, the reason."""
    interval = interval or ttl / 2
    renewed, pause = now, interval
    while True:
        reply = yield Pause(pause)
        reply = yield Call("PUT", f"/v1/session/renew/{session}")
        if reply.status == 200:
            renewed, pause = reply.now, interval
        elif not reply.is_passing_trouble:
            return f"session {session} is gone: {reply.reason or reply.status}"
        elif reply.now - renewed > ttl:
            return f"session {session} was not renewed for {format_duration(ttl)}: {reply.reason}"
        else:
            pause = RENEWAL_RETRY_INTERVAL


def close_session(session: str) -> Steps[None]:
    """Destroy ``session``; one that is gone already is fine. Raises :class:`LockError`."""
    reply = yield Call("PUT", f"/v1/session/destroy/{session}")
    reply.expect("failed to destroy session")
