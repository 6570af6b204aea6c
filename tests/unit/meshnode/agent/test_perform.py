"""The key operations; every other effect is performed by a whole agent in ``test_agent.py``."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from meshnode.agent.perform import MAX_KEY_ATTEMPTS, Performer
from meshnode.base.errors import MeshError
from meshnode.control.log import LogUnavailableError, NotLeaderError, StaleEpochError
from meshnode.gossip.serf.events import KeyResult
from meshnode.http.effects import CallServer, Effect, KeyOperation, KeyringStatus, KeyVerb, Pieces, ReadServer
from meshnode.http.errors import ServerCallError
from meshnode.rpc.method import RpcError
from meshnode.runtime.http_host import NotDoneError

KEY = "AAAAAAAAAAAAAAAAAAAAAA=="


class Shell:
    """Answers each operation with the next of ``results``; the last one stays."""

    def __init__(self, *results: KeyResult, keyring: object = "a keyring") -> None:
        self.results = list(results)
        self.asked: list[tuple[str, bytes | None, int]] = []
        self.serf = SimpleNamespace(keyring=keyring)

    async def key_operation(self, verb: str, key: bytes | None, relay_factor: int) -> KeyResult:
        self.asked.append((verb, key, relay_factor))
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]


def performer_of(shell: Any, wan_shell: Any = None) -> Performer:
    unused: Any = None
    lan: Any = SimpleNamespace(shell=shell, wan=False)
    wan: Any = SimpleNamespace(shell=wan_shell, wan=True) if wan_shell else None
    return Performer(
        datacenter="dc1", lan=lan, wan=wan, endpoints=None, calls=unused, events=unused, logs=unused,
        access=unused, local=unused, connect=unused, leave=unused, reload=unused,
    )  # fmt: skip


def perform(shell: Any, effect: Effect[Any], *, wan_shell: Any = None) -> Any:
    return asyncio.run(performer_of(shell, wan_shell).perform(effect))


def test_a_long_answer_is_given_piece_by_piece() -> None:
    async def main() -> list[bytes]:
        return [piece async for piece in await performer_of(None).perform(Pieces(iter((b"a", b"b"))))]

    assert asyncio.run(main()) == [b"a", b"b"]


def test_the_key_is_decoded_and_the_answer_is_the_pools() -> None:
    shell = Shell(KeyResult(num_nodes=2, num_responses=2, keys={KEY: 2}))
    found = perform(shell, KeyOperation(KeyVerb.INSTALL, KEY, 3))
    assert shell.asked == [("install", bytes(16), 3)]
    assert found == (KeyringStatus(wan=False, datacenter="dc1", keys={KEY: 2}, num_nodes=2, messages={}),)


@pytest.mark.parametrize("verb", [KeyVerb.LIST, KeyVerb.INSTALL, KeyVerb.USE])
def test_who_did_not_answer_is_asked_again(verb: KeyVerb) -> None:
    missed, whole = KeyResult(num_nodes=3, num_responses=2), KeyResult(num_nodes=3, num_responses=3)
    shell = Shell(missed, whole)
    (status,) = perform(shell, KeyOperation(verb, "" if verb is KeyVerb.LIST else KEY, 0))
    assert (len(shell.asked), status.error) == (2, "")


def test_a_node_that_stays_silent_is_reported_in_the_end() -> None:
    shell = Shell(KeyResult(num_nodes=3, num_responses=2))
    (status,) = perform(shell, KeyOperation(KeyVerb.LIST, "", 0))
    assert len(shell.asked) == MAX_KEY_ATTEMPTS
    assert status.error == "1/3 nodes did not answer"


@pytest.mark.parametrize(
    ("verb", "result", "error"),
    [
        (KeyVerb.REMOVE, KeyResult(3, 2), "1/3 nodes did not answer"),
        (KeyVerb.USE, KeyResult(3, 2, 1), "1/3 nodes reported failure; 1/3 nodes did not answer"),
    ],
)
def test_a_removal_and_an_operation_that_failed_are_not_repeated(
    verb: KeyVerb, result: KeyResult, error: str
) -> None:
    shell = Shell(result)
    (status,) = perform(shell, KeyOperation(verb, KEY, 0))
    assert (len(shell.asked), status.error) == (1, error)


@pytest.mark.parametrize(("wan", "asked"), [(None, (1, 1)), (False, (1, 0)), (True, (0, 1))])
def test_a_key_goes_to_the_pool_that_is_meant_and_to_no_other(
    wan: bool | None, asked: tuple[int, int]
) -> None:
    shells = Shell(KeyResult(num_nodes=5, num_responses=5)), Shell(KeyResult(num_nodes=2, num_responses=2))
    found = perform(shells[0], KeyOperation(KeyVerb.INSTALL, KEY, 0, wan=wan), wan_shell=shells[1])
    assert tuple(len(shell.asked) for shell in shells) == asked
    assert [status.wan for status in found] == ([True] if wan is not False else []) + (
        [False] if not wan else []
    )


def test_a_server_without_a_wan_says_so_and_changes_nothing() -> None:
    shell = Shell(KeyResult(1))
    with pytest.raises(MeshError, match="no WAN pool"):
        perform(shell, KeyOperation(KeyVerb.INSTALL, KEY, 0, wan=True))
    assert shell.asked == []


def test_gossip_in_clear_has_no_keys() -> None:
    with pytest.raises(MeshError, match="encryption is not enabled: set `encrypt`"):
        perform(Shell(KeyResult(1), keyring=None), KeyOperation(KeyVerb.LIST, "", 0))


def test_an_effect_that_nobody_knows_is_an_error_not_a_crash() -> None:
    class Unheard(Effect[None]):
        pass

    with pytest.raises(MeshError, match="can't perform Unheard"):
        perform(Shell(KeyResult(1)), Unheard())


class Leader:
    """The endpoints of a server that leads: writes of ``KVS.Apply`` are begun."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.written: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def begin(self, method: str, body: Any) -> Any:
        self.bodies.append(body)
        if method != "KVS.Apply":
            return None
        return SimpleNamespace(written=self.written, reply=self.written.result)


