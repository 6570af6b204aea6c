"""Vivaldi coordinates: the figures of serf's own tests, and a simulated network that they have to fit."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.serf.coordinate import (
    ADJUSTMENT_WINDOW,
    DIMENSIONS,
    ERROR_MAX,
    HEIGHT_MIN,
    MAX_RTT,
    Coordinate,
    CoordinateClient,
    parse_ping,
    serialize_ping,
)

#: Sent by serf 0.8.2 in the acknowledgement of a ping.
CAPTURED = bytes.fromhex(
    "0184aa41646a7573746d656e74cb3ef7e6d38ccb0b3da54572726f72cb3ff2ca6cb9b9a205a6486569676874cb3f09d2a525bd0b1aa3566563"
    "98cb3f094c318097b710cb3ef196f513dde2a8cbbf0729f0301ad034cbbee18e46a396ee11cb3efdaa4bb0fe0f4bcb3ef461e84f4d38d2cbbf"
    "1066e20a5f8656cb3efb306214892c58"
)


def vector(*head: float) -> tuple[float, ...]:
    return (*head, *[0.0] * (DIMENSIONS - len(head)))


def test_a_ping_payload_is_byte_for_byte_that_of_serf() -> None:
    coordinate = parse_ping(CAPTURED)
    assert coordinate.is_valid
    assert 1.17 < coordinate.error < 1.18
    assert serialize_ping(coordinate) == CAPTURED


@pytest.mark.parametrize(
    "payload", [b"", b"\x02\x80", b"\x01", b"\x01\x90", b"\x01\x81\xa3Vec\xa1x", CAPTURED[:-1]]
)
def test_other_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_ping(payload)


def test_distances_add_heights_and_adjustments_unless_that_makes_them_negative() -> None:
    one = Coordinate(vec=vector(-0.5, 1.3, 2.4), height=0.7, adjustment=0.1)
    two = Coordinate(vec=vector(1.2, -2.3, 3.4), height=0.1, adjustment=0.2)
    assert one.raw_distance_to(two) == pytest.approx(4.104875150354758 + 0.8)
    assert one.distance_to(two) == pytest.approx(4.104875150354758 + 1.1)
    assert replace(one, adjustment=-1e6).distance_to(two) == pytest.approx(4.104875150354758 + 0.8)


def test_a_force_pushes_away_and_negative_pulls_with_height_never_below_its_minimum() -> None:
    rng = random.Random(1)
    origin, above = Coordinate(), Coordinate(vec=vector(0.0, 0.0, -1.0))
    assert origin.pushed(1.0, above, rng).vec == vector(0.0, 0.0, 1.0)
    assert origin.pushed(-1.0, above, rng).vec == vector(0.0, 0.0, -1.0)
    assert origin.pushed(-1e9, above, rng).height == HEIGHT_MIN
    assert math.hypot(*origin.pushed(1.0, origin, rng).vec) == pytest.approx(1.0)


def test_one_observation_moves_as_serf_moves() -> None:
    client = CoordinateClient("me", random.Random(1))
    other = Coordinate(vec=vector(0.0, 0.0, 0.001))
    after = client.update("other", other, 2.0 * (0.001 + 2 * HEIGHT_MIN))
    assert after.vec[2] < 0.0
    further = client.update("other", other, 2.0 * (0.001 + 2 * HEIGHT_MIN))
    assert further.vec[2] < after.vec[2]


def test_the_latency_filter_rides_out_a_blip() -> None:
    client = CoordinateClient("me", random.Random(1))
    blip = CoordinateClient("me", random.Random(1))
    for rtt, seen in ((0.2, 0.2), (0.4, 0.4), (0.4, 9.0)):
        client.update("a", Coordinate(), rtt)
        blip.update("a", Coordinate(), seen)
    assert client.update("a", Coordinate(), 0.4) == blip.update("a", Coordinate(), 0.4)


def test_the_adjustment_is_half_the_mean_error_over_the_window() -> None:
    client = CoordinateClient("me", random.Random(1))
    other = Coordinate(vec=vector(0.01))
    errors = []
    for _ in range(ADJUSTMENT_WINDOW + 5):
        after = client.update("a", other, 0.05)
        errors.append(0.05 - after.raw_distance_to(other))
        mean = sum(errors[-ADJUSTMENT_WINDOW:]) / ADJUSTMENT_WINDOW
        assert after.adjustment == pytest.approx(mean / 2, abs=1e-7)  # gravity moves it a little afterwards


def test_bad_observations_change_nothing() -> None:
    client = CoordinateClient("me", random.Random(1))
    client.update("a", Coordinate(), MAX_RTT)
    client.update("a", Coordinate(), 0.0)
    before = client.own
    for other, rtt in (
        (Coordinate(vec=(0.0,) * (DIMENSIONS - 1)), 0.1),
        (Coordinate(error=math.nan), 0.1),
        (Coordinate(height=math.inf), 0.1),
        (Coordinate(), MAX_RTT + 0.001),
        (Coordinate(), -0.001),
        (Coordinate(), math.nan),
    ):
        with pytest.raises(RemoteProtocolError):
            client.update("a", other, rtt)
    assert client.own == before


def test_a_coordinate_that_overflows_is_reset_and_counted() -> None:
    client = CoordinateClient("me", random.Random(1))
    after = client.update("a", Coordinate(vec=vector(1e308, 1e308)), 0.1)
    assert (after, client.resets) == (Coordinate(), 1)


def test_coordinates_of_others_are_kept_until_forgotten() -> None:
    client = CoordinateClient("me", random.Random(1))
    other = Coordinate(vec=vector(0.1))
    client.update("a", other, 0.1)
    assert (client.of("a"), client.of("me"), client.of("b")) == (other, client.own, None)
    client.forget("a")
    assert client.of("a") is None


def test_a_line_of_nodes_is_learned_to_within_a_tenth() -> None:
    rng = random.Random(7)
    print("seed 7")
    clients = [CoordinateClient(str(index), rng) for index in range(10)]
    for _ in range(1500):
        for i, client in enumerate(clients):
            j = rng.choice([index for index in range(10) if index != i])
            client.update(str(j), clients[j].own, 0.010 * abs(i - j))
    errors = [
        abs(clients[i].own.distance_to(clients[j].own) - 0.010 * abs(i - j)) / (0.010 * abs(i - j))
        for i in range(10)
        for j in range(10)
        if i != j
    ]
    assert sum(errors) / len(errors) < 0.1
    assert all(client.own.error < ERROR_MAX / 4 for client in clients)
