# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab as values: what is wanted, what the engine has, and the actions that lead from one to the other.

Nothing here touches the engine: lab_cluster observes through _docker.py, plans here and carries the plan out there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

#: Carried by every container, network and volume of a lab; the value is the lab's name.
LABEL_LAB = "io.meshnode.lab"
#: The name that the lab's inventory gives the node.
LABEL_NODE = "io.meshnode.node"
#: The digest of the configuration that the object was made from.
LABEL_CONFIG = "io.meshnode.config"

_PORT = re.compile(
    r"(?:(?P<address>\d+\.\d+\.\d+\.\d+):)?(?P<host>\d{1,5}):(?P<container>\d{1,5})(?:/(?P<protocol>tcp|udp))?"
)
#: SOURCE:/TARGET[:ro]; a source that is no path is a volume of the lab.
VOLUME = re.compile(r"(?P<source>[^:]+):(?P<target>/[^:]*)(?::(?P<mode>ro|rw))?")


@dataclass(frozen=True, slots=True)
class Port:
    """A published port; without an address it is published on the loopback address only."""

    address: str
    host: int
    container: int
    protocol: str

    def collides(self, other: Port) -> bool:
        if (self.host, self.protocol) != (other.host, other.protocol):
            return False
        return self.address == other.address or "0.0.0.0" in (self.address, other.address)

    def __str__(self) -> str:
        return f"{self.address}:{self.host}:{self.container}/{self.protocol}"


def parse_port(text: str) -> Port:
    """ "[address:]host:container[/protocol]"; raises ValueError."""
    match = _PORT.fullmatch(str(text).strip())
    if not match or not 0 < int(match["host"]) < 65536 or not 0 < int(match["container"]) < 65536:
        raise ValueError(
            f'"{text}" is not a port: write [ADDRESS:]HOST_PORT:NODE_PORT[/tcp|/udp], such as 10443:10443'
        )
    return Port(
        match["address"] or "127.0.0.1",
        int(match["host"]),
        int(match["container"]),
        match["protocol"] or "tcp",
    )


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge network. An internal one has no way out, and publishes no ports."""

    name: str
    subnet: str
    internal: bool = False

    @property
    def config(self) -> str:
        return digest(asdict(self))


@dataclass(frozen=True, slots=True)
class Node:
    """One container. addresses are (network's short name, address), the first being the node's own."""

    name: str
    image: str
    addresses: tuple[tuple[str, str], ...]
    hostname: str = ""
    ports: tuple[Port, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    capabilities: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        return self.addresses[0][1] if self.addresses else ""

    def named_volumes(self) -> Iterator[str]:
        for text in self.volumes:
            match = VOLUME.fullmatch(text)
            if match and not match["source"].startswith(("/", ".", "~")):
                yield match["source"]


@dataclass(frozen=True, slots=True)
class Lab:
    """Everything wanted. runtime is how containers boot systemd on this engine, ssh what they let in."""

    name: str
    networks: tuple[Network, ...] = ()
    nodes: tuple[Node, ...] = ()
    runtime: tuple[tuple[str, Any], ...] = ()
    ssh: tuple[tuple[str, Any], ...] = ()

    def object_name(self, short: str) -> str:
        """The engine's name for the lab's node, network or volume."""
        return f"{self.name}-{short}"

    def config(self, node: Node, image_id: str) -> str:
        """The digest of everything that makes the node what it is: a container with another one is made anew."""
        attached = {
            network.name: network.config for network in self.networks if network.name in dict(node.addresses)
        }
        return digest([asdict(node) | {"image": image_id or node.image}, attached, self.runtime, self.ssh])


def digest(value: object) -> str:
    """SHA-256 of the value as canonical JSON."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()
    ).hexdigest()


@dataclass(frozen=True, slots=True)
class SeenContainer:
    """A container that the engine has, ours or not."""

    name: str
    id: str
    lab: str | None
    config: str
    running: bool
    ports: tuple[Port, ...] = ()
    node: str = ""


@dataclass(frozen=True, slots=True)
class SeenNetwork:
    """A network that the engine has, ours or not."""

    name: str
    id: str
    lab: str | None
    config: str
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the engine and this machine have. routes are the machine's own, (interface, subnet)."""

    containers: tuple[SeenContainer, ...] = ()
    networks: tuple[SeenNetwork, ...] = ()
    volumes: tuple[tuple[str, str | None], ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """One change: verb is create, start or remove; kind is network, volume or node; name is the short name."""

    verb: str
    kind: str
    name: str
    because: str

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.name}: {self.because}"


