# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a lab before it is made: with the wish itself, and with what the engine already has.

Every finding is one sentence that names the thing and the fix; values only, nothing here touches the engine.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from ansible_collections.meshnode.lab.plugins.module_utils._cluster import (
    LABEL_LAB,
    VOLUME,
    Lab,
    Node,
    Port,
    Seen,
)

#: RFC 1123 2.1: what may be a host name's label, and so a node's and a lab's name.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
#: Of the kernel's inotify instances: what systemd takes in a container, and what the machine itself needs.
INSTANCES_PER_NODE, OTHER_INSTANCES = 5, 28


def problems(lab: Lab) -> list[str]:
    """What is wrong with the wish itself, a sentence each, naming the thing and the fix."""
    found = (
        []
        if _NAME.fullmatch(lab.name)
        else [f'lab_name: "{lab.name}" is not a host name label: use a-z, 0-9 and -']
    )
    for name, times in Counter(node.name for node in lab.nodes).items():
        if times > 1:
            found.append(f"{name}: {times} nodes have this name: give each its own")
        if not _NAME.fullmatch(name):
            found.append(f'{name}: not a host name label: use a-z, 0-9 and "-" in the inventory')
    networks: dict[str, ipaddress.IPv4Network] = {}
    for network in lab.networks:
        try:
            networks[network.name] = ipaddress.IPv4Network(network.subnet)
        except ValueError as exc:
            found.append(f"lab_network_subnet: {exc}: write a private network such as 172.28.10.0/24")
    for node in lab.nodes:
        found += _address_problems(node, networks)
        internal = {network.name for network in lab.networks if network.internal}
        if node.ports and {name for name, _address in node.addresses} <= internal:
            found.append(
                f"{node.name}: publishes ports, but its networks are internal: remove the ports, or set internal: false"
            )
        found += [
            f'{node.name}: volume "{text}" is not SOURCE:/TARGET[:ro]'
            for text in node.volumes
            if not VOLUME.fullmatch(text)
        ]
    return [*found, *_duplicates(lab)]


def too_few_instances(nodes: int, limit: int | None) -> list[str]:
    """A sentence where systemd could not boot in all containers, for want of inotify instances of the kernel."""
    needed = nodes * INSTANCES_PER_NODE + OTHER_INSTANCES
    if limit is None or needed <= limit:
        return []
    return [
        f"fs.inotify.max_user_instances is {limit} on this machine, and systemd in {nodes} containers needs about "
        f"{needed}: as root run `sysctl -w fs.inotify.max_user_instances={max(1024, 2 * needed)}`"
    ]


def _address_problems(node: Node, networks: Mapping[str, ipaddress.IPv4Network]) -> Iterator[str]:
    if not node.addresses:
        yield f"{node.name}: has no address: set mesh_address in the inventory"
    for name, text in node.addresses:
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            yield f'{node.name}: "{text}" is not an IPv4 address: correct mesh_address in the inventory'
            continue
        if name not in networks:
            yield f'{node.name}: the lab has no usable network "{name}": correct the node or the networks'
            continue
        subnet = networks[name]
        if address not in subnet:
            yield f"{node.name}: {text} is outside of {subnet}: correct mesh_address or lab_network_subnet"
        elif address in (subnet.network_address, subnet.network_address + 1, subnet.broadcast_address):
            lowest = subnet.network_address + 2
            yield f"{node.name}: {text} belongs to the network {subnet} itself: choose one from {lowest} on"


def _duplicates(lab: Lab) -> Iterator[str]:
    owners: dict[tuple[str, str], str] = {}
    published: list[tuple[Port, str]] = []
    for node in lab.nodes:
        for at in node.addresses:
            if (other := owners.setdefault(at, node.name)) != node.name:
                yield f"{node.name}: {at[1]} is the address of {other} too: give each node its own mesh_address"
        for port in node.ports:
            for taken, other in published:
                if port.collides(taken):
                    yield f"{node.name}: {port.address}:{port.host} is published by {other} too: choose another port"
            published.append((port, node.name))


def conflicts(lab: Lab, seen: Seen) -> list[str]:
    """What stands in the way on this engine, a sentence each: other people's things are never touched."""
    wanted = {lab.object_name(node.name) for node in lab.nodes}
    found = [
        f'the container "{container.name}" exists and {_owner(container.lab)}: '
        f"remove it (docker rm -f {container.name}), or set lab_name to another name"
        for container in seen.containers
        if container.name in wanted and container.lab != lab.name
    ]
    ours = {lab.object_name(network.name): network for network in lab.networks}
    for other in seen.networks:
        if other.lab == lab.name:
            continue
        if other.name in ours:
            found.append(
                f'the network "{other.name}" exists and {_owner(other.lab)}: '
                f"remove it (docker network rm {other.name}), or set lab_name to another name"
            )
        found += [
            f'lab_network_subnet: {network.subnet} overlaps {subnet} of the network "{other.name}": choose another '
            f"subnet (with the nodes' mesh_address), or remove that network (docker network rm {other.name})"
            for network in lab.networks
            for subnet in other.subnets
            if _overlap(network.subnet, subnet)
        ]
    # An inner or equal route would take the lab's packets; a wider one is merely narrowed by the lab's own.
    found += [
        f"lab_network_subnet: {network.subnet} holds {route}, which this machine reaches through {interface}: "
        "choose another subnet (with the nodes' mesh_address)"
        for network in lab.networks
        for interface, route in seen.routes
        if ipaddress.ip_network(route).subnet_of(ipaddress.ip_network(network.subnet))  # type: ignore[arg-type]
        and lab.object_name(network.name) not in {other.name for other in seen.networks}
    ]
    for node in lab.nodes:
        found += [
            f'{node.name}: port {port.address}:{port.host} is published by the container "{container.name}": '
            "publish another port, or stop that container"
            for port in node.ports
            for container in seen.containers
            if container.running
            and container.lab != lab.name
            and any(port.collides(theirs) for theirs in container.ports)
        ]
    return found


def _owner(lab: str | None) -> str:
    return f'belongs to the lab "{lab}"' if lab else f"was not made by a lab (no label {LABEL_LAB})"


def _overlap(one: str, two: str) -> bool:
    left, right = ipaddress.ip_network(one), ipaddress.ip_network(two)
    return left.version == right.version and left.overlaps(right)
