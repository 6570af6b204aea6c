"""The services and checks of the configuration as definitions, with every mistake in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from meshnode.base.errors import ConfigError
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.parse import configured_check, configured_service

__all__ = ["ConfiguredDefinitions", "read_definitions"]

Definition = TypeVar("Definition", ServiceDefinition, CheckDefinition)


@dataclass(frozen=True, slots=True)
class ConfiguredDefinitions:
    """What is configured; ``problems`` is empty when all of it can be read."""

    services: tuple[ServiceDefinition, ...]
    checks: tuple[CheckDefinition, ...]
    problems: tuple[ConfigError, ...]


def read_definitions(
    services: Iterable[Mapping[str, Any]], checks: Iterable[Mapping[str, Any]]
) -> ConfiguredDefinitions:
    """Read the lists ``services`` and ``checks`` as the loader merged them; an id that is there twice is a mistake."""
    problems: list[ConfigError] = []
    read_services = _read(services, "services", configured_service, problems)
    read_checks = _read(checks, "checks", configured_check, problems)
    owners = {check.id.lower(): place for place, one in read_services.items() for check in one.checks}
    for place, check in read_checks.items():
        if (owner := owners.get(check.id.lower())) is not None:
            problems.append(_twice(place, check.id, owner))
    return ConfiguredDefinitions(tuple(read_services.values()), tuple(read_checks.values()), tuple(problems))


def _read(
    items: Iterable[Mapping[str, Any]],
    path: str,
    read: Callable[[Mapping[str, Any], str], Definition],
    problems: list[ConfigError],
) -> dict[str, Definition]:
    """Place -> definition."""
    found: dict[str, Definition] = {}
    places: dict[str, str] = {}
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        try:
            definition = read(item, place)
        except ConfigError as problem:
            problems.append(problem)
            continue
        if (known := places.setdefault(definition.id.lower(), place)) != place:
            problems.append(_twice(place, definition.id, known))
        found[place] = definition
    return found


def _twice(place: str, identifier: str, other: str) -> ConfigError:
    return ConfigError(f'{place}: the id "{identifier}" is taken by {other}: give one of them another id')
