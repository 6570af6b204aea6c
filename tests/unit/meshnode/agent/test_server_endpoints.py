from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.agent.server_endpoints import ServerEndpoints, bytes_field, text_field
from meshnode.base.errors import MeshError
from meshnode.control.status import ClusterView
from meshnode.rpc.codec import Request
from meshnode.rpc.method import RpcError


def endpoints(fired: list[tuple[str, bytes]]) -> ServerEndpoints:
    view = ClusterView("10.0.0.1:8300", ("10.0.0.2:8300", "10.0.0.1:8300"))
    return made(lambda: view, lambda name, payload: fired.append((name, payload)))


def made(view: Any, fire: Any) -> ServerEndpoints:
    nothing: Any = None
    gateway: Any = ()
    return ServerEndpoints(
        view, fire, "dc1", gateway=gateway, calls=nothing, rights=lambda _: ALLOW_ALL, stats=stats, wan=None
    )


async def stats() -> dict[str, Any]:
    return {"LastContact": "never", "LastTerm": 0, "LastIndex": 0}


def answer(served: ServerEndpoints, method: str, body: Any) -> Any:
    return asyncio.run(served.call(method, body))


def test_status_calls_are_answered_from_the_view() -> None:
    served = endpoints([])
    assert answer(served, "Status.Leader", {}) == "10.0.0.1:8300"
    assert answer(served, "Status.Peers", None) == ["10.0.0.1:8300", "10.0.0.2:8300"]
    assert answer(served, "Status.Ping", b"") == {}


def test_a_server_tells_how_it_stands_to_the_log() -> None:
    assert answer(endpoints([]), "Status.RaftStats", {}) == {
        "LastContact": "never", "LastTerm": 0, "LastIndex": 0,
    }  # fmt: skip


def test_an_event_is_fired_under_consuls_prefix() -> None:
    fired: list[tuple[str, bytes]] = []
    body = {b"Name": b"deploy", b"Payload": b"\x81", b"Datacenter": b"dc1"}
    assert answer(endpoints(fired), "Internal.EventFire", body) == {"Datacenter": "dc1"}
    assert fired == [("consul:event:deploy", b"\x81")]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "Must provide event name"),
        (None, "Must provide event name"),
        ([1], "Must provide event name"),
        ({b"Name": b"\xff"}, "Name is not UTF-8"),
        ({b"Name": 7}, "Name is not a byte string"),
    ],
)
def test_a_bad_event_is_refused_with_the_reason(body: Any, text: str) -> None:
    with pytest.raises(RpcError, match=text):
        answer(endpoints([]), "Internal.EventFire", body)


