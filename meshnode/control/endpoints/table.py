"""Every method of a server by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshnode.control.endpoints import (
    acl,
    catalog,
    config_entry,
    connect_ca,
    coordinate,
    gateway,
    health,
    intention,
    internal,
    kv,
    operator,
    prepared_query,
    session,
    txn,
)
from meshnode.control.method import Method

__all__ = ["METHODS"]

METHODS: Final[Mapping[str, Method]] = {
    **acl.METHODS,
    **catalog.METHODS,
    **config_entry.METHODS,
    **connect_ca.METHODS,
    **coordinate.METHODS,
    **gateway.METHODS,
    **health.METHODS,
    **intention.METHODS,
    **internal.METHODS,
    **kv.METHODS,
    **operator.METHODS,
    **prepared_query.METHODS,
    **session.METHODS,
    **txn.METHODS,
}
