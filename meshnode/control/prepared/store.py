"""The table of prepared queries: by id, by name, by prefix for templates, and by the session that they end with.

Ids, names and sessions are compared without regard to case. A look-up takes the id first, then the name of a query that
is no template, then the template with the longest prefix. Source: Consul 1.2.3, API documentation of ``/v1/query``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from meshnode.control.prepared.model import PreparedQuery
from meshnode.control.prepared.template import MAX_NAME_CHARS, render
from meshnode.control.watch import QUERIES, WatchKey

__all__ = ["PreparedQueries"]


class PreparedQueries:
    """``touched`` is shared: whoever made it reads from it what changed. ``index`` is that of the last change."""

    def __init__(self, touched: set[WatchKey]) -> None:
        self.index = 0
        self._touched = touched
        self._rows: Final[dict[str, PreparedQuery]] = {}
        self._names: Final[dict[str, str]] = {}
        self._prefixes: Final[dict[str, str]] = {}
        self._prefix_lengths: Final[dict[int, int]] = {}  # length -> how many prefixes have it
        self._of_session: Final[dict[str, set[str]]] = {}

    # Reading

    def get(self, query_id: str) -> tuple[int, PreparedQuery | None]:
        """``/query/:uuid``."""
        return self.index or 1, self._rows.get(query_id.lower())

    def every(self) -> tuple[int, list[PreparedQuery]]:
        """``/query``, by id."""
        return self.index or 1, [self._rows[key] for key in sorted(self._rows)]

    def resolve(self, id_or_name: str, segment: str = "") -> PreparedQuery | None:
        """The query for an id or a name, a template as it is for that name and the asking agent's ``segment``.

        Raises :class:`ConfigError` when a template's regular expression takes too long.
        """
        key = id_or_name.lower()
        found = self._rows.get(key)
        if found is not None and not found.is_template:
            return found
        if key in self._names:
            return self._rows[self._names[key]]
        if not key or len(key) > MAX_NAME_CHARS:
            return None
        for length in sorted(self._prefix_lengths, reverse=True):
            template = self._prefixes.get(key[:length]) if length <= len(key) else None
            if template is not None:
                return render(self._rows[template], id_or_name, segment)
        return None

    # Writing

    def put(
        self, index: int, query: PreparedQuery, *, create: bool, session_exists: Callable[[str], bool]
    ) -> str:
        """Add a query (``create``) or replace the one with its id; returns why not, or ``""``. It was validated."""
        key = query.id.lower()
        old = self._rows.get(key)
        if fault := self._fault(query, old, create=create, session_exists=session_exists):
            return fault
        if old is not None:
            self._unlist(old)
        self.load(
            replace(query, create_index=old.create_index if old is not None else index, modify_index=index)
        )
        self._moved(index)
        return ""

    def _fault(
        self,
        query: PreparedQuery,
        old: PreparedQuery | None,
        *,
        create: bool,
        session_exists: Callable[[str], bool],
    ) -> str:
        key, name = query.id.lower(), query.name.lower()
        if not key:
            return "Missing Query ID"
        if create and old is not None:
            return f"Prepared query ID '{query.id}' is in use"
        if not create and old is None:
            return f"Cannot modify non-existent prepared query: '{query.id}'"
        if query.session and not session_exists(query.session):
            return f'invalid session "{query.session}": create it first, or leave Session empty'
        if name in self._rows:
            return f"name '{query.name}' aliases an existing query ID"
        table = self._prefixes if query.is_template else self._names
        if (name or query.is_template) and table.get(name, key) != key:
            kind = "query template with that prefix" if query.is_template else "query name"
            return f"name '{query.name}' aliases an existing {kind}"
        return ""

    def delete(self, index: int, query_id: str) -> bool:
        """Remove a query; false when there is none."""
        query = self._rows.pop(query_id.lower(), None)
        if query is None:
            return False
        self._unlist(query)
        self._moved(index)
        return True

    def end_of_sessions(self, index: int, exists: Callable[[str], bool]) -> None:
        """Remove the queries whose session isn't one any more."""
        for session in sorted(self._of_session):
            if not exists(session):
                for key in sorted(self._of_session[session]):
                    self.delete(index, key)

    def load(self, query: PreparedQuery) -> None:
        """Put in a row, as from a snapshot: no index moves and nothing is touched."""
        key, name = query.id.lower(), query.name.lower()
        self._rows[key] = query
        if query.is_template:
            self._prefixes[name] = key
            self._prefix_lengths[len(name)] = self._prefix_lengths.get(len(name), 0) + 1
        elif name:
            self._names[name] = key
        if query.session:
            self._of_session.setdefault(query.session.lower(), set()).add(key)

    def _unlist(self, query: PreparedQuery) -> None:
        key, name, session = query.id.lower(), query.name.lower(), query.session.lower()
        if query.is_template:
            del self._prefixes[name]
            self._prefix_lengths[len(name)] -= 1
            if not self._prefix_lengths[len(name)]:
                del self._prefix_lengths[len(name)]
        elif name:
            del self._names[name]
        if session:
            self._of_session[session].discard(key)
            if not self._of_session[session]:
                del self._of_session[session]

    def _moved(self, index: int) -> None:
        self.index = index
        self._touched.add(QUERIES)
