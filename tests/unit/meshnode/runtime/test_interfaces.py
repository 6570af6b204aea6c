"""Interfaces as values: the kernel's table of routes, and this machine."""

from __future__ import annotations

from meshnode.runtime.interfaces import parse_default_route, read_interfaces

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LOCAL = "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
WIFI = "wlan0\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
WIRE = "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
DOWN = "ppp0\t00000000\t0100000A\t0002\t0\t0\t1\t00000000\t0\t0\t0\n"


def test_the_default_route_is_the_one_that_is_up_with_the_smallest_metric() -> None:
    assert parse_default_route(HEAD + LOCAL + WIFI + DOWN + WIRE) == "eth0"
    assert parse_default_route(HEAD + WIFI) == "wlan0"


def test_without_a_default_route_there_is_no_name() -> None:
    assert parse_default_route(HEAD + LOCAL) == ""
    assert parse_default_route("") == ""


def test_this_machine_has_a_loopback_interface_that_is_up() -> None:
    loopback = [item for item in read_interfaces().all if item.ip == "127.0.0.1"]
    assert loopback
    assert {"up", "loopback"} <= loopback[0].flags
    assert loopback[0].address.network.prefixlen == 8
