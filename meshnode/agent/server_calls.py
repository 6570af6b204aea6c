"""An agent's calls to servers: which server to ask, and what to do when it can't answer."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.control.servers import ServerInfo
from meshnode.control.status import STATUS_METHODS, parse_status
from meshnode.control.token_bucket import TokenBucket
from meshnode.control.wire import from_wire
from meshnode.http.errors import HttpError, ServerCallError
from meshnode.rpc.method import RpcError
from meshnode.runtime.rpc_client import (
    CallLostError,
    CallTimeoutError,
    RpcClient,
    ServerUnreachableError,
    TlsRefusedError,
)

__all__ = ["NO_LEADER", "ServerCalls"]

_log = logging.getLogger("meshnode.agent")
#: Consul's sentence, which clients look for.
NO_LEADER: Final = "No cluster leader"
#: Servers tried before giving up on a call that was not executed.
MAX_SERVERS_TRIED: Final = 3


class ServerCalls:
    """Asks a server, the next one when the first can't be reached; ``known`` gives the servers of a datacenter.

    ``limit`` is Consul's ``limits``: what a client agent may ask in a second. ``clock`` is monotonic seconds;
    ``timeout`` bounds one call, dialling included (``performance.rpc_hold_timeout``).
    """

    def __init__(
        self,
        client: RpcClient,
        known: Callable[[str], Sequence[ServerInfo]],
        *,
        rng: random.Random,
        datacenter: str,
        metrics: Metrics,
        clock: Callable[[], float],
        limit: TokenBucket,
        timeout: float,
    ) -> None:
        self.limit = limit
        self._timeout = timeout
        self._client = client
        self._known = known
        self._rng = rng
        self._datacenter = datacenter
        self._metrics = metrics
        self._clock = clock

    async def call(
        self,
        method: str,
        body: Mapping[str, object],
        datacenter: str = "",
        *,
        repeatable: bool,
        wait: float = 0.0,
    ) -> Any:
        """Call ``method`` at an alive server; raises :class:`ServerCallError` saying what became of each try.

        Another server is tried when the call was not executed, and, if it is ``repeatable``, when it may have been.
        Over the limit it is not sent: :class:`HttpError` 429. ``wait`` is how long the server may block, in seconds.
        """
        self._metrics.increment("consul.client.rpc", self._clock())
        if not self.limit.take(self._clock()):
            self._metrics.increment("consul.client.rpc.exceeded", self._clock())
            raise HttpError(429, "RPC rate limit exceeded")
        wanted = datacenter or self._datacenter
        servers = [server for server in self._known(wanted) if server.alive]
        if not servers:
            local = wanted == self._datacenter
            raise MeshError("No known Consul servers" if local else f"No path to datacenter {wanted}")
        self._rng.shuffle(servers)
        not_executed = (ServerUnreachableError, TlsRefusedError)
        failures = []
        for server in servers[:MAX_SERVERS_TRIED]:
            try:
                answer = await self._client.call(
                    server.rpc, method, body, timeout=self._timeout * 2 + wait, datacenter=wanted
                )
                return parse_status(method, answer) if method in STATUS_METHODS else _answer(answer)
            except RpcError as error:
                if str(error) != NO_LEADER:
                    raise ServerCallError(str(error)) from None
                # Nothing was done there; a server on another side of a partition may know a leader.
                failures.append(NO_LEADER)
            except (*not_executed, CallLostError, CallTimeoutError) as error:
                self._metrics.increment("consul.client.rpc.failed", self._clock())
                _log.error("%s failed at server %s (%s): %s", method, server.name, server.rpc, error)
                failures.append(f"{server.name} ({server.rpc}): {error}")
                if not (repeatable or isinstance(error, not_executed)):
                    break
        raise ServerCallError("; ".join(dict.fromkeys(failures)))


def _answer(reply: Any) -> Any:
    answer = from_wire(reply)
    if isinstance(answer, dict):
        answer.pop("FromMemory", None)  # it was that server's memory, which nobody here watches
    return answer
