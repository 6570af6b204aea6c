"""The fields of a call's body, read with their types.

A body is a mapping with the field names of Consul's Go structs (``{"Datacenter": "", "Key": "app/x"}``),
whether it came from a handler of the API or decoded from msgpack.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError
from meshnode.rpc.method import RpcError

__all__ = [
    "NANOSECONDS",
    "Body",
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
