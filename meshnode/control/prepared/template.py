"""Templates: ``${name.full}``, ``${name.prefix}``, ``${name.suffix}``, ``${match(N)}`` and ``${agent.segment}`` in the
fields of ``Service`` become what the name that was asked for says. ``$${`` stands for ``${`` itself.

``match(N)`` is what group N of ``Template.Regexp`` matched in the whole name, 0 the whole match; nothing when there is
no match or no such group. Consul takes whole expressions of a template language here; it documents
these five.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from meshnode.base.errors import ConfigError
from meshnode.base.regexp import Work, compile_regexp
from meshnode.base.suggest import did_you_mean
from meshnode.control.prepared.model import PreparedQuery, ServiceQuery

__all__ = ["MAX_INTERPOLATIONS", "MAX_NAME_CHARS", "render", "template_fault"]

#: Longest name that is looked up, and longest name of a query. A DNS name has at most 253 characters.
MAX_NAME_CHARS: Final = 512
#: ``${...}`` in one query: bounds what one look-up can grow to.
MAX_INTERPOLATIONS: Final = 64
#: Steps of ``Template.Regexp`` on one name.
MAX_REGEXP_STEPS: Final = 100_000

_PART: Final = re.compile(r"(?P<escape>\$\$\{)|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_MATCH: Final = re.compile(r"match\(\s*([0-9]{1,4})\s*\)")
_VARIABLES: Final = ("name.full", "name.prefix", "name.suffix", "agent.segment", "match(1)")


def template_fault(query: PreparedQuery) -> str:
    """What is wrong with the expressions of a template; ``""``: nothing."""
    try:
        if query.template.regexp:
            compile_regexp(query.template.regexp)
    except ConfigError as error:
        return f"Bad Regexp '{query.template.regexp[:80]}': {error}"
    count = 0
    for field, text in _texts(query.service):
        for part in _PART.finditer(text):
            count += 1
            if part["escape"]:
                continue
            inside = part["inside"].strip()
            if not part["end"]:
                return f"Bad format '{text[:80]}' in Service.{field}: a ${{ is never closed"
            if inside not in _VARIABLES and not _MATCH.fullmatch(inside):
                hint = did_you_mean(inside, _VARIABLES) or f": use one of {', '.join(_VARIABLES)}"
                return (
                    f"Bad format '{text[:80]}' in Service.{field}: unknown variable ${{{inside[:40]}}}{hint}"
                )
    if count > MAX_INTERPOLATIONS:
        return f"Template has {count} interpolations: at most {MAX_INTERPOLATIONS}"
    return ""


def render(query: PreparedQuery, name: str, segment: str = "") -> PreparedQuery:
    """The query that the template ``query`` makes for ``name``, which starts with its own; ``segment`` is the asking
    agent's. Raises :class:`ConfigError` when the regular expression takes too long."""
    groups: tuple[str, ...] = ()
    if query.template.regexp:
        groups = compile_regexp(query.template.regexp).match_groups(name, Work(MAX_REGEXP_STEPS)) or ()
    known = {
        "name.full": name,
        "name.prefix": query.name,
        "name.suffix": name[len(query.name) :],
        "agent.segment": segment,
    }

    def value(part: re.Match[str]) -> str:
        if part["escape"]:
            return "${"
        inside = part["inside"].strip()
        wanted = _MATCH.fullmatch(inside)
        if wanted is None:
            return known.get(inside, "")
        number = int(wanted[1])
        return groups[number] if number < len(groups) else ""

    service = _mapped(query.service, lambda text: _PART.sub(value, text) if "$" in text else text)
    if query.template.remove_empty_tags:
        service = replace(service, tags=tuple(tag for tag in service.tags if tag))
    return replace(query, service=service)


def _texts(service: ServiceQuery) -> Iterator[tuple[str, str]]:
    yield "Service", service.service
    yield "Near", service.near
    lists = (("Tags", service.tags), ("IgnoreCheckIDs", service.ignore_check_ids))
    for field, texts in (*lists, ("Failover.Datacenters", service.failover.datacenters)):
        yield from ((field, text) for text in texts)
    for field, pairs in (("NodeMeta", service.node_meta), ("ServiceMeta", service.service_meta)):
        yield from ((field, text) for text in pairs.values())


def _mapped(service: ServiceQuery, change: Callable[[str], str]) -> ServiceQuery:
    """``service`` with every text changed, in all that ``_texts`` gives."""
    failover = replace(service.failover, datacenters=tuple(map(change, service.failover.datacenters)))
    return replace(
        service,
        service=change(service.service),
        near=change(service.near),
        tags=tuple(map(change, service.tags)),
        ignore_check_ids=tuple(map(change, service.ignore_check_ids)),
        failover=failover,
        node_meta={key: change(text) for key, text in service.node_meta.items()},
        service_meta={key: change(text) for key, text in service.service_meta.items()},
    )
