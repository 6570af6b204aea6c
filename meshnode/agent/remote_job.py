"""Remote execution as values: what ``exec`` and the agents leave for each other in the KV store.

Consul's protocol: a session holds ``<prefix>/<session>/job``; the user event ``_rexec`` names both; each agent answers
below ``<prefix>/<session>/<node>/`` with ``ack``, ``out/00000`` and on, and ``exit``.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

from meshnode.base.errors import RemoteProtocolError

__all__ = [
    "CHUNK_BYTES",
    "FLUSH_INTERVAL",
    "MAX_OUTPUT_BYTES",
    "START_FAILED",
    "Invitation",
    "Job",
    "OutputChunks",
    "parse_invitation",
    "parse_job",
    "serialize_invitation",
    "serialize_job",
]

#: The exit code of a program that could not be started.
START_FAILED: Final = 255
CHUNK_BYTES: Final = 4096
#: Seconds that output waits for more before it is sent.
FLUSH_INTERVAL: Final = 0.5
#: Output of one job that a node sends; what comes after is dropped, which is said.
MAX_OUTPUT_BYTES: Final = 16 * 1024 * 1024
MAX_PREFIX_CHARS: Final = 256
MAX_SESSION_CHARS: Final = 64
#: Seconds between heart-beats, at the least: they are writes to the replicated log.
MIN_HEARTBEAT_INTERVAL: Final = 0.2
MAX_HEARTBEAT_INTERVAL: Final = 60.0


@dataclass(frozen=True, slots=True)
class Invitation:
    """The payload of the event: where the job is."""

    prefix: str
    session: str

    @property
    def job_key(self) -> str:
        """The key of the job."""
        return f"{self.prefix}/{self.session}/job"

    def node_key(self, node: str, name: str) -> str:
        """The key of one part of a node's answer."""
        return f"{self.prefix}/{self.session}/{node}/{name}"


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: ``script`` (a file's content), else ``args``, else ``command`` in a shell.

    ``wait`` is how many seconds ``exec`` waits for a sign of life.
    """

    command: str = ""
    args: tuple[str, ...] = ()
    script: bytes = b""
    wait: float = 2.0

    @property
    def summary(self) -> str:
        """What is run, for the log."""
        if self.script:
            return f"script of {len(self.script)} bytes"
        return (" ".join(self.args) or self.command)[:200]

    @property
    def heartbeat_interval(self) -> float:
        """Seconds of silence after which a node says that it is still there."""
        return min(MAX_HEARTBEAT_INTERVAL, max(MIN_HEARTBEAT_INTERVAL, self.wait))


def serialize_invitation(invitation: Invitation) -> bytes:
    """The payload of the event."""
    return json.dumps({"Prefix": invitation.prefix, "Session": invitation.session}).encode()


def parse_invitation(payload: bytes) -> Invitation:
    """Read the payload of an event; raises :class:`RemoteProtocolError`."""
    fields = _object(payload, "the payload of a remote execution")
    prefix, session = fields.get("prefix"), fields.get("session")
    for name, value, longest in (
        ("Prefix", prefix, MAX_PREFIX_CHARS),
        ("Session", session, MAX_SESSION_CHARS),
    ):
        if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
            raise RemoteProtocolError(
                f"the payload of a remote execution has no {name} of 1 to {longest} characters"
            )
    return Invitation(str(prefix), str(session))


def serialize_job(job: Job) -> bytes:
    """The value of the job's key; what is empty is left out, as Consul does."""
    fields: dict[str, object] = {
        "Command": job.command,
        "Args": list(job.args),
        "Script": base64.b64encode(job.script).decode(),
    }
    present = {name: value for name, value in fields.items() if value}
    return json.dumps({**present, "Wait": round(job.wait * 1e9)}).encode()


def parse_job(value: bytes) -> Job:
    """Read the job; raises :class:`RemoteProtocolError`."""
    fields = _object(value, "the job of a remote execution")
    command, args = fields.get("command") or "", fields.get("args") or []
    wait = fields.get("wait") or 2_000_000_000
    try:
        script = base64.b64decode(fields.get("script") or "", validate=True)
    except (ValueError, TypeError, binascii.Error):
        raise RemoteProtocolError("the Script of a remote execution is not base64") from None
    if not isinstance(command, str) or not isinstance(args, list) or not isinstance(wait, int):
        raise RemoteProtocolError("the job of a remote execution has fields of the wrong type")
    texts = [command, *args]
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        raise RemoteProtocolError("the job of a remote execution has an argument that no program takes")
    if not (command or args or script):
        raise RemoteProtocolError("the job of a remote execution has nothing to run")
    return Job(command, tuple(args), script, max(0, min(wait, 10**18)) / 1e9)


def _object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object with its keys in lower case, as Go ignores case there."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise RemoteProtocolError(f"{what} is not JSON") from None
    if not isinstance(fields, dict):
        raise RemoteProtocolError(f"{what} is not an object")
    return {name.lower(): value for name, value in fields.items()}


class OutputChunks:
    """Cuts a program's output into the values of ``out/<n>``; an empty one is a heart-beat. ``now`` is in seconds."""

    def __init__(self, heartbeat_interval: float, now: float) -> None:
        self._heartbeat_interval = heartbeat_interval
        self._waiting = bytearray()
        self._flush_at = 0.0
        self._heartbeat_at = now + heartbeat_interval
        self._total = 0

    @property
    def deadline(self) -> float:
        """When ``handle_timer`` is to be called next, unless there is output before."""
        return self._flush_at if self._waiting else self._heartbeat_at

    def handle_output(self, data: bytes, now: float) -> list[bytes]:
        """Take in output; the chunks that are full."""
        left = MAX_OUTPUT_BYTES - self._total
        if left > 0 and data:
            if not self._waiting:
                self._flush_at = now + FLUSH_INTERVAL
            self._waiting += data[:left]
            if len(data) >= left:
                self._waiting += f"\n[output is cut after {MAX_OUTPUT_BYTES} bytes]\n".encode()
        self._total += len(data)
        chunks = []
        while len(self._waiting) >= CHUNK_BYTES:
            chunks.append(bytes(self._waiting[:CHUNK_BYTES]))
            del self._waiting[:CHUNK_BYTES]
            self._flush_at = now + FLUSH_INTERVAL
        return self._sent(chunks, now)

    def handle_timer(self, now: float) -> list[bytes]:
        """What is due: output that has waited long enough, or a heart-beat."""
        if now < self.deadline:
            return []
        return self._sent([self._rest()], now)

    def finish(self) -> list[bytes]:
        """The program has ended: what is left."""
        return [self._rest()] if self._waiting else []

    def _rest(self) -> bytes:
        rest = bytes(self._waiting)
        self._waiting.clear()
        return rest

    def _sent(self, chunks: list[bytes], now: float) -> list[bytes]:
        if chunks:
            self._heartbeat_at = now + self._heartbeat_interval
        return chunks