def plan_present(lab: Lab, seen: Seen, *, prune: bool) -> tuple[Action, ...]:
    """What makes the engine have the lab, in the order in which it is done."""
    networks = {network.name: network for network in seen.networks if network.lab == lab.name}
    containers = {container.name: container for container in seen.containers if container.lab == lab.name}
    renewed: dict[str, str] = {}
    for network in lab.networks:
        known = networks.get(lab.object_name(network.name))
        if known is None:
            renewed[network.name] = "there was none"
        elif known.config != network.config:
            renewed[network.name] = "its configuration changed"
    remove, create, start = [], [], []
    for node in lab.nodes:
        known = containers.get(lab.object_name(node.name))
        because = _because(lab, node, known, renewed, seen.images)
        if because:
            create.append(Action("create", "node", node.name, because))
            if known:
                remove.append(Action("remove", "node", node.name, because))
        elif known and not known.running:
            start.append(Action("start", "node", node.name, "it was stopped"))
    wanted = {lab.object_name(node.name) for node in lab.nodes}
    if prune:
        remove += [
            Action("remove", "node", _short(lab, name), "it is no longer listed")
            for name in containers
            if name not in wanted
        ]
    volumes = {lab.object_name(name) for node in lab.nodes for name in node.named_volumes()} - dict(
        seen.volumes
    ).keys()
    return (
        *remove,
        *(
            Action("remove", "network", name, because)
            for name, because in renewed.items()
            if lab.object_name(name) in networks
        ),
        *(Action("create", "network", name, because) for name, because in renewed.items()),
        *(Action("create", "volume", _short(lab, name), "there was none") for name in sorted(volumes)),
        *create,
        *start,
    )


def without_absent(lab: Lab, seen: Seen, names: Iterable[str]) -> Lab:
    """The lab of the nodes of these names and of those that run: nobody waits for the others."""
    running = {one.name for one in seen.containers if one.lab == lab.name and one.running}
    chosen = set(names)
    nodes = tuple(node for node in lab.nodes if node.name in chosen or lab.object_name(node.name) in running)
    return replace(lab, nodes=nodes)


def only_some(actions: Iterable[Action], names: Iterable[str]) -> tuple[Action, ...]:
    """Of the actions those that make or end the nodes of these names; what is missing for them is made, too.

    A network is not made anew, for that would take all its nodes with it.
    """
    chosen, listed = set(names), list(actions)
    renewed = {action.name for action in listed if (action.verb, action.kind) == ("remove", "network")}
    return tuple(
        action
        for action in listed
        if (action.kind == "node" and action.name in chosen)
        or action.kind == "volume"
        or (action.kind == "network" and action.name not in renewed)
    )


def _because(
    lab: Lab, node: Node, known: SeenContainer | None, renewed: Mapping[str, str], images: Mapping[str, str]
) -> str:
    """Why the node's container has to be made, or ""."""
    if known is None:
        return "there was none"
    if any(name in renewed for name, _address in node.addresses):
        return "its network is made anew"
    if known.config != lab.config(node, images.get(node.image, "")):
        return "its configuration changed"
    return ""


def plan_absent(lab: Lab, seen: Seen) -> tuple[Action, ...]:
    """What makes the engine have nothing of the lab: only what carries its label is touched."""
    return (
        *(_gone("node", lab, container.name) for container in seen.containers if container.lab == lab.name),
        *(_gone("network", lab, network.name) for network in seen.networks if network.lab == lab.name),
        *(_gone("volume", lab, name) for name, owner in seen.volumes if owner == lab.name),
    )


def _gone(kind: str, lab: Lab, name: str) -> Action:
    return Action("remove", kind, _short(lab, name), "the lab is taken down")


def _short(lab: Lab, name: str) -> str:
    return name.removeprefix(f"{lab.name}-")


def node_states(lab: Lab, actions: Iterable[Action]) -> dict[str, str]:
    """What the plan makes of each node: unchanged, created, recreated, started or removed."""
    states = {node.name: "unchanged" for node in lab.nodes}
    for action in actions:
        if action.kind != "node":
            continue
        if action.verb == "create":
            states[action.name] = "recreated" if states.get(action.name) == "removed" else "created"
        else:
            states[action.name] = {"remove": "removed", "start": "started"}[action.verb]
    return states


def describe(lab: Lab, seen: Seen, actions: Iterable[Action]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The lab before and after the actions, for a diff: name -> running, stopped or the digest of its configuration."""
    before: dict[str, Any] = {
        f"{kind} {_short(lab, thing.name)}": _state_of(thing)
        for kind, things in (("network", seen.networks), ("node", seen.containers))
        for thing in things
        if thing.lab == lab.name
    }
    before |= {f"volume {_short(lab, name)}": "present" for name, owner in seen.volumes if owner == lab.name}
    after = dict(before)
    configs: dict[str, Any] = {
        f"node {node.name}": lab.config(node, seen.images.get(node.image, "")) for node in lab.nodes
    }
    configs |= {f"network {network.name}": network.config for network in lab.networks}
    for action in actions:
        key = f"{action.kind} {action.name}"
        if action.verb == "remove":
            after.pop(key, None)
        elif action.kind == "volume":
            after[key] = "present"
        else:
            after[key] = (
                {"config": configs[key][:12], "running": True}
                if action.kind == "node"
                else {"config": configs[key][:12]}
            )
    return before, after


def _state_of(thing: SeenContainer | SeenNetwork) -> dict[str, Any]:
    state: dict[str, Any] = {"config": thing.config[:12]}
    return state | {"running": thing.running} if isinstance(thing, SeenContainer) else state
