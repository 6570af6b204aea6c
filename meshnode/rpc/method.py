"""The table of RPC methods, and the error that reaches the caller as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from meshnode.base.errors import LocalProtocolError, MeshError

__all__ = ["MethodTable", "RpcError"]

HandlerT = TypeVar("HandlerT", bound=Callable[..., object])


class RpcError(MeshError):
    """The call was carried out and failed: ``str()`` is the text that the caller gets, or got from the server."""


class MethodTable(Generic[HandlerT]):
    """``Service.Method`` -> handler. The type of the handlers is the table's parameter."""

    def __init__(self, methods: Mapping[str, HandlerT] | None = None) -> None:
        self._methods: dict[str, HandlerT] = {}
        self.add(methods or {})

    def add(self, methods: Mapping[str, HandlerT]) -> None:
        """Enter ``methods``; raises ``LocalProtocolError`` for a name that is ill-formed or entered already."""
        for name, handler in methods.items():
            service, dot, method = name.partition(".")
            if not (service and dot and method) or name in self._methods:
                raise LocalProtocolError(f"RPC method {name!r} is ill-formed or entered twice")
            self._methods[name] = handler

    def __iter__(self) -> Iterator[str]:
        """The names, in the order they were entered."""
        return iter(self._methods)

    def find(self, name: str) -> HandlerT:
        """The handler of ``name``. Raises ``RpcError`` with the texts of Go's net/rpc, which clients look for."""
        if (handler := self._methods.get(name)) is not None:
            return handler
        service, dot, _ = name.rpartition(".")
        if not dot:
            raise RpcError(f"rpc: service/method request ill-formed: {name[:100]}")
        if any(known.rpartition(".")[0] == service for known in self._methods):
            raise RpcError(f"rpc: can't find method {name[:100]}")
        raise RpcError(f"rpc: can't find service {name[:100]}")
