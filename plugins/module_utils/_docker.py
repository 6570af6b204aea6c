# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sees what the engine has and carries out the actions that _cluster.py planned, nodes side by side in threads."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.meshnode.lab.plugins.module_utils._cluster import (
    LABEL_CONFIG,
    LABEL_LAB,
    LABEL_NODE,
    Action,
    Lab,
    Network,
    Node,
    Port,
    Seen,
    SeenContainer,
    SeenNetwork,
)
from ansible_collections.meshnode.lab.plugins.module_utils._engine import LabError, engine_errors, explain
from ansible_collections.meshnode.lab.plugins.module_utils._runtime import cgroup_namespace, host_options
from ansible_collections.meshnode.lab.plugins.module_utils._ssh import provision, read_host_keys

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

try:
    import docker.errors
    from docker.types import IPAMConfig, IPAMPool
except ImportError:
    pass  # reported by _engine, which every module asks first

#: More concurrent requests than this slow some engines down (moby#45595).
MAX_WORKERS = 10
#: Between two looks at a node that boots, seconds.
POLL_INTERVAL = 0.1
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
#: What systemd says when it has finished booting.
BOOTED = frozenset({"running", "degraded"})


class Engine:
    """One lab on one engine."""

    def __init__(self, client: docker.DockerClient, lab: Lab, wait_timeout: float) -> None:
        self.client, self.lab, self.wait_timeout = client, lab, wait_timeout

    # Seeing

    def see(self) -> Seen:
        """What is there now, ours or not."""
        with engine_errors("looking at the engine"):
            networks = tuple(_network(item) for item in self.client.api.networks())
            bridges = {f"br-{network.id[:12]}" for network in networks}
            return Seen(
                containers=tuple(_container(item) for item in self.client.api.containers(all=True)),
                networks=networks,
                volumes=tuple(
                    (item["Name"], (item.get("Labels") or {}).get(LABEL_LAB))
                    for item in self.client.api.volumes().get("Volumes") or []
                ),
                images=self._image_ids(),
                routes=tuple(route for route in _routes() if route[0] not in bridges),
            )

    def _image_ids(self) -> dict[str, str]:
        ids = {}
        for reference in {node.image for node in self.lab.nodes}:
            try:
                ids[reference] = str(self.client.api.inspect_image(reference)["Id"])
            except docker.errors.ImageNotFound:
                continue
        return ids

    def taken_ports(self, seen: Seen) -> list[str]:
        """Ports of the lab that a process outside of the engine holds, a sentence each."""
        if not self._is_here():
            return []
        published = [port for container in seen.containers if container.running for port in container.ports]
        return [
            f"{node.name}: port {port.address}:{port.host} is in use by a program on this machine "
            f"(see: ss -lnp sport = :{port.host}): publish another port, or stop that program"
            for node in self.lab.nodes
            for port in node.ports
            if not any(port.collides(other) for other in published) and _in_use(port)
        ]

    def inotify_instances(self) -> int | None:
        """How many the kernel below the containers has for each user; None where it can't be read."""
        try:
            return int(INOTIFY_INSTANCES.read_text()) if self._is_here() else None
        except (OSError, ValueError):
            return None

    def _is_here(self) -> bool:
        """Whether the engine runs on this machine: else its ports and its kernel say nothing."""
        return str(self.client.api.base_url).startswith(("http+docker", "http+unix"))

    # Doing

    def apply(self, actions: Iterable[Action], seen: Seen) -> None:
        """Carries the plan out: removals first, nodes in parallel; raises LabError with all that failed."""
        todo = list(actions)
        by_name = {node.name: node for node in self.lab.nodes}
        networks = {network.name: network for network in self.lab.networks}
        self._each(self._remove_node, _names(todo, "remove", "node"))
        self._each(self._remove_network, _names(todo, "remove", "network"))
        self._each(self._remove_volume, _names(todo, "remove", "volume"))
        for name in _names(todo, "create", "network"):
            self._create_network(networks[name])
        self._each(self._create_volume, _names(todo, "create", "volume"))
        self._each(lambda name: self._create_node(by_name[name], seen), _names(todo, "create", "node"))
        self._each(self._start_node, _names(todo, "start", "node"))

    def wait(self) -> dict[str, dict[str, Any]]:
        """Waits until each node has booted; returns node -> {systemd, ssh_host_keys}."""
        names = [node.name for node in self.lab.nodes]
        found = dict(zip(names, self._each(self._booted, names), strict=True))
        if not self.lab.ssh:
            return {name: {"systemd": state} for name, state in found.items()}
        keys = self._each(self._ssh, names)
        return {
            name: {"systemd": found[name], "ssh_host_keys": key}
            for name, key in zip(names, keys, strict=True)
        }

    def _each(self, work: Callable[[str], Any], names: list[str]) -> list[Any]:
        """work(name) for each, in threads; one LabError with all that failed."""
        if not names:
            return []
        failures: list[str] = []

        def guarded(name: str) -> Any:
            try:
                with engine_errors(name):
                    return work(name)
            except LabError as exc:
                failures.append(str(exc))
                return None

        with ThreadPoolExecutor(max_workers=min(MAX_WORKERS, len(names))) as pool:
            results = list(pool.map(guarded, names))
        if failures:
            raise LabError("\n".join(sorted(failures)))
        return results

    def _get(self, name: str) -> Container:
        return self.client.containers.get(self.lab.object_name(name))

    def _remove_node(self, name: str) -> None:
        self.client.api.remove_container(self.lab.object_name(name), force=True, v=True)

    def _remove_network(self, name: str) -> None:
        self.client.api.remove_network(self.lab.object_name(name))

    def _remove_volume(self, name: str) -> None:
        self.client.api.remove_volume(self.lab.object_name(name))

    def _create_volume(self, name: str) -> None:
        self.client.api.create_volume(self.lab.object_name(name), labels={LABEL_LAB: self.lab.name})

    def _create_network(self, network: Network) -> None:
        name = self.lab.object_name(network.name)
        with engine_errors(f'creating the network "{name}" with lab_network_subnet {network.subnet}'):
            self.client.api.create_network(
                name,
                driver="bridge",
                internal=network.internal,
                ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=network.subnet)]),
                labels={LABEL_LAB: self.lab.name, LABEL_CONFIG: network.config},
            )

    def _start_node(self, name: str) -> None:
        self.client.api.start(self.lab.object_name(name))

    def _create_node(self, node: Node, seen: Seen) -> None:
        if node.image not in seen.images:
            raise LabError(
                f"{node.name}: the engine has no image {node.image}: run the module lab_image first (make image)."
            )
        api, lab = self.client.api, self.lab
        options = dict(lab.runtime)
        mode = options["mode"]
        host = host_options(mode, options["security_options"])
        binds = host.pop("binds", []) + [_bind(lab, text) for text in node.volumes]
        host_config = api.create_host_config(
            **host,
            cap_add=list(node.capabilities),
            binds=binds,
            network_mode=lab.object_name(node.addresses[0][0]),
            port_bindings={
                f"{port.container}/{port.protocol}": (port.address, port.host) for port in node.ports
            },
        )
        host_config["CgroupnsMode"] = cgroup_namespace(mode)  # the SDK has no name for it
        first, *others = node.addresses
        created = api.create_container(
            image=node.image,
            name=lab.object_name(node.name),
            hostname=node.hostname or node.name,
            environment=dict(node.environment),
            labels=dict(node.labels)
            | {
                LABEL_LAB: lab.name,
                LABEL_NODE: node.name,
                LABEL_CONFIG: lab.config(node, seen.images[node.image]),
            },
            ports=[(port.container, port.protocol) for port in node.ports],
            host_config=host_config,
            networking_config=api.create_networking_config(
                {lab.object_name(first[0]): self._endpoint(node, first[1])}
            ),
        )
        for network, address in others:
            api.connect_container_to_network(
                created["Id"], lab.object_name(network), ipv4_address=address, aliases=[node.name]
            )
        api.start(created["Id"])

    def _endpoint(self, node: Node, address: str) -> dict[str, Any]:
        return dict(self.client.api.create_endpoint_config(ipv4_address=address, aliases=[node.name]))

    # Waiting

    def _booted(self, name: str) -> str:
        deadline = time.monotonic() + self.wait_timeout
        container = self._get(name)
        while True:
            container.reload()
            if container.status != "running":
                raise LabError(_died(name, container))
            state = self._systemd_state(container)
            if state in BOOTED:
                return state
            if time.monotonic() > deadline:
                raise LabError(
                    f'{name}: systemd says "{state}" after {self.wait_timeout:g} s: look at it with '
                    f"`docker exec {container.name} systemctl list-jobs`, or raise lab_docker_wait_timeout."
                )
            time.sleep(POLL_INTERVAL)

    def _systemd_state(self, container: Container) -> str:
        try:
            _code, output = container.exec_run(["systemctl", "is-system-running"])
        except docker.errors.APIError as exc:
            return explain(exc)  # not up yet, or just gone: the caller looks again
        return str(output.decode(errors="replace")).strip()

    def _ssh(self, name: str) -> list[str]:
        container = self._get(name)
        provision(container, name, dict(self.lab.ssh))
        return read_host_keys(container, name)


