"""The plan of a lab: desired and observed are values, and so are the actions between them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._cluster import (
    Action,
    Lab,
    Network,
    Node,
    Port,
    Seen,
    SeenContainer,
    SeenNetwork,
    describe,
    node_states,
    only_some,
    parse_port,
    plan_absent,
    plan_present,
    without_absent,
)

IMAGES = {"node:1": "sha256:aa"}
LAN = Network("lan", "172.28.77.0/24")


def node(name: str, last: int) -> Node:
    return Node(name=name, image="node:1", addresses=(("lan", f"172.28.77.{last}"),))


LAB = Lab("demo", (LAN,), (node("server1", 11), node("client1", 21)), runtime=(("mode", "private"),))


def seen_of(lab: Lab, *, running: bool = True) -> Seen:
    """What the engine has when the lab was brought about."""
    return Seen(
        containers=tuple(
            SeenContainer(
                f"{lab.name}-{item.name}", item.name, lab.name, lab.config(item, IMAGES[item.image]), running
            )
            for item in lab.nodes
        ),
        networks=tuple(
            SeenNetwork(f"{lab.name}-{item.name}", item.name, lab.name, item.config, (item.subnet,))
            for item in lab.networks
        ),
        images=IMAGES,
    )


def verbs(actions: tuple[Action, ...]) -> list[str]:
    return [f"{action.verb} {action.kind} {action.name}" for action in actions]


def test_an_empty_engine_gets_the_network_before_the_nodes() -> None:
    actions = plan_present(LAB, Seen(images=IMAGES), prune=True)
    assert verbs(actions) == ["create network lan", "create node server1", "create node client1"]
    assert node_states(LAB, actions) == {"server1": "created", "client1": "created"}


def test_a_lab_that_is_there_needs_nothing() -> None:
    assert plan_present(LAB, seen_of(LAB), prune=True) == ()
    assert node_states(LAB, ()) == {"server1": "unchanged", "client1": "unchanged"}


def test_a_stopped_node_is_started() -> None:
    actions = plan_present(LAB, seen_of(LAB, running=False), prune=False)
    assert verbs(actions) == ["start node server1", "start node client1"]
    assert set(node_states(LAB, actions).values()) == {"started"}


@pytest.mark.parametrize(
    "change",
    [
        {"hostname": "other"},
        {"addresses": (("lan", "172.28.77.12"),)},
        {"ports": (Port("127.0.0.1", 10443, 10443, "tcp"),)},
        {"environment": (("A", "1"),)},
        {"labels": (("a", "1"),)},
        {"capabilities": ("SYS_TIME",)},
        {"volumes": ("data:/var/lib/meshnode",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_part_of_a_nodes_configuration_makes_that_node_anew_and_no_other(
    change: dict[str, object],
) -> None:
    server, client = LAB.nodes
    wanted = replace(LAB, nodes=(replace(server, **change), client))
    actions = plan_present(wanted, seen_of(LAB), prune=True)
    assert [line for line in verbs(actions) if "volume" not in line] == [
        "remove node server1",
        "create node server1",
    ]
    assert node_states(wanted, actions) == {"server1": "recreated", "client1": "unchanged"}


@pytest.mark.parametrize("change", [{"runtime": (("mode", "host"),)}, {"ssh": (("user", "admin"),)}], ids=str)
def test_what_all_nodes_share_makes_all_of_them_anew(change: dict[str, object]) -> None:
    wanted = replace(LAB, **change)
    assert set(node_states(wanted, plan_present(wanted, seen_of(LAB), prune=True)).values()) == {"recreated"}


def test_an_image_with_the_same_name_and_other_content_makes_the_nodes_anew() -> None:
    seen = replace(seen_of(LAB), images={"node:1": "sha256:bb"})
    assert set(node_states(LAB, plan_present(LAB, seen, prune=True)).values()) == {"recreated"}


def test_a_changed_network_is_replaced_after_its_nodes_are_gone() -> None:
    wanted = replace(LAB, networks=(replace(LAN, internal=True),))
    assert verbs(plan_present(wanted, seen_of(LAB), prune=True)) == [
        "remove node server1",
        "remove node client1",
        "remove network lan",
        "create network lan",
        "create node server1",
        "create node client1",
    ]


def test_nodes_on_a_network_that_was_removed_by_hand_are_made_anew() -> None:
    seen = replace(seen_of(LAB), networks=())
    assert set(node_states(LAB, plan_present(LAB, seen, prune=True)).values()) == {"recreated"}


def test_only_pruning_removes_a_node_that_is_no_longer_listed() -> None:
    wanted = replace(LAB, nodes=LAB.nodes[:1])
    assert verbs(plan_present(wanted, seen_of(LAB), prune=True)) == ["remove node client1"]
    assert plan_present(wanted, seen_of(LAB), prune=False) == ()


def test_of_some_nodes_nothing_is_done_to_the_others() -> None:
    other_image = replace(seen_of(LAB), images=dict.fromkeys(IMAGES, "sha256:bb"))
    everything = plan_present(LAB, other_image, prune=True)
    assert {action.name for action in everything} == {"server1", "client1"}
    assert {action.name for action in only_some(everything, ["client1"])} == {"client1"}
    assert verbs(only_some(plan_present(LAB, Seen(images=IMAGES), prune=True), ["client1"])) == [
        "create network lan",
        "create node client1",
    ]


def test_for_some_nodes_no_network_is_made_anew_for_that_would_end_the_others() -> None:
    wanted = replace(LAB, networks=(replace(LAN, internal=True),))
    kept = only_some(plan_present(wanted, seen_of(LAB), prune=True), ["client1"])
    assert [action for action in kept if action.kind == "network"] == []


def test_of_those_that_do_not_run_only_the_chosen_ones_are_waited_for() -> None:
    stopped = seen_of(LAB, running=False)
    assert [node.name for node in without_absent(LAB, stopped, ["client1"]).nodes] == ["client1"]
    assert without_absent(LAB, seen_of(LAB), ["client1"]) == LAB


def test_a_named_volume_is_made_once_and_a_folder_is_not_one() -> None:
    wanted = replace(LAB, nodes=(replace(LAB.nodes[0], volumes=("data:/data", "/srv:/srv:ro")),))
    assert "create volume data" in verbs(plan_present(wanted, Seen(images=IMAGES), prune=True))
    there = Seen(images=IMAGES, volumes=(("demo-data", "demo"),))
    assert not [line for line in verbs(plan_present(wanted, there, prune=True)) if "volume" in line]


def test_taking_down_touches_only_what_carries_the_labs_label() -> None:
    ours = seen_of(LAB)
    foreign = (
        SeenContainer("demo-other", "x", None, "", running=True),
        SeenContainer("demo2-server1", "y", "demo2", "", running=True),
    )
    seen = replace(
        ours, containers=ours.containers + foreign, volumes=(("demo-data", "demo"), ("demo-mine", None))
    )
    assert verbs(plan_absent(Lab("demo"), seen)) == [
        "remove node server1",
        "remove node client1",
        "remove network lan",
        "remove volume data",
    ]
    assert plan_absent(Lab("demo"), Seen(containers=foreign)) == ()


def test_the_difference_shows_what_goes_and_what_comes() -> None:
    wanted = replace(LAB, nodes=(node("server1", 11), node("client2", 22)))
    seen = seen_of(LAB)
    before, after = describe(wanted, seen, plan_present(wanted, seen, prune=True))
    assert set(before) - set(after) == {"node client1"}
    assert set(after) - set(before) == {"node client2"}
    assert before["node server1"] == after["node server1"]


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("10443:443", Port("127.0.0.1", 10443, 443, "tcp")),
        ("0.0.0.0:8600:53/udp", Port("0.0.0.0", 8600, 53, "udp")),
        ("1:65535", Port("127.0.0.1", 1, 65535, "tcp")),
    ],
)
def test_a_port_without_an_address_is_published_to_this_machine_only(text: str, port: Port) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "443", "0:443", "1:65536", "a:1", "1:2/sctp", "localhost:1:2"])
def test_what_is_no_port_is_refused_with_the_form_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_port(text)
