"""What a server answers about Connect's certificate authority where ``connect.enabled`` is off."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from meshnode.control.endpoints.connect_ca import NOT_ENABLED
from meshnode.rpc.method import RpcError

if TYPE_CHECKING:
    from meshnode.agent.state_gateway import LeaderMethod
    from meshnode.control.body import Body
    from meshnode.control.watch import WatchKey

__all__ = ["ConnectOff"]


class ConnectOff:
    """In place of :class:`~meshnode.agent.connect_ca.ConnectCa`: it has no duties, and refuses every call."""

    @property
    def methods(self) -> dict[str, LeaderMethod]:
        """The methods by their names, as ``ConnectCa`` has them."""
        names = ("Sign", "SignIntermediate", "ConfigurationSet", "RotationSet")
        return {f"ConnectCA.{name}": _refuse for name in names}

    def lead(self, epoch: int) -> None:
        """A term has no duties."""

    async def stop(self) -> None:
        """Nothing runs."""

    def applied(self, touched: frozenset[WatchKey]) -> None:
        """No entry concerns it."""


async def _refuse(body: Body, token: str) -> NoReturn:
    del body, token
    raise RpcError(NOT_ENABLED)