def _died(name: str, container: Container) -> str:
    logs = container.logs(tail=15).decode(errors="replace").strip()
    return (
        f"{name}: the container stopped while booting (status {container.status}, exit code "
        f"{container.attrs['State'].get('ExitCode')}): if systemd can't write its cgroups, set "
        f"lab_docker_cgroup_mode to host or privileged.\n{logs}".rstrip()
    )


def _names(actions: Iterable[Action], verb: str, kind: str) -> list[str]:
    return [action.name for action in actions if (action.verb, action.kind) == (verb, kind)]


def _bind(lab: Lab, text: str) -> str:
    source, rest = text.split(":", 1)
    return text if source.startswith(("/", ".", "~")) else f"{lab.object_name(source)}:{rest}"


def _container(item: dict[str, Any]) -> SeenContainer:
    labels = item.get("Labels") or {}
    return SeenContainer(
        name=str((item.get("Names") or ["/?"])[0]).lstrip("/"),
        id=item["Id"],
        lab=labels.get(LABEL_LAB),
        config=labels.get(LABEL_CONFIG, ""),
        running=item.get("State") == "running",
        node=labels.get(LABEL_NODE, ""),
        ports=tuple(
            Port(
                port.get("IP") or "0.0.0.0", port["PublicPort"], port["PrivatePort"], port.get("Type", "tcp")
            )
            for port in item.get("Ports") or []
            if port.get("PublicPort")
        ),
    )


def _network(item: dict[str, Any]) -> SeenNetwork:
    labels = item.get("Labels") or {}
    return SeenNetwork(
        name=item["Name"],
        id=item["Id"],
        lab=labels.get(LABEL_LAB),
        config=labels.get(LABEL_CONFIG, ""),
        subnets=tuple(
            config["Subnet"]
            for config in (item.get("IPAM") or {}).get("Config") or []
            if config.get("Subnet")
        ),
    )


def _routes() -> Iterable[tuple[str, str]]:
    """(interface, subnet) of this machine's IPv4 routes, the default route left out (proc(5), /proc/net/route)."""
    table = Path("/proc/net/route")
    if not table.exists():
        return
    for line in table.read_text(encoding="ascii").splitlines()[1:]:
        interface, destination, *rest = line.split()
        mask = rest[5]
        network, netmask = (
            ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(field), "little"))
            for field in (destination, mask)
        )
        if int(netmask):
            yield interface, str(ipaddress.IPv4Network((int(network), f"{netmask}"), strict=False))


def _in_use(port: Port) -> bool:
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is nobody's
        try:
            probe.bind((port.address, port.host))
        except OSError as exc:
            return exc.errno == errno.EADDRINUSE
    return False
