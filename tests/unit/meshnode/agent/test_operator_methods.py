"""``Operator.*`` at the leader: who is listed, who may go, who may lead, and who may ask."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer, PermissionDeniedError
from meshnode.agent.operator_methods import OperatorMethods, ask_stats, peers_of, remove_server
from meshnode.base.address import Address
from meshnode.control.server_health import LogStats, Peer
from meshnode.http.view import MemberInfo, MemberStatus
from meshnode.rpc.method import RpcError
from tests.support.state_api import Grants
from tests.unit.meshnode.control.test_server_health import peer

PEERS = [peer(3), peer(1, leads=True), peer(2, "failed")]


class Leader:
    """The methods over a state that is only looked at."""

    def __init__(
        self, *peers: Peer, shared: bool = True, rights: Authorizer = ALLOW_ALL, state: bool = True
    ) -> None:
        self.removed: list[str] = []
        self.heirs: list[str] = []
        log = SimpleNamespace(transfer=self._transfer)
        machine = SimpleNamespace(last_index=22)
        held: Any = SimpleNamespace(log=log, machine=machine, authorizer=lambda token: rights)
        autopilot: Any = SimpleNamespace(look=self._look)
        self.methods = OperatorMethods(
            lambda: held if state else None, lambda: peers, autopilot, self.removed.append, shared=shared
        ).methods

    async def _transfer(self, node_id: str) -> None:
        self.heirs.append(node_id)

    async def _look(self, state: object) -> Any:
        assert state is not None
        return [], 2

    def call(self, name: str, **body: Any) -> Any:
        return asyncio.run(self.methods[f"Operator.{name}"](body, "token"))  # type: ignore[arg-type]


def test_the_servers_are_listed_by_name_with_the_index_of_the_state() -> None:
    reply = Leader(*PEERS).call("RaftGetConfiguration")
    assert [server["Node"] for server in reply["Servers"]] == ["server1", "server2", "server3"]
    assert [server["Leader"] for server in reply["Servers"]] == [True, False, False]
    assert reply["Index"] == 22


def test_a_failed_server_is_removed_by_id_or_address() -> None:
    leader = Leader(*PEERS)
    leader.call("RaftRemovePeerByID", ID="id2")
    leader.call("RaftRemovePeerByAddress", Address="10.0.0.2:8300")
    assert leader.removed == ["server2", "server2"]


@pytest.mark.parametrize(
    ("method", "body", "because"),
    [
        ("RaftRemovePeerByID", {"ID": "id3"}, "server server3 is alive: run `consul leave` on it"),
        ("RaftRemovePeerByAddress", {"Address": "10.0.0.1:8300"}, "server server1 is alive"),
        ("RaftRemovePeerByID", {"ID": "id9"}, 'id "id9" was not found in the Raft configuration'),
        ("RaftRemovePeerByAddress", {"Address": "x"}, 'address "x" was not found in the Raft configuration'),
        ("RaftRemovePeerByID", {}, "ID is missing"),
        ("RaftRemovePeerByAddress", {"ID": "id2"}, "Address is missing"),
        ("RaftRemovePeerByID", {"ID": 5}, "ID must be text, not int"),
    ],
)
def test_whom_it_does_not_remove_it_says_why(method: str, body: dict[str, Any], because: str) -> None:
    leader = Leader(*PEERS)
    with pytest.raises(RpcError, match=because):
        leader.call(method, **body)
    assert leader.removed == []


@pytest.mark.parametrize(("body", "heir"), [({}, "id3"), ({"ID": "id3"}, "id3")])
def test_leadership_goes_to_the_named_server_or_to_one_that_is_alive(body: Any, heir: str) -> None:
    leader = Leader(*PEERS)
    assert leader.call("TransferLeader", **body) == {"Success": True}
    assert leader.heirs == [heir]


@pytest.mark.parametrize(
    ("peers", "shared", "wanted", "because"),
    [
        (PEERS, True, "id1", "server server1 leads already"),
        (PEERS, True, "id2", "server server2 is failed: name one that is alive"),
        (PEERS, True, "id9", 'id "id9" was not found in the Raft configuration'),
        (PEERS[1:], True, "", "no other server is alive"),
        (PEERS, False, "id3", "set state_log.engine to etcd"),
    ],
)
def test_to_whom_it_is_not_handed_it_says_why(
    peers: list[Peer], shared: bool, wanted: str, because: str
) -> None:
    leader = Leader(*peers, shared=shared)
    with pytest.raises(RpcError, match=because):
        leader.call("TransferLeader", ID=wanted)
    assert leader.heirs == []


READS = ("RaftGetConfiguration", "ServerHealth")
WRITES: tuple[tuple[str, dict[str, str]], ...] = (
    ("RaftRemovePeerByID", {"ID": "id2"}),
    ("RaftRemovePeerByAddress", {"Address": "10.0.0.2:8300"}),
    ("TransferLeader", {}),
)


def test_reading_needs_operator_read_and_the_rest_operator_write() -> None:
    reader, writer, nobody = (
        Leader(*PEERS, rights=Grants.of(*rules))
        for rules in (("operator::read",), ("operator::write",), ("node:*:write", "agent:*:write"))
    )
    for name in READS:
        assert reader.call(name)
        assert writer.call(name)
        with pytest.raises(PermissionDeniedError):
            nobody.call(name)
    for name, body in WRITES:
        writer.call(name, **body)
        for other in (reader, nobody):
            with pytest.raises(PermissionDeniedError):
                other.call(name, **body)
            assert (other.removed, other.heirs) == ([], [])


def test_a_server_without_the_state_says_so() -> None:
    with pytest.raises(RpcError, match="this server has no copy of the state"):
        Leader(*PEERS, state=False).call("ServerHealth")


# Gossip and the RPC client


def member(name: str, number: int, status: MemberStatus = MemberStatus.ALIVE, **tags: str) -> MemberInfo:
    known = {"role": "consul", "dc": "dc1", "port": "8300", "id": f"id{number}", "build": "1.2.3:5f1d"} | tags
    return MemberInfo(name, f"10.0.0.{number}", 8301, known, status, (1, 5, 2), (2, 5, 4))


MEMBERS = [
    member("a", 1, state_log="owner"),
    member("b", 2, MemberStatus.FAILED),
    member("c", 3, MemberStatus.LEFT),
    member("d", 4, MemberStatus.LEAVING),
    member("e", 5, dc="dc2"),
    member("f", 6, role="node"),
    member("g", 7, port="none"),
]


@pytest.mark.parametrize(("shared", "voters"), [(True, ["a", "b", "d"]), (False, ["a"])])
def test_the_servers_are_those_of_gossip_that_did_not_leave(shared: bool, voters: list[str]) -> None:
    peers = peers_of(MEMBERS, "dc1", Address("10.0.0.2", 8300), shared=shared)
    assert [(each.info.name, each.serf_status, each.version) for each in peers] == [
        ("a", "alive", "1.2.3"), ("b", "failed", "1.2.3"), ("d", "leaving", "1.2.3"),
    ]  # fmt: skip
    assert [each.info.name for each in peers if each.leads] == ["b"]
    assert [each.info.name for each in peers if each.voter] == voters
    assert not any(each.leads for each in peers_of(MEMBERS, "dc1", None, shared=shared))


@pytest.mark.parametrize("wan_members", [None, (), ("a.dc1",), ("a.dc2",)])
def test_a_server_is_removed_from_both_pools(wan_members: tuple[str, ...] | None) -> None:
    done: list[tuple[str, bool]] = []

    def pool(*names: str) -> Any:
        shell = SimpleNamespace(force_leave=lambda name, *, prune: done.append((name, prune)))
        return SimpleNamespace(shell=shell, members=[SimpleNamespace(name=name) for name in names])

    remove_server(pool("a"), pool(*wan_members) if wan_members is not None else None, "dc1", "a")
    assert done == [("a", False), *([("a.dc1", False)] if wan_members == ("a.dc1",) else [])]


@pytest.mark.parametrize(
    ("reply", "stats"),
    [
        ({b"LastContact": b"1.5ms", b"LastTerm": 3, b"LastIndex": 9}, LogStats(0.0015, 3, 9)),
        ({b"LastContact": b"never", b"LastTerm": 0, b"LastIndex": 0}, LogStats()),
    ],
)
def test_another_server_is_asked_at_its_rpc_port_and_not_for_long(reply: Any, stats: LogStats) -> None:
    asked: list[Any] = []

    async def call(address: Address, method: str, body: object, **options: object) -> Any:
        asked.append((str(address), method, body, options))
        return reply

    client: Any = SimpleNamespace(call=call)
    assert asyncio.run(ask_stats(client, peer(2))) == stats
    assert asked == [("10.0.0.2:8300", "Status.RaftStats", {}, {"timeout": 2.0, "datacenter": "dc1"})]
