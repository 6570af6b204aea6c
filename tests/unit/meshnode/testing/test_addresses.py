from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import astuple

import pytest

from meshnode.base.errors import MeshError
from meshnode.testing.addresses import MAX_AGENTS, Listen, Reservation
from tests.support.programs import excuse

linux = excuse("loopback", unless=sys.platform == "linux")


@pytest.fixture(params=[pytest.param(True, marks=linux), False], ids=["own addresses", "free ports"])
def reservation(request: pytest.FixtureRequest) -> Iterator[Reservation]:
    made = Reservation(own_addresses=request.param)
    yield made
    made.close()


def test_two_agents_never_share_a_port_of_an_address(reservation: Reservation) -> None:
    places = [reservation.take() for _ in range(5)]
    taken = [(place.host, port) for place in places for port in astuple(place)[1:]]
    assert len(set(taken)) == len(taken)


def test_every_port_that_is_given_can_be_bound(reservation: Reservation) -> None:
    place = reservation.take()
    for port in astuple(place)[1:]:
        with socket.socket() as opened:
            opened.bind((place.host, port))


def test_a_mesh_has_at_most_so_many_agents(reservation: Reservation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.testing.addresses.MAX_AGENTS", 2)
    assert MAX_AGENTS > 2
    reservation.take()
    reservation.take()
    with pytest.raises(MeshError, match="at most 2 agents"):
        reservation.take()


@linux
def test_a_network_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    # 98 and 99 are taken by another mesh, and by somebody with rules of his own; 97 is free.
    numbers = iter([98, 98, 99, 99, 97, 97])
    with socket.socket() as mesh, socket.socket() as other:
        mesh.bind(("127.98.98.254", 8300))
        other.bind(("127.99.99.1", 8500))
        monkeypatch.setattr("random.SystemRandom.randint", lambda *_: next(numbers))
        reservation = Reservation(own_addresses=True)
    assert reservation.take().host == "127.97.97.1"
    reservation.close()


@linux
def test_no_free_network_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.testing.addresses._listen", lambda *_: None)
    with pytest.raises(MeshError, match="no free network found"):
        Reservation(own_addresses=True)


def test_addresses_to_join_name_their_port() -> None:
    place = Listen("127.0.0.1", serf_lan=1, serf_wan=2)
    assert (place.lan, place.wan) == ("127.0.0.1:1", "127.0.0.1:2")
