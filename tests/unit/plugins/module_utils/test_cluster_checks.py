"""Each finding names the thing and the fix; a lab without one has none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._cluster import (
    Lab,
    Network,
    Node,
    Port,
    Seen,
    SeenContainer,
    SeenNetwork,
)
from ansible_collections.meshnode.lab.plugins.module_utils._cluster_checks import (
    conflicts,
    problems,
    too_few_instances,
)

PORT = Port("127.0.0.1", 10443, 10443, "tcp")
LAN = Network("lan", "172.28.77.0/24")
SERVER = Node("server1", "node:1", (("lan", "172.28.77.11"),), ports=(PORT,))
CLIENT = Node("client1", "node:1", (("lan", "172.28.77.21"),))
LAB = Lab("demo", (LAN,), (SERVER, CLIENT))


def with_client(**changes: object) -> Lab:
    return replace(LAB, nodes=(SERVER, replace(CLIENT, **changes)))


def test_a_proper_lab_has_no_problem() -> None:
    assert problems(LAB) == []


@pytest.mark.parametrize(
    ("lab", "words"),
    [
        (replace(LAB, name="my_lab"), ("lab_name", "my_lab")),
        (replace(LAB, nodes=(SERVER, SERVER)), ("server1", "2 nodes have this name")),
        (with_client(name="client_1"), ("client_1", "host name label")),
        (with_client(addresses=()), ("client1", "mesh_address")),
        (with_client(addresses=(("lan", "10.0.0.300"),)), ("client1", "10.0.0.300", "mesh_address")),
        (with_client(addresses=(("lan", "172.28.78.21"),)), ("client1", "outside of 172.28.77.0/24")),
        (with_client(addresses=(("lan", "172.28.77.1"),)), ("client1", "172.28.77.1", "172.28.77.2 on")),
        (with_client(addresses=(("lan", "172.28.77.255"),)), ("client1", "172.28.77.255")),
        (with_client(addresses=(("lan", "172.28.77.11"),)), ("client1", "172.28.77.11", "server1")),
        (with_client(addresses=(("wan", "172.28.77.21"),)), ("client1", '"wan"')),
        (with_client(ports=(PORT,)), ("client1", "10443", "server1")),
        (with_client(volumes=("data",)), ("client1", "SOURCE:/TARGET")),
        (replace(LAB, networks=(Network("lan", "172.28.77.1/24"),)), ("lab_network_subnet", "host bits")),
        (replace(LAB, networks=(replace(LAN, internal=True),)), ("server1", "internal")),
    ],
)
def test_each_problem_is_one_sentence_that_names_the_thing(lab: Lab, words: tuple[str, ...]) -> None:
    found = problems(lab)
    assert any(all(word in sentence for word in words) for sentence in found), found


def test_addresses_at_the_edges_of_a_subnet_are_usable() -> None:
    for last in (2, 254):
        assert problems(with_client(addresses=(("lan", f"172.28.77.{last}"),))) == []


def test_nothing_stands_in_the_way_of_a_lab_on_an_engine_with_other_things() -> None:
    seen = Seen(
        containers=(SeenContainer("web", "1", None, "", True, (Port("0.0.0.0", 80, 80, "tcp"),)),),
        networks=(
            SeenNetwork("bridge", "2", None, "", ("172.17.0.0/16",)),
            SeenNetwork("v6", "3", None, "", ("fd00::/64",)),
        ),
        routes=(("eth0", "192.0.2.0/24"), ("vpn0", "172.16.0.0/12")),
    )
    assert conflicts(LAB, seen) == []


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (
            Seen(containers=(SeenContainer("demo-server1", "1", None, "", False),)),
            ("demo-server1", "docker rm -f"),
        ),
        (
            Seen(containers=(SeenContainer("demo-client1", "1", "other", "", True),)),
            ("demo-client1", '"other"'),
        ),
        (Seen(networks=(SeenNetwork("demo-lan", "1", None, ""),)), ("demo-lan", "docker network rm")),
        (
            Seen(networks=(SeenNetwork("office", "1", None, "", ("172.28.0.0/16",)),)),
            ("lab_network_subnet", "172.28.77.0/24", "office", "172.28.0.0/16"),
        ),
        (Seen(routes=(("eth1", "172.28.77.0/25"),)), ("lab_network_subnet", "eth1")),
        (
            Seen(
                containers=(SeenContainer("web", "1", None, "", True, (Port("0.0.0.0", 10443, 443, "tcp"),)),)
            ),
            ("server1", "10443", '"web"'),
        ),
    ],
)
def test_each_conflict_names_who_is_in_the_way(seen: Seen, words: tuple[str, ...]) -> None:
    found = conflicts(LAB, seen)
    assert len(found) == 1
    assert all(word in found[0] for word in words), found


def test_what_the_lab_has_itself_is_no_conflict() -> None:
    seen = Seen(
        containers=(SeenContainer("demo-server1", "1", "demo", "", True, (PORT,)),),
        networks=(SeenNetwork("demo-lan", "2", "demo", "", ("172.28.77.0/24",)),),
        routes=(("br-lab", "172.28.77.0/24"),),
    )
    assert conflicts(LAB, seen) == []


def test_a_stopped_container_holds_no_port_and_udp_is_not_tcp() -> None:
    ports = (Port("127.0.0.1", 10443, 1, "tcp"),)
    assert conflicts(LAB, Seen(containers=(SeenContainer("web", "1", None, "", False, ports),))) == []
    ports = (Port("127.0.0.1", 10443, 1, "udp"),)
    assert conflicts(LAB, Seen(containers=(SeenContainer("web", "1", None, "", True, ports),))) == []


def test_more_nodes_than_the_kernel_has_inotify_instances_for_are_refused_with_the_command() -> None:
    assert too_few_instances(20, 128) == []
    assert too_few_instances(500, None) == []
    (said,) = too_few_instances(25, 128)
    assert said.startswith(
        "fs.inotify.max_user_instances is 128 on this machine, and systemd in 25 containers"
    )
    assert said.endswith("needs about 153: as root run `sysctl -w fs.inotify.max_user_instances=1024`")
    (said,) = too_few_instances(250, 1024)
    assert said.endswith("max_user_instances=2556`")
