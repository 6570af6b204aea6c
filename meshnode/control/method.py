"""A server's methods as values: what each reads or writes, without saying how calls travel.

A body is a mapping with the field names of Consul's Go structs (``{"Datacenter": "", "Key": "app/x"}``),
whether it came from a handler of the API or decoded from msgpack. A reply is a mapping of the same kind; the keys
``Index``, ``LastContact`` (nanoseconds) and ``KnownLeader`` are added by whoever carries the read out.

Common fields of reads (structs.QueryOptions): ``MinQueryIndex``, ``MaxQueryTime`` (nanoseconds), ``AllowStale``,
``RequireConsistent``, ``MaxStaleDuration`` (nanoseconds). Source: Consul 1.2.3, agent/structs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from meshnode.acl.authorizer import Authorizer
from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError
from meshnode.control.command import Command
from meshnode.control.machine import Refusal, Result, StateMachine
from meshnode.control.watch import WatchKey
from meshnode.rpc.method import RpcError

__all__ = [
    "NANOSECONDS",
    "Body",
    "Method",
    "Moment",
    "ReadMethod",
    "WriteMethod",
    "accepted",
    "block_time",
    "boolean",
    "duration",
    "integer",
    "mapping",
    "octets",
    "rows",
    "text",
    "text_map",
    "texts",
]

#: Durations travel as Go's: whole nanoseconds.
NANOSECONDS: Final = 1_000_000_000

Body: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a write may depend on beside the state: ``at`` in unix seconds, ``new_id`` a fresh UUID as text."""

    at: float
    new_id: Callable[[], str]


@dataclass(frozen=True, slots=True)
class ReadMethod:
    """``watches``: what its answer depends on. ``read``: (index, reply). Both may raise :class:`RpcError`.

    ``read`` raises :class:`~meshnode.acl.authorizer.PermissionDeniedError` for one thing, and leaves out of lists what
    the caller may not see. With the same state, body and authorizer it gives an equal reply.
    """

    watches: Callable[[Body], tuple[WatchKey, ...]]
    read: Callable[[StateMachine, Body, Authorizer], tuple[int, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class WriteMethod:
    """``plan``: the command for the log, or :class:`RpcError`, or a denial; it sees the leader's present state.

    ``reply``: what the caller hears of the command's result; a ``Refusal`` is an :class:`RpcError` (``accepted``).
    """

    plan: Callable[[StateMachine, Body, Authorizer, Moment], Command]
    reply: Callable[[StateMachine, Result], Any]


Method: TypeAlias = ReadMethod | WriteMethod


def accepted(result: Result) -> Any:
    """The result of a command that was carried out. Raises :class:`RpcError` with the reason of a ``Refusal``."""
    if isinstance(result, Refusal):
        raise RpcError(result.because)
    return result


def block_time(body: Body) -> float:
    """Seconds that a read may block; 0 when it doesn't ask to. Raises :class:`RpcError` for another type."""
    return integer(body, "MaxQueryTime") / NANOSECONDS if body.get("MinQueryIndex") else 0.0


def text(body: Body, name: str) -> str:
    """A text field, empty when absent. Raises :class:`RpcError` for another type."""
    value = body.get(name)
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise RpcError(f"{name} is not UTF-8") from None
    if not isinstance(value, str):
        raise _wrong(name, "text", value)
    return value


def octets(body: Body, name: str) -> bytes:
    """A byte string, empty when absent. Raises :class:`RpcError` for another type."""
    value = body.get(name)
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if not isinstance(value, bytes):
        raise _wrong(name, "a byte string", value)
    return value


def integer(body: Body, name: str) -> int:
    """A number, 0 when absent. Raises :class:`RpcError` for another type."""
    value = body.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, "a number", value)
    return value


def duration(body: Body, name: str) -> float:
    """Seconds, from nanoseconds or from text (``"10s"``); 0 when absent. Raises :class:`RpcError`."""
    if not isinstance(body.get(name), str | bytes):
        return integer(body, name) / NANOSECONDS
    written = text(body, name)
    try:
        return parse_duration(written) if written else 0.0
    except ConfigError as error:
        raise RpcError(f"{name}: {error}") from None


def boolean(body: Body, name: str) -> bool:
    """A truth value, false when absent. Raises :class:`RpcError` for another type."""
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return value


def mapping(body: Body, name: str) -> Body:
    """A struct, empty when absent. Raises :class:`RpcError` for another type."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(name, "a struct", value)
    return value


def rows(body: Body, name: str) -> list[Body]:
    """A list of structs, empty when absent. Raises :class:`RpcError` for another type."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(row, Mapping) for row in value):
        raise _wrong(name, "a list of structs", value)
    return list(value)


def texts(body: Body, name: str) -> tuple[str, ...]:
    """A list of texts, empty when absent. Raises :class:`RpcError` for another type."""
    value = body.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise _wrong(name, "a list of texts", value)
    return tuple(text({name: item}, name) for item in value)


def text_map(body: Body, name: str) -> dict[str, str]:
    """A map of texts, empty when absent. Raises :class:`RpcError` for another type."""
    return {text({name: key}, name): text({name: value}, name) for key, value in mapping(body, name).items()}


def _wrong(name: str, expected: str, value: object) -> RpcError:
    return RpcError(f"{name} must be {expected}, not {type(value).__name__}")
