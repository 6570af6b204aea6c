from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from meshnode.agent.wan_map import datacenter_coordinates, datacenters
from meshnode.base.address import Address
from meshnode.control.servers import ServerInfo
from meshnode.gossip.serf.coordinate import Coordinate


def server(datacenter: str, number: int) -> ServerInfo:
    name, at = f"s{number}.{datacenter}", Address(f"10.0.0.{number}", 8300)
    return ServerInfo(name, f"id{number}", datacenter, at, 0, False, 8302, True)


def away(seconds: float) -> Coordinate:
    return Coordinate((seconds, *[0.0] * 7), height=0.0)


def pool(where: dict[str, list[float | None]]) -> Any:
    """A WAN pool: of each datacenter, how far each of its servers is (``None``: nobody knows)."""
    servers, known = [], {}
    for datacenter, distances in where.items():
        for number, distance in enumerate(distances):
            servers.append(server(datacenter, number))
            if distance is not None:
                known[servers[-1].name] = away(distance)
    serf = SimpleNamespace(coordinate=lambda: away(0.0), coordinate_of=known.get)
    return SimpleNamespace(servers=servers, shell=SimpleNamespace(serf=serf))


def test_the_nearest_by_the_median_of_its_servers_is_first_after_our_own() -> None:
    found = pool({"east": [0.2, 0.01, 0.3], "west": [0.1, 0.15, 0.12], "home": [0.5]})
    assert datacenters(found, "home") == ["home", "west", "east"]


def test_of_an_even_number_of_servers_the_two_in_the_middle_count() -> None:
    found = pool({"east": [0.1, 0.4, 0.01, 0.3], "west": [0.15, 0.25], "home": [0.5]})
    assert datacenters(found, "home") == ["home", "east", "west"]


def test_who_is_as_far_is_by_name_and_who_nobody_has_measured_is_last() -> None:
    assert datacenters(pool({"c": [None], "b": [0.1], "a": [0.1]}), "home") == ["home", "a", "b", "c"]


def test_coordinates_are_those_of_the_servers_that_were_measured() -> None:
    rows = datacenter_coordinates(pool({"home": [0.0], "far": [0.1, None]}), "home")
    assert [(row["Datacenter"], [each["Node"] for each in row["Coordinates"]]) for row in rows] == [
        ("home", ["s0.home"]),
        ("far", ["s0.far"]),
    ]
