"""Where a call on the state is answered: here, or at the leader."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from meshnode.agent.state_gateway import NO_LEADER, StateGateway
from meshnode.base.address import Address
from meshnode.control.body import NANOSECONDS
from meshnode.control.endpoints.table import METHODS
from meshnode.control.log import LeadershipChange, LogHaltedError, NotLeaderError
from meshnode.control.machine import Refusal
from meshnode.control.servers import ServerInfo
from meshnode.rpc.method import RpcError
from meshnode.runtime.log_batcher import Written
from meshnode.runtime.rpc_client import CallLostError, ServerRefusedError, ServerUnreachableError

LEADER = ServerInfo("s1", "id1", "dc1", Address("10.0.0.1", 8300), 3, False, 8302, alive=True)
GET = {"Key": "a"}


class State:
    """A copy of the state that answers with its own name."""

    def __init__(self, *, leads: bool = False, last_contact: float = 0.0, errors: int = 0) -> None:
        self.leads = leads
        self.last_contact = last_contact
        self.halted = None
        self.deposed: list[int] = []
        self._errors = errors
        self.log = SimpleNamespace(node_id="me", leadership=LeadershipChange("id1", 7), depose=self._depose)

    async def _depose(self, epoch: int) -> None:
        self.deposed.append(epoch)

    def read_now(self, _method: object, name: str, _body: object, _token: str) -> dict[str, str]:
        return {"read now": name}

    async def read(self, _method: object, name: str, _body: object, token: str) -> dict[str, str]:
        return {"read": name, "token": token}

    def begin(self, _method: object, _body: object, _token: str) -> asyncio.Future[Any]:
        if self._errors:
            raise RpcError("a bad body")
        return asyncio.get_running_loop().create_future()

    async def write(self, _method: object, _body: object, _token: str) -> str:
        if self._errors:
            self._errors -= 1
            self.leads = False
            raise NotLeaderError("id1")
        return "written"

    machine = None


class Client:
    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes) or [{b"Value": b"far"}]
        self.calls: list[tuple[Address, str, dict[str, Any], float]] = []

    async def call(self, address: Address, method: str, body: Any, *, timeout: float, datacenter: str) -> Any:
        assert datacenter == "dc1"
        self.calls.append((address, method, body, timeout))
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def gateway(
    state: State | None,
    client: Client | None = None,
    *,
    leader: ServerInfo | None = LEADER,
    hold: float = 0.3,
    special: Callable[[Any, str], Awaitable[Any]] | None = None,
) -> StateGateway:
    holder: Any = SimpleNamespace(state=state, leader=lambda: leader)
    made: Any = client or Client()
    return StateGateway(
        holder, METHODS, {"Session.Renew": special} if special else {}, client=made, datacenter="dc1",
        hold_timeout=lambda: hold, rng=random.Random(1),
    )  # fmt: skip


def call(made: StateGateway, method: str = "KVS.Get", **body: Any) -> Any:
    return asyncio.run(made.call(method, GET | body))


def test_the_leader_answers_itself() -> None:
    client = Client()
    assert call(gateway(State(leads=True), client), Token="t") == {"read": "KVS.Get", "token": "t"}
    assert call(gateway(State(leads=True), client), "KVS.Apply") == "written"
    assert client.calls == []


def test_another_server_asks_the_leader_and_says_that_it_was_passed_on() -> None:
    client = Client({b"Entries": [], b"FromMemory": True})
    assert call(gateway(State(), client)) == {"Entries": []}
    ((address, method, body, _),) = client.calls
    assert (address, method, body) == (LEADER.rpc, "KVS.Get", {"Key": "a", "Forwarded": True})


def test_a_stale_read_is_answered_by_any_copy_that_is_fresh_enough() -> None:
    client = Client()
    here = {"read": "KVS.Get", "token": ""}
    assert call(gateway(State(last_contact=5.0), client), AllowStale=True) == here
    assert (
        call(gateway(State(last_contact=5.0), client), AllowStale=True, MaxStaleDuration=6 * NANOSECONDS)
        == here
    )
    assert client.calls == []
    call(gateway(State(last_contact=5.0), client), AllowStale=True, MaxStaleDuration=4 * NANOSECONDS)
    assert len(client.calls) == 1


def test_a_server_without_a_copy_forwards_even_stale_reads() -> None:
    client = Client()
    assert call(gateway(None, client), AllowStale=True) == {"Value": b"far"}


def test_a_blocking_call_is_given_its_time_at_the_leader_too() -> None:
    client = Client()
    call(gateway(State(), client, hold=7.0), MinQueryIndex=5, MaxQueryTime=300 * NANOSECONDS)
    assert client.calls[0][3] == 307.0


def test_what_was_passed_on_is_not_passed_on_again() -> None:
    client = Client()
    with pytest.raises(RpcError, match=NO_LEADER):
        call(gateway(State(), client), Forwarded=True)
    assert client.calls == []


def test_without_a_leader_a_call_waits_and_then_says_so() -> None:
    with pytest.raises(RpcError, match=f"^{NO_LEADER}$"):
        call(gateway(State(), leader=None, hold=0.05))


def test_a_leader_that_is_still_catching_up_does_not_ask_itself() -> None:
    state, client = State(), Client()
    state.log.node_id = "id1"
    with pytest.raises(RpcError, match=NO_LEADER):
        call(gateway(state, client, hold=0.05))
    assert client.calls == []


@pytest.mark.parametrize(
    "error", [ServerUnreachableError("gone"), ServerRefusedError("gone"), RpcError(NO_LEADER)]
)
def test_what_was_not_executed_is_tried_again(error: Exception) -> None:
    client = Client(error, {b"Value": b"far"})
    assert call(gateway(State(), client, hold=5.0), "KVS.Apply") == {"Value": b"far"}
    assert len(client.calls) == 2


def test_what_may_have_been_executed_is_not() -> None:
    client = Client(CallLostError("lost"), {b"Value": b"far"})
    with pytest.raises(CallLostError):
        call(gateway(State(), client), "KVS.Apply")


def test_a_read_that_was_lost_on_the_way_is_asked_again() -> None:
    client = Client(CallLostError("lost"), {b"Value": b"far"})
    assert call(gateway(State(), client, hold=5.0)) == {"Value": b"far"}


def test_a_refusal_of_the_leader_is_the_answer() -> None:
    client = Client(RpcError("Missing node registration"))
    with pytest.raises(RpcError, match="Missing node registration"):
        call(gateway(State(), client), "KVS.Apply")
    assert len(client.calls) == 1


def test_a_leader_that_does_not_run_is_deposed_and_one_that_is_out_of_reach_is_not() -> None:
    state = State()
    call(gateway(state, Client(ServerRefusedError("no"), {}), hold=5.0))
    assert state.deposed == [7]
    state = State()
    call(gateway(state, Client(ServerUnreachableError("no"), {}), hold=5.0))
    assert state.deposed == []


def test_a_server_that_lost_leadership_on_the_way_asks_the_new_leader() -> None:
    client = Client({b"Value": b"far"})
    assert call(gateway(State(leads=True, errors=1), client, hold=5.0), "KVS.Apply") == {"Value": b"far"}


def test_what_only_the_leader_can_do_is_done_by_the_leader() -> None:
    async def renew(body: Any, token: str) -> str:
        return f"renewed {body['Key']} {token}"

    assert call(gateway(State(leads=True), special=renew), "Session.Renew", Token="t") == "renewed a t"
    assert call(gateway(State(), Client({}), special=renew), "Session.Renew") == {}


def test_only_a_leader_begins_a_write_and_only_when_nothing_is_in_its_way() -> None:
    async def main() -> None:
        def begun(state: State | None, name: str = "KVS.Apply", **options: Any) -> Any:
            return gateway(state, **options).begin(name, {"Op": "set", "DirEnt": {"Key": "a"}})

        async def special(_body: Any, _token: str) -> None:
            raise AssertionError

        found = begun(State(leads=True))
        found.written.set_result(Written(7, True))
        assert found.reply() is True
        found = begun(State(leads=True))
        found.written.set_result(Written(7, Refusal("it is locked")))
        with pytest.raises(RpcError, match="it is locked"):
            found.reply()
        found = begun(State(leads=True))
        found.written.set_exception(NotLeaderError("id1"))
        with pytest.raises(NotLeaderError):
            found.reply()
        halted = State(leads=True)
        halted.halted = LogHaltedError("damaged")  # type: ignore[assignment]
        for state in (None, State(), State(leads=True, errors=1), halted):
            assert begun(state) is None
        assert begun(State(leads=True), "KVS.Get") is None
        assert begun(State(leads=True), "Session.Renew", special=special) is None

    asyncio.run(main())


def test_memory_answers_at_once_only_where_it_may() -> None:
    def now(state: State | None, **body: Any) -> Any:
        return gateway(state).read_now("KVS.Get", GET | body, "")

    assert now(State(leads=True)) == {"read now": "KVS.Get"}
    assert now(State(), AllowStale=True) == {"read now": "KVS.Get"}
    assert now(State()) is None
    assert now(None) is None
    assert now(State(leads=True), RequireConsistent=True) is None
    assert gateway(State(leads=True)).read_now("KVS.Apply", GET, "") is None
