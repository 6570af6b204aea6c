"""The services and checks of the configuration as definitions, with every mistake in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from meshnode.base.errors import ConfigError
from meshnode.local.definitions import CheckDefinition, ScriptPolicy, ServiceDefinition, definition_fault
from meshnode.local.parse import configured_check, configured_service
from meshnode.local.proxy_plan import ProxyRules, plan_proxies

__all__ = ["ConfiguredDefinitions", "by_key", "check_keys", "read_definitions"]

Definition = TypeVar("Definition", ServiceDefinition, CheckDefinition)


@dataclass(frozen=True, slots=True)
class ConfiguredDefinitions:
    """What is configured; ``problems`` is empty when all of it can be read."""

    services: tuple[ServiceDefinition, ...]
    checks: tuple[CheckDefinition, ...]
    problems: tuple[ConfigError, ...]


def read_definitions(
    services: Iterable[Mapping[str, Any]],
    checks: Iterable[Mapping[str, Any]],
    *,
    proxies: ProxyRules | None = None,
    scripts: ScriptPolicy | None = None,
) -> ConfiguredDefinitions:
    """Read the lists ``services`` and ``checks`` as the loader merged them, and try out whether an agent takes them.

    An id that is there twice is a mistake. ``scripts`` left out: any check may run programs.
    """
    scripts = scripts or ScriptPolicy(enabled=True)
    problems: list[ConfigError] = []
    read_services = _read(services, "services", configured_service, problems)
    read_checks = _read(checks, "checks", configured_check, problems)
    owners = {check.id.lower(): place for place, one in read_services.items() for check in one.checks}
    for place, check in read_checks.items():
        if (owner := owners.get(check.id.lower())) is not None:
            problems.append(_twice(place, check.id, owner))
    problems += _proxy_problems(read_services, proxies or ProxyRules())
    for place, service in read_services.items():
        problems += [
            ConfigError(f"{place}: {fault}") for fault in filter(None, [definition_fault(service, "")])
        ]
    everything = [(place, check) for place, one in read_services.items() for check in one.checks]
    for place, check in (*everything, *read_checks.items()):
        if fault := scripts.fault(check, remote=False):
            problems.append(ConfigError(f'{place}: check "{check.id}": {fault}'))
    return ConfiguredDefinitions(tuple(read_services.values()), tuple(read_checks.values()), tuple(problems))


def by_key(definitions: Iterable[Definition]) -> dict[str, Definition]:
    """Id in lower case -> definition: ids that differ in case only are one."""
    return {definition.id.lower(): definition for definition in definitions}


def check_keys(services: Mapping[str, ServiceDefinition], checks: Mapping[str, CheckDefinition]) -> set[str]:
    """The keys of all checks: of ``checks``, and of those inside services."""
    return {*checks, *(check.id.lower() for one in services.values() for check in one.checks)}


def _proxy_problems(services: Mapping[str, ServiceDefinition], rules: ProxyRules) -> list[ConfigError]:
    """What is wrong with the proxies that come with services: with each one's, and with all together."""
    found = []
    for place, service in services.items():
        if reason := _refusal([service], rules):
            found.append(ConfigError(f"{place}: {reason}"))
    reason = "" if found else _refusal(list(services.values()), rules)
    return [*found, ConfigError(f"services: {reason}")] if reason else found


def _refusal(services: list[ServiceDefinition], rules: ProxyRules) -> str:
    try:
        planned = plan_proxies(services, rules, held={}, taken=(), usable=lambda _port: True)
    except ConfigError as error:
        return str(error)
    return next(filter(None, (definition_fault(one, "") for one in planned if one.parent)), "")


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
