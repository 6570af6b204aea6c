"""Which instances answer a prepared query, before they are sorted by distance and cut to a limit."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from meshnode.catalog.model import CRITICAL, PASSING, Instance
from meshnode.control.prepared.model import ServiceQuery

__all__ = ["choose"]


def choose(query: ServiceQuery, instances: Iterable[Instance], rng: random.Random) -> list[Instance]:
    """The instances that ``query`` wants, in random order, so that the load is spread.

    An instance with a critical check is left out, with ``only_passing`` one whose checks don't all pass; the ignored
    checks don't count. Tags are compared without regard to case.
    """
    ignored = frozenset(query.ignore_check_ids)
    wanted = {tag.lower() for tag in query.tags if not tag.startswith("!")}
    unwanted = {tag[1:].lower() for tag in query.tags if tag.startswith("!")}
    chosen = [
        instance
        for instance in instances
        if _is_healthy(instance, ignored, only_passing=query.only_passing)
        and _has_tags(instance, wanted, unwanted)
        and _has_all(instance.node.meta, query.node_meta)
        and _has_all(instance.service.meta, query.service_meta)
    ]
    rng.shuffle(chosen)
    return chosen


def _is_healthy(instance: Instance, ignored: frozenset[str], *, only_passing: bool) -> bool:
    states = {check.status for check in instance.checks if check.check_id not in ignored}
    return states <= {PASSING} if only_passing else CRITICAL not in states


def _has_tags(instance: Instance, wanted: set[str], unwanted: set[str]) -> bool:
    if not wanted and not unwanted:
        return True
    tags = {tag.lower() for tag in instance.service.tags}
    return wanted <= tags and not unwanted & tags


def _has_all(meta: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(meta.get(key) == value for key, value in wanted.items())