def begun(endpoints: Leader | None, effect: Effect[Any]) -> Any:
    unused: Any = None
    access: Any = SimpleNamespace(tokens=SimpleNamespace(for_requests="default"))
    return Performer(
        datacenter="dc1", lan=unused, wan=None, endpoints=endpoints, calls=unused, events=unused, logs=unused,  # type: ignore[arg-type]
        access=access, local=unused, connect=unused, leave=unused, reload=unused,
    ).begin(effect)  # fmt: skip


def test_a_write_is_begun_here_with_the_token_of_the_request_or_the_agents() -> None:
    async def main() -> None:
        leader = Leader()
        for effect in (
            CallServer("KVS.Apply", {"Op": "set"}, "", "own"),
            CallServer("KVS.Apply", {"Op": "set"}, "dc1"),
        ):
            pending = begun(leader, effect)
            assert pending.ended is leader.written
        leader.written.set_result("done")
        assert pending.finish() == "done"
        assert leader.bodies == [{"Op": "set", "Token": "own"}, {"Op": "set", "Token": "default"}]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "told", "words"),
    [
        (NotLeaderError("s2"), NotDoneError, ""),
        (StaleEpochError(1, 2), NotDoneError, ""),
        (RpcError("it is locked"), ServerCallError, "rpc error making call: it is locked"),
        (LogUnavailableError("too slow"), ServerCallError, "rpc error making call: too slow"),
    ],
)
def test_a_write_that_was_begun_fails_as_one_that_is_performed(
    error: Exception, told: type[Exception], words: str
) -> None:
    async def main() -> None:
        leader = Leader()
        pending = begun(leader, CallServer("KVS.Apply", {}))
        leader.written.set_exception(error)
        with pytest.raises(told) as caught:
            pending.finish()
        assert str(caught.value) == words

    asyncio.run(main())


def test_what_is_no_write_of_this_server_is_not_begun() -> None:
    async def main() -> None:
        leader = Leader()
        assert begun(leader, CallServer("KVS.Apply", {}, "dc2")) is None
        assert begun(leader, ReadServer("KVS.Apply", {})) is None
        assert begun(leader, KeyOperation(KeyVerb.LIST, "", 0)) is None
        assert begun(leader, CallServer("Status.Leader", {})) is None
        assert begun(None, CallServer("KVS.Apply", {})) is None

    asyncio.run(main())