class Elsewhere:
    """Other datacenters: notes what they are asked, and answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], str, bool]] = []

    async def call(
        self, method: str, body: Any, datacenter: str, *, repeatable: bool, wait: float = 0.0
    ) -> Any:
        del wait
        self.asked.append((method, dict(body), datacenter, repeatable))
        return {"Datacenter": datacenter}


class Gateway:
    """Knows every method; ``Get`` and ``List`` are reads."""

    def __contains__(self, method: str) -> bool:
        return "." in method and not method.startswith("Internal")

    def is_read(self, method: str) -> bool:
        return method.endswith(("Get", "List"))

    async def call(self, method: str, body: Any) -> Any:
        return method, body

    def begin(self, method: str, body: Any) -> Any:
        return method, body


def federated(others: Any) -> ServerEndpoints:
    """A server of dc2, whose primary is dc1."""
    gateway: Any = Gateway()
    return ServerEndpoints(
        lambda: ClusterView("", ()), lambda *_: None, "dc2", gateway=gateway, calls=others,
        rights=lambda _: ALLOW_ALL, stats=stats, wan=None, primary="dc1",
    )  # fmt: skip


def test_an_event_of_another_datacenter_is_passed_on_whole() -> None:
    others = Elsewhere()
    body = {b"Name": b"deploy", b"Payload": b"\x81", b"Datacenter": b"dc3", b"Token": b"t"}
    assert answer(federated(others), "Internal.EventFire", body) == {"Datacenter": "dc3"}
    passed = {"Datacenter": "dc3", "Name": "deploy", "Payload": b"\x81", "Token": "t"}
    assert others.asked == [("Internal.EventFire", passed, "dc3", False)]


@pytest.mark.parametrize(
    ("method", "wanted", "place", "repeatable"),
    [
        ("KVS.Apply", "dc3", "dc3", False),
        ("KVS.Get", "dc3", "dc3", True),
        # The primary's, and told that it is meant: else it would send it back.
        ("Intention.Apply", "", "dc1", False),
        ("Intention.Apply", "dc2", "dc1", False),
        ("ConnectCA.ConfigurationGet", "", "dc1", True),
    ],
)
def test_a_call_of_another_datacenter_goes_there_and_a_read_may_be_made_twice(
    method: str, wanted: str, place: str, repeatable: bool
) -> None:
    others = Elsewhere()
    served = federated(others)
    answer(served, method, {"Datacenter": wanted, "Key": "x"})
    ours = {"ForPrimary": True} if place == "dc1" else {}
    assert others.asked == [(method, {"Datacenter": place, "Key": "x", **ours}, place, repeatable)]
    assert served.begin(method, {"Datacenter": wanted}) is None


def test_two_datacenters_that_name_each_other_as_primary_do_not_pass_a_call_to_and_fro() -> None:
    others = Elsewhere()
    body = {"Datacenter": "dc2", "ForPrimary": True}
    with pytest.raises(RpcError, match=r"^not the primary datacenter: dc2 has primary_datacenter dc1$"):
        answer(federated(others), "Intention.Apply", body)
    assert others.asked == []
    # Asked for by name in another one, it is not taken for the primary.
    answer(federated(others), "Intention.Apply", {"Datacenter": "dc2"})
    assert len(others.asked) == 1


def over_the_network(method: str, body: Any) -> Any:
    peer: Any = None
    return asyncio.run(federated(Elsewhere()).handle(Request(method, 1, body), peer))


@pytest.mark.parametrize("body", [[], 1, "x", b"\xff", True])
def test_an_argument_that_is_no_struct_is_refused(body: Any) -> None:
    with pytest.raises(RpcError, match=r"^KVS\.Apply: its argument must be a struct, not "):
        over_the_network("KVS.Apply", body)


def test_no_argument_is_one_without_fields() -> None:
    assert over_the_network("KVS.Get", None) == ("KVS.Get", {})
    assert over_the_network("KVS.Get", {b"Key": b"x"}) == ("KVS.Get", {"Key": "x"})


@pytest.mark.parametrize(
    ("method", "wanted"), [("KVS.Apply", ""), ("KVS.Get", "dc2"), ("Intention.List", "")]
)
def test_what_is_ours_is_answered_here(method: str, wanted: str) -> None:
    others = Elsewhere()
    body = {"Datacenter": wanted}
    assert answer(federated(others), method, body) == (method, body)
    assert others.asked == []


def test_an_error_of_gossip_is_the_callers_answer() -> None:
    def fail(_name: str, _payload: bytes) -> None:
        raise MeshError("user event takes 600 bytes and gossip carries 512")

    served = made(lambda: ClusterView("", ()), fail)
    with pytest.raises(RpcError, match=r"gossip carries 512"):
        answer(served, "Internal.EventFire", {b"Name": b"x"})


def test_the_datacenters_without_a_wan_pool_are_our_own() -> None:
    assert answer(endpoints([]), "Catalog.ListDatacenters", {}) == ["dc1"]
    assert answer(endpoints([]), "Coordinate.ListDatacenters", {}) == [
        {"Datacenter": "dc1", "AreaID": "wan", "Coordinates": []}
    ]


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(RpcError, match=r"KVS.Get"):
        answer(endpoints([]), "KVS.Get", {})


@pytest.mark.parametrize(
    ("body", "value"), [({b"A": b"x"}, b"x"), ({"A": "x"}, b"x"), ({b"A": None}, b""), ({}, b""), (3, b"")]
)
def test_fields_are_read_in_either_form(body: Any, value: bytes) -> None:
    assert bytes_field(body, "A") == value
    assert text_field(body, "A") == value.decode()
