"""Frozen dataclasses from JSON or HCL and back, by their annotations, with the names of Consul's Go structs.

A field ``service_subset`` is written ``ServiceSubset`` and read in any spelling: case and underscores don't count. What
isn't known is refused by name. What is left out, or null, has the field's default; what has its zero value is left out
when written, unless its metadata say ``always``.

Understood: ``str bool int float``, :data:`Duration`, ``tuple[X, ...]``, ``Mapping[str, X]``, ``Mapping[str, Any]`` (any
JSON) and dataclasses, where ``X | None`` says that there may be none.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, Final, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from meshnode.base.duration import MAX_NANOSECONDS, format_duration, parse_duration
from meshnode.base.errors import ConfigError
from meshnode.base.json_fields import MAX_INTEGER, json_type
from meshnode.base.suggest import did_you_mean
from meshnode.intentions.model import NO_TOKENS

__all__ = [
    "MAX_DEPTH",
    "MAX_ITEMS",
    "NO_TIME",
    "Duration",
    "field_names",
    "fold",
    "json_name",
    "read",
    "write",
]

#: Seconds; text as Go writes it (``15s``), or whole nanoseconds, outside.
Duration = NewType("Duration", float)
NO_TIME: Final = Duration(0.0)

#: Items of one list, and members of one map.
MAX_ITEMS: Final = 4096
#: How deep free JSON may be nested: less than what a record of the log may hold.
MAX_DEPTH: Final = 16
_SECOND: Final = 1_000_000_000
_ACRONYMS: Final = {
    word.lower(): word for word in ("CA", "HTTP", "ID", "IP", "JSON", "SDS", "SNI", "TLS", "TTL")
}
#: What only Consul Enterprise, or a later release, has: harmless with these values.
_ELSEWHERE: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "namespace": (("", "default"), "namespaces are of Consul Enterprise: leave it out"),
    "partition": (("", "default"), "admin partitions are of Consul Enterprise: leave it out"),
    "samenessgroup": (("",), "sameness groups are of Consul Enterprise: leave it out"),
    "jwt": ((), NO_TOKENS),
    "peer": (("",), "this release has no cluster peering: leave it out"),
}

T = TypeVar("T")
#: (value, path, problems) -> what the field holds; a problem is added for what can't be read.
_Read = Callable[[Any, str, list[str]], Any]
_Write = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Plan:
    attribute: str
    name: str
    #: What is left out when written; ``...``: nothing is.
    zero: Any
    default: Callable[[], Any]
    read: _Read
    write: _Write


_KNOWN: Final[dict[type[Any], Mapping[str, _Plan]]] = {}


def fold(name: str) -> str:
    """The same for every spelling of a field: ``servicesubset``."""
    return name.replace("_", "").lower()


def json_name(attribute: str) -> str:
    """``service_subset`` -> ``ServiceSubset``, ``ca_file`` -> ``CAFile``."""
    return "".join(_ACRONYMS.get(word, word[:1].upper() + word[1:]) for word in attribute.split("_"))


def field_names(of: type[Any]) -> tuple[str, ...]:
    """The names under which the fields of ``of`` are written."""
    return tuple(plan.name for plan in _plans(of).values())


def read(
    of: type[T], value: Mapping[str, Any], path: str, problems: list[str], also: tuple[str, ...] = ()
) -> T:
    """An object as a dataclass; what is wrong with it is added to ``problems``, with its path.

    ``also``: further names that an unknown one may have been meant for.
    """
    plans = _plans(of)
    found: dict[str, Any] = {}
    for name, item in value.items():
        folded, place = fold(str(name)), f"{path}.{name}" if path else str(name)
        plan = plans.get(folded)
        if plan is None:
            _refuse(folded, item, place, problems, (*(plan.name for plan in plans.values()), *also))
        elif plan.attribute in found:
            problems.append(f"{place[:200]} is written twice: {plan.name} is the same")
        elif item is None:
            found[plan.attribute] = plan.default()
        else:
            found[plan.attribute] = plan.read(item, f"{path}.{plan.name}" if path else plan.name, problems)
    for plan in plans.values():
        if plan.attribute not in found:
            found[plan.attribute] = plan.default()
    return of(**found)


def write(value: Any) -> dict[str, Any]:
    """The inverse of :func:`read`: a JSON object, maps sorted by name as Go has them."""
    written: dict[str, Any] = {}
    for plan in _plans(type(value)).values():
        item = getattr(value, plan.attribute)
        if item != plan.zero:
            written[plan.name] = plan.write(item)
    return written


def _refuse(folded: str, item: Any, place: str, problems: list[str], known: tuple[str, ...]) -> None:
    harmless, reason = _ELSEWHERE.get(folded, ((), ""))
    if not reason:
        word = place.rpartition(".")[2]
        hint = did_you_mean(word, known)
        problems.append(f'invalid config key "{place[:200]}"{hint}')
    elif item is not None and item not in harmless:
        problems.append(f"{place[:200]}: {reason}")


def _plans(of: type[Any]) -> Mapping[str, _Plan]:
    """By folded name; made once for each class."""
    if of not in _KNOWN:
        _KNOWN[of] = _planned(of)
    return _KNOWN[of]


def _planned(of: type[Any]) -> Mapping[str, _Plan]:
    hints = get_type_hints(of)
    listed: list[_Plan] = []
    for field in fields(of):
        hint = hints[field.name]
        reader, writer = _types(hint)
        listed.append(
            _Plan(
                field.name,
                json_name(field.name),
                ... if field.metadata.get("always") else _zero(hint),
                _default(field, hint),
                reader,
                writer,
            )
        )
    return {fold(plan.name): plan for plan in listed}


def _default(field: Field[Any], hint: Any) -> Callable[[], Any]:
    if field.default is not MISSING:
        default = field.default
        return lambda: default
    if field.default_factory is not MISSING:
        return field.default_factory
    return lambda: _zero(hint)


def _zero(hint: Any) -> Any:
    """What a field of this type holds in Go when nobody sets it."""
    origin = get_origin(hint)
    if origin in {Union, types.UnionType}:
        return None
    if origin is not None:
        return () if origin is tuple else {}
    if is_dataclass(hint) and isinstance(hint, type):
        return read(hint, {}, "", [])
    return hint() if isinstance(hint, type) else 0.0


def _types(hint: Any) -> tuple[_Read, _Write]:
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return _types(arguments[0])
    if origin is tuple:
        return _list(arguments[0], *_types(arguments[0]))
    if origin is Mapping:
        return (_free, _sorted) if arguments[1] is Any else _map(*_types(arguments[1]))
    if is_dataclass(hint) and isinstance(hint, type):
        return lambda value, path, problems: _object(hint, value, path, problems), write
    raise TypeError(f"no way to read {hint}")


def _object(of: type[Any], value: Any, path: str, problems: list[str]) -> Any:
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]  # a block of HCL that is read as a list
    if isinstance(value, Mapping):
        return read(of, value, path, problems)
    problems.append(_expected("object", value, path))
    return read(of, {}, "", [])


def _list(hint: Any, reader: _Read, writer: _Write) -> tuple[_Read, _Write]:
    blocks = is_dataclass(hint)

    def read_list(value: Any, path: str, problems: list[str]) -> Any:
        if blocks and isinstance(value, Mapping):
            value = (value,)  # a single block of HCL
        if not isinstance(value, list | tuple):
            problems.append(_expected("list", value, path))
            return ()
        if len(value) > MAX_ITEMS:
            problems.append(f"{path} has {len(value)} items: at most {MAX_ITEMS}")
            return ()
        return tuple(reader(item, f"{path}[{number}]", problems) for number, item in enumerate(value))

    return read_list, lambda value: [writer(item) for item in value]


def _map(reader: _Read, writer: _Write) -> tuple[_Read, _Write]:
    def read_map(value: Any, path: str, problems: list[str]) -> Any:
        value = _joined(value)
        if not isinstance(value, Mapping):
            problems.append(_expected("object", value, path))
            return {}
        if len(value) > MAX_ITEMS:
            problems.append(f"{path} has {len(value)} members: at most {MAX_ITEMS}")
            return {}
        return {
            str(name): reader(item, f"{path}[{str(name)[:80]}]", problems)
            for name, item in sorted(value.items(), key=lambda pair: str(pair[0]))
        }

    return read_map, lambda value: {name: writer(value[name]) for name in sorted(value)}


def _joined(value: Any) -> Any:
    """Blocks of HCL that name different members (``Subsets "v1" {}``, ``Subsets "v2" {}``) are one map."""
    if not (isinstance(value, list | tuple) and value and all(isinstance(each, Mapping) for each in value)):
        return value
    joined = {name: item for each in value for name, item in each.items()}
    return joined if len(joined) == sum(map(len, value)) else value


def _free(value: Any, path: str, problems: list[str]) -> Any:
    value = _joined(value)
    if not isinstance(value, Mapping):
        problems.append(_expected("object", value, path))
        return {}
    if fault := _free_fault(value, MAX_DEPTH):
        problems.append(f"{path}: {fault}")
        return {}
    return _sorted(value)


def _free_fault(value: Any, depth: int) -> str:
    if isinstance(value, Mapping | list | tuple):
        if not depth:
            return f"is nested more than {MAX_DEPTH} deep"
        if len(value) > MAX_ITEMS:
            return f"has more than {MAX_ITEMS} members"
        if isinstance(value, Mapping) and not all(isinstance(name, str) for name in value):
            return "has a name that is no text"
        inner = value.values() if isinstance(value, Mapping) else value
        return next(filter(None, (_free_fault(item, depth - 1) for item in inner)), "")
    if isinstance(value, float) and not math.isfinite(value):
        return "has a number that is none"
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "has a number of more than 64 bits"
    return "" if value is None or isinstance(value, str | int | float) else "holds what is no JSON"


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def _expected(what: str, value: Any, path: str) -> str:
    return f"{path}: expected {what}, got {json_type(value)}"


def _text(value: Any, path: str, problems: list[str]) -> str:
    if isinstance(value, str):
        return value
    problems.append(_expected("string", value, path))
    return ""


def _flag(value: Any, path: str, problems: list[str]) -> bool:
    if isinstance(value, bool):
        return value
    problems.append(_expected("boolean", value, path))
    return False


def _integer(value: Any, path: str, problems: list[str]) -> int:
    number = _number(value, path, problems)
    if number != int(number) or abs(number) > MAX_INTEGER:
        problems.append(f"{path}: expected a whole number of at most 64 bits")
        return 0
    return int(number)


def _number(value: Any, path: str, problems: list[str]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        problems.append(_expected("number", value, path))
        return 0
    if not abs(value) <= MAX_INTEGER:
        problems.append(f"{path}: the number is too large")
        return 0
    return value


def _seconds(value: Any, path: str, problems: list[str]) -> float:
    if isinstance(value, str):
        try:
            return parse_duration(value) if value else 0.0
        except ConfigError as error:
            problems.append(f"{path}: {error}")
            return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NANOSECONDS:
        problems.append(_expected('duration ("10s", or nanoseconds)', value, path))
        return 0.0
    return value / _SECOND


def _as_it_is(value: Any) -> Any:
    return value


def _short(value: float) -> float:
    return int(value) if value == int(value) else value


_SCALARS: Final[dict[Any, tuple[_Read, _Write]]] = {
    str: (_text, _as_it_is),
    bool: (_flag, _as_it_is),
    int: (_integer, _as_it_is),
    float: (lambda value, path, problems: float(_number(value, path, problems)), _short),
    Duration: (_seconds, format_duration),
}
