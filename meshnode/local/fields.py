"""The fields of a definition, in both forms: bodies of the API, and what the configuration's loader gives.

Names fold to the same word: ``DockerContainerID``, ``docker_container_id`` and ``dockercontainerid`` are one field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from meshnode.base.errors import ConfigError
from meshnode.base.json_fields import JsonFields, json_type
from meshnode.base.suggest import closest

__all__ = ["ConfiguredFields", "DefinitionFields"]


class DefinitionFields(JsonFields):
    """A body of the API: unknown fields are passed over, a number as a duration is nanoseconds."""

    __slots__ = ()

    def __init__(self, obj: Mapping[str, Any], where: str = "") -> None:
        super().__init__({_folded(name): value for name, value in obj.items()}, where)

    def error(self, message: str) -> Exception:
        """Consul's sentence for a body of the wrong shape."""
        return ConfigError(f"Request decode failed: {message}")

    def value(self, name: str) -> Any:
        """The field by any of its spellings; ``None`` when it is missing or null."""
        return super().value(_folded(name))

    def only(self, names: tuple[str, ...]) -> Self:
        """These fields; in configuration, an error for the first one that is none of ``names``."""
        del names
        return self


class ConfiguredFields(DefinitionFields):
    """A definition in configuration: unknown fields are refused; a number as a duration is seconds (the loader's)."""

    __slots__ = ("_written",)

    def __init__(self, obj: Mapping[str, Any], where: str = "") -> None:
        super().__init__(obj, where)
        self._written = tuple(obj)

    def error(self, message: str) -> Exception:
        """The message alone: it begins with the place."""
        return ConfigError(message)

    def path(self, name: str) -> str:
        """In errors, names are in the configuration's spelling."""
        return super().path(_snake(name))

    def duration(self, name: str) -> float:
        """Seconds, from a text or as the loader made them."""
        value = self.value(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if value is not None and not isinstance(value, str):
            self.refuse(name, f'expected a duration such as "10s", got {json_type(value)}')
        return super().duration(name)

    def only(self, names: tuple[str, ...]) -> Self:
        """Refuse a field that is none of ``names``, with the one that was probably meant."""
        known = {_folded(name): _snake(name) for name in names}
        for written in self._written:
            if _folded(written) not in known:
                near = closest(_snake(written), known.values())
                hint = f": did you mean {near}?" if near else f": the fields are {', '.join(known.values())}"
                raise ConfigError(f"{JsonFields.path(self, written)} is not a field of this definition{hint}")
        return self


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _snake(name: str) -> str:
    """``DockerContainerID`` -> ``docker_container_id``, ``TLSSkipVerify`` -> ``tls_skip_verify``; an index stays."""
    parts = []
    end = min((i for i in map(name.find, "[.") if i >= 0), default=len(name))
    for position, letter in enumerate(name[:end]):
        before, after = name[position - 1 : position], name[position + 1 : position + 2]
        if letter.isupper() and position and (before.islower() or (before.isupper() and after.islower())):
            parts.append("_")
        parts.append(letter.lower())
    return "".join(parts) + name[end:]
