"""Addresses: what is bound, what is advertised, and what happens when the choice is not clear."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.config.load import load
from meshnode.agent.config.model import AgentConfig
from meshnode.base.address import Address
from meshnode.base.errors import ConfigError
from meshnode.runtime.interfaces import Interfaces
from tests.unit.meshnode.agent.config.machine import AT, LOOPBACK, Machine, machine


def read(settings: dict[str, Any], on: Machine | None = None) -> AgentConfig:
    return load(["-data-dir=/none", f"-hcl={json.dumps(settings)}"], {}, on or machine()).config


def complaint(settings: dict[str, Any], on: Machine | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(settings, on)
    return str(caught.value)


def test_the_only_private_address_is_advertised() -> None:
    addresses = read({}, machine(eth0="10.0.0.2/24", eth1="8.8.8.8/24", eth2="fd00::1/64")).addresses
    assert (addresses.bind, addresses.advertise, addresses.advertise_wan) == (
        "0.0.0.0",
        "10.0.0.2",
        "10.0.0.2",
    )
    assert (addresses.serf_lan, addresses.serf_wan) == ("0.0.0.0", "0.0.0.0")


def test_several_private_addresses_are_listed_with_the_line_to_add() -> None:
    said = complaint({}, machine(eth0="10.0.0.2/24", docker0="172.17.0.1/16"))
    assert said == (
        "Multiple private IPv4 addresses found. Please configure one with 'bind' and/or 'advertise'.\n"
        "  eth0  10.0.0.2\n  docker0  172.17.0.1\n"
        'Add one of these lines: "bind_addr": "10.0.0.2", or "bind_addr": "{{ GetInterfaceIP \\"eth0\\" }}", '
        'or "advertise_addr": "10.0.0.2"'
    )


def test_the_line_to_add_works() -> None:
    on = machine(eth0="10.0.0.2/24", docker0="172.17.0.1/16")
    assert read({"bind_addr": '{{ GetInterfaceIP "eth0" }}'}, on).addresses.advertise == "10.0.0.2"
    assert read({"advertise_addr": "10.0.0.2"}, on).addresses.bind == "0.0.0.0"


def test_no_private_address_is_an_error_that_lists_what_there_is() -> None:
    said = complaint({}, machine(eth0="8.8.8.8/24"))
    assert said.startswith("No private IPv4 address found: this machine has lo 127.0.0.1, eth0 8.8.8.8.")


def test_loopback_counts_when_there_is_nothing_else() -> None:
    assert read({}, Machine("x", lambda: Interfaces((LOOPBACK,)), AT)).addresses.advertise == "127.0.0.1"


def test_any_ipv6_address_advertises_the_public_one() -> None:
    on = machine(eth0="2a00::5/64", eth1="fd00::5/64")
    assert read({"bind_addr": "::"}, on).addresses.advertise == "2a00::5"
    assert "No public IPv6 address found" in complaint({"bind_addr": "::"})


def test_a_bound_address_is_advertised_and_interfaces_are_not_asked_for() -> None:
    def never() -> Interfaces:
        raise AssertionError("nothing depends on the interfaces")

    addresses = read({"bind_addr": "10.1.2.3"}, Machine("x", never, AT)).addresses
    assert (addresses.advertise, addresses.serf_lan) == ("10.1.2.3", "10.1.2.3")


def test_each_address_can_be_set_apart() -> None:
    settings = {
        "advertise_addr": "10.0.0.9",
        "advertise_addr_wan": "8.8.8.8",
        "serf_lan": "10.0.0.3",
        "serf_wan": "::1",
    }
    addresses = read(settings).addresses
    assert (addresses.advertise, addresses.advertise_wan) == ("10.0.0.9", "8.8.8.8")
    assert (addresses.serf_lan, addresses.serf_wan) == ("10.0.0.3", "::1")


def test_client_addresses_may_be_several_and_hold_sockets() -> None:
    config = read({"client_addr": "127.0.0.1 10.0.0.2 unix:///run/x.sock", "ports": {"http": 80}})
    assert config.http_listeners == (Path("/run/x.sock"), Address("127.0.0.1", 80), Address("10.0.0.2", 80))
    assert config.addresses.https == ("127.0.0.1", "10.0.0.2")


def test_an_interface_may_have_addresses_of_its_own() -> None:
    config = read(
        {"client_addr": "10.0.0.2", "addresses": {"http": '{{ GetAllInterfaces | join "address" " " }}'}}
    )
    assert config.addresses.http == ("127.0.0.1", "10.0.0.2")
    assert config.addresses.https == ("10.0.0.2",)


def test_a_socket_is_served_although_the_port_is_off() -> None:
    config = read({"addresses": {"http": "unix:///run/x.sock"}, "ports": {"http": -1}})
    assert config.http_listeners == (Path("/run/x.sock"),)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bind_addr": ""}, "bind_addr cannot be empty"),
        ({"bind_addr": "10.0.0.1 10.0.0.2"}, "bind_addr cannot contain multiple addresses."),
        ({"bind_addr": "unix:///x"}, "bind_addr cannot be a unix socket"),
        ({"bind_addr": "web1"}, 'bind_addr: "web1" is not an IP address'),
        ({"client_addr": "localhost"}, 'client_addr: "localhost" is not an IP address: write 127.0.0.1'),
        ({"addresses": {"http": "unix://"}}, 'addresses.http: "unix://" has no path'),
        ({"addresses": {"https": "unix:///x"}}, "addresses.https: HTTPS is not served on Unix sockets"),
        ({"advertise_addr": "0.0.0.0"}, "Advertise address cannot be 0.0.0.0, :: or [::]"),
        ({"advertise_addr": "[::]"}, "Advertise address cannot be 0.0.0.0, :: or [::]"),
        ({"advertise_addr_wan": "::"}, "Advertise WAN address cannot be 0.0.0.0, :: or [::]"),
        ({"serf_lan": "10.0.0.1 10.0.0.2"}, "serf_lan cannot contain multiple addresses: 10.0.0.1 10.0.0.2"),
        ({"serf_wan": "unix:///x"}, "serf_wan cannot be a unix socket"),
        ({"bind_addr": '{{ GetInterfaceIP "wlan0" }}'},
         'bind_addr: {{ GetInterfaceIP "wlan0" }} finds no address on this machine, which has lo 127.0.0.1, eth0'),
        ({"bind_addr": "{{ GetPrivatIP }}"}, "bind_addr: address template {{ GetPrivatIP }}: GetPrivatIP is not a"),
        ({"ports": {"serf_lan": 8500}, "client_addr": "127.0.0.1"},
         "Serf LAN address 0.0.0.0:8500 already configured for HTTP"),
        ({"server": True, "ports": {"serf_wan": 8300}}, "Serf WAN address 0.0.0.0:8300 already configured for RPC"),
        ({"bind_addr": "10.0.0.2", "client_addr": "10.0.0.2", "ports": {"serf_lan": 8500}},
         "Serf LAN address 10.0.0.2:8500 already configured for HTTP"),
        ({"client_addr": "127.0.0.1 unix:///x 127.0.0.1", "addresses": {"http": "::"}, "ports": {"serf_lan": 8500}},
         "Serf LAN address 0.0.0.0:8500 already configured for HTTP"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_named_with_its_place(
    settings: dict[str, Any], message: str
) -> None:
    said = complaint(settings)
    assert message in said
    assert said.startswith("flag -hcl[0]:1:")


def test_the_same_port_on_different_addresses_is_fine() -> None:
    settings = {"bind_addr": "10.0.0.2", "client_addr": "127.0.0.1", "ports": {"serf_lan": 8500}}
    assert read(settings).ports.serf_lan == 8500


def test_a_client_may_use_the_ports_of_servers() -> None:
    assert read({"ports": {"http": 8300}, "client_addr": "0.0.0.0"}).ports.http == 8300
