from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from meshnode.agent.server_calls import MAX_SERVERS_TRIED, ServerCalls
from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.control.servers import ServerInfo
from meshnode.control.token_bucket import TokenBucket
from meshnode.http.errors import HttpError, ServerCallError
from meshnode.rpc.method import RpcError
from meshnode.runtime.rpc_client import (
    CallLostError,
    CallTimeoutError,
    ServerUnreachableError,
    TlsRefusedError,
)

NOT_EXECUTED = [ServerUnreachableError, TlsRefusedError]
PERHAPS_EXECUTED = [CallLostError, CallTimeoutError]


def server(number: int, *, alive: bool = True) -> ServerInfo:
    return ServerInfo(
        f"s{number}", f"id{number}", "dc1", Address(f"10.0.0.{number}", 8300), 0, False, 8302, alive
    )


class Client:
    """Fails with each of ``failures`` in turn, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked: list[Address] = []

    async def call(self, address: Address, *_args: object, **_options: object) -> bytes:
        self.asked.append(address)
        if self.failures:
            raise self.failures.pop(0)
        return b"10.0.0.9:8300"


def call(
    client: Any,
    *servers: ServerInfo,
    repeatable: bool = True,
    limit: TokenBucket | None = None,
    dc: str = "",
    method: str = "Status.Leader",
) -> Any:
    calls = ServerCalls(
        client,
        lambda datacenter: servers if datacenter == "dc1" else (),
        rng=random.Random(1),
        datacenter="dc1",
        metrics=Metrics(0.0),
        clock=lambda: 0.0,
        limit=limit or TokenBucket(-1, 0, 0.0),
        timeout=7.0,
    )
    return asyncio.run(calls.call(method, {}, dc, repeatable=repeatable))


def test_an_answer_of_a_server_that_is_alive() -> None:
    client = Client()
    assert call(client, server(1, alive=False), server(2)) == "10.0.0.9:8300"
    assert client.asked == [Address("10.0.0.2", 8300)]


@pytest.mark.parametrize("error", NOT_EXECUTED)
@pytest.mark.parametrize("repeatable", [True, False])
def test_another_server_is_tried_when_the_call_was_not_executed(
    error: type[MeshError], repeatable: bool
) -> None:
    client = Client(error("no"), error("no"))
    assert call(client, server(1), server(2), server(3), repeatable=repeatable) == "10.0.0.9:8300"
    assert len(set(client.asked)) == 3


@pytest.mark.parametrize("error", PERHAPS_EXECUTED)
@pytest.mark.parametrize(("repeatable", "tries"), [(True, 2), (False, 1)])
def test_what_may_have_been_executed_is_repeated_only_if_that_does_no_harm(
    error: type[MeshError], repeatable: bool, tries: int
) -> None:
    client = Client(error("lost"))
    if repeatable:
        assert call(client, server(1), server(2)) == "10.0.0.9:8300"
    else:
        with pytest.raises(ServerCallError, match=r"rpc error making call: s\d \(10.0.0.\d:8300\): lost"):
            call(client, server(1), server(2), repeatable=False)
    assert len(client.asked) == tries


def test_tries_are_bounded_and_each_failure_is_told() -> None:
    client = Client(*[ServerUnreachableError("refused")] * 9)
    with pytest.raises(ServerCallError) as caught:
        call(client, *(server(number) for number in range(1, 9)))
    assert len(client.asked) == MAX_SERVERS_TRIED
    assert str(caught.value).count("refused") == MAX_SERVERS_TRIED


def test_what_a_server_refuses_no_other_is_asked() -> None:
    client = Client(RpcError("Permission denied"))
    with pytest.raises(ServerCallError, match=r"^rpc error making call: Permission denied$"):
        call(client, server(1), server(2))
    assert len(client.asked) == 1


@pytest.mark.parametrize(
    ("dc", "text"), [("", "No known Consul servers"), ("dc9", "No path to datacenter dc9")]
)
def test_without_a_server_the_reason_is_consuls(dc: str, text: str) -> None:
    with pytest.raises(MeshError, match=f"^{text}$"):
        call(Client(), server(1, alive=False), dc=dc)


def test_over_the_limit_nothing_is_sent() -> None:
    client, limit = Client(), TokenBucket(1.0, 1, 0.0)
    call(client, server(1), limit=limit)
    with pytest.raises(HttpError, match=r"RPC rate limit exceeded") as caught:
        call(client, server(1), limit=limit)
    assert caught.value.status == 429
    assert len(client.asked) == 1


def test_an_answer_of_another_server_is_not_from_memory_that_anybody_here_watches() -> None:
    class Remote(Client):
        async def call(self, address: Address, *_args: object, **_options: object) -> Any:
            return {b"FromMemory": True, b"Index": 7}

    assert call(Remote(), server(1), method="KVS.Get") == {"Index": 7}
