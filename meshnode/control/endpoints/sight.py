"""What a caller may see of a list: rows that it may not read are left out, without a word.

Source: Consul 1.2.3, https://www.consul.io/docs/guides/acl.html; a service or a check of one needs its node as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from meshnode.acl.authorizer import Access, Authorizer, Resource
from meshnode.catalog.coordinates import NodeCoordinate
from meshnode.catalog.model import Check, Instance, Node, NodeDump, Service
from meshnode.kv.sessions import Session

__all__ = ["Sight"]


class Sight:
    """The eyes of one caller for one read; each name is asked about once."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer: Final = authorizer
        self._all: Final = authorizer.unrestricted
        self._known: Final[dict[tuple[Resource, str], bool]] = {}

    def reads(self, resource: Resource, name: str) -> bool:
        """Whether ``name`` may be read."""
        if self._all:
            return True
        known = self._known.get((resource, name))
        if known is None:
            known = self._authorizer.decide(resource, name, Access.READ).allowed
            self._known[resource, name] = known
        return known

    def node(self, name: str) -> bool:
        """node:read."""
        return self.reads(Resource.NODE, name)

    def service(self, name: str) -> bool:
        """service:read."""
        return self.reads(Resource.SERVICE, name)

    def check(self, check: Check) -> bool:
        """node:read, and service:read for the check of a service."""
        return self.node(check.node) and (not check.service_name or self.service(check.service_name))

    def nodes(self, rows: list[Node]) -> list[Node]:
        """Those that may be read."""
        return rows if self._all else [row for row in rows if self.node(row.name)]

    def services(self, rows: Iterable[Service]) -> tuple[Service, ...]:
        """Those that may be read; their node has been asked about."""
        return tuple(row for row in rows if self.service(row.name))

    def checks(self, rows: list[Check]) -> list[Check]:
        """Those that may be read."""
        return rows if self._all else [row for row in rows if self.check(row)]

    def instances(self, rows: list[Instance]) -> list[Instance]:
        """Those whose node and service may be read, with all their checks."""
        if self._all:
            return rows
        return [row for row in rows if self.node(row.node.name) and self.service(row.service.name)]

    def dumps(self, rows: list[NodeDump]) -> list[NodeDump]:
        """The nodes that may be read, each with the services and checks that may."""
        if self._all:
            return rows
        return [
            replace(row, services=self.services(row.services), checks=tuple(filter(self.check, row.checks)))
            for row in rows
            if self.node(row.node.name)
        ]

    def coordinates(self, rows: list[NodeCoordinate]) -> list[NodeCoordinate]:
        """Those of nodes that may be read."""
        return rows if self._all else [row for row in rows if self.node(row.node)]

    def sessions(self, rows: list[Session]) -> list[Session]:
        """Those of nodes whose sessions may be read."""
        return rows if self._all else [row for row in rows if self.reads(Resource.SESSION, row.node)]
