#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make, change or remove a lab of containers that boot systemd."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_cluster
short_description: Make, change or remove a lab of containers that boot systemd
version_added: 0.1.0
description:
  - Brings a whole lab (its networks, its volumes and its nodes) to the wanted state in one call, and waits until
    systemd has booted on each node. Nodes are made side by side.
  - Each object carries the labels C(io.meshnode.lab) and C(io.meshnode.config), the digest of what it was made from.
    An object with the same digest is left alone, one with another digest is made anew, and one without the label is
    never touched.
author:
  - The meshnode authors (@meshnode)
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.lab
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description:
      - The lab's name. Containers, networks and volumes are called C(<name>-<their own name>).
    type: str
    required: true
  state:
    description:
      - V(present) makes what is missing and renews what differs.
      - V(absent) removes everything that carries the lab's label, and nothing else.
    type: str
    choices: [present, absent]
    default: present
  image:
    description:
      - The image of nodes that name none.
    type: str
    default: ""
  networks:
    description:
      - Bridge networks. A node's address belongs to the first one, or to the one that it names.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The network's name inside the lab.
        type: str
        default: lan
      subnet:
        description: A private IPv4 network in CIDR notation.
        type: str
        required: true
      internal:
        description: Whether the network has no way out. Then it publishes no ports either.
        type: bool
        default: false
  nodes:
    description:
      - The containers.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The node's name inside the lab, and its alias in the engine's DNS.
        type: str
        required: true
      hostname:
        description: Its host name, when it is another.
        type: str
        default: ""
      address:
        description: Its address in its network.
        type: str
        required: true
      network:
        description: The network of its address, when it is another than the first.
        type: str
        default: ""
      addresses:
        description: Its addresses in further networks, by the network's name.
        type: dict
        default: {}
      image:
        description: Its image, when it is another than O(image).
        type: str
        default: ""
      ports:
        description:
          - What is published, as V([ADDRESS:]HOST_PORT:NODE_PORT[/udp]).
          - Without an address only this machine reaches it.
        type: list
        elements: str
        default: []
      environment:
        description: Environment of the node's first process.
        type: dict
        default: {}
      labels:
        description: Further labels.
        type: dict
        default: {}
      capabilities:
        description: Linux capabilities in addition to O(capabilities).
        type: list
        elements: str
        default: []
      volumes:
        description:
          - V(NAME:/TARGET[:ro]) for a volume of the lab.
          - V(/SOURCE:/TARGET[:ro]) for a folder of the engine's machine.
        type: list
        elements: str
        default: []
  capabilities:
    description:
      - Linux capabilities of all nodes. C(SYS_ADMIN) is what systemd needs, the others are for C(tc) and C(tcpdump).
    type: list
    elements: str
    default: [NET_ADMIN, NET_RAW, SYS_ADMIN]
  only:
    description:
      - When given, only nodes of these names are made, renewed or removed. Others are left as they are, also those that
        O(nodes) lists and that do not run.
    type: list
    elements: str
    default: []
  prune:
    description:
      - Remove nodes of this lab that O(nodes) no longer lists.
    type: bool
    default: false
  cgroup_mode:
    description:
      - How systemd gets a cgroup tree that it can write. V(auto) asks the engine.
      - V(private) is for cgroup v1, V(writable) for cgroup v2 and an engine from 28.0, V(host) binds the host's tree,
        V(privileged) is the last resort. Only V(private) was measured.
    type: str
    choices: [auto, private, writable, host, privileged]
    default: auto
  ssh:
    description:
      - When given, each node runs an SSH server that lets this user in.
    type: dict
    suboptions:
      user:
        description: The user, who may use sudo without a password.
        type: str
        required: true
      authorized_keys:
        description: Public keys.
        type: list
        elements: str
        required: true
  wait_timeout:
    description:
      - How long a node may take to boot, in seconds.
    type: int
    default: 60
seealso:
  - module: meshnode.lab.lab_image
"""

EXAMPLES = r"""
- name: A server and a client
  meshnode.lab.lab_cluster:
    name: demo
    image: "{{ image.reference }}"
    networks:
      - subnet: 172.28.77.0/24
    nodes:
      - name: server1
        address: 172.28.77.11
        ports: ["10443:10443"]
      - name: client1
        address: 172.28.77.21

- name: Nothing of it
  meshnode.lab.lab_cluster:
    name: demo
    state: absent
"""

RETURN = r"""
nodes:
  description: Each node that is listed, and each that was removed.
  returned: success
  type: list
  elements: dict
  sample:
    - name: server1
      container: demo-server1
      address: 172.28.77.11
      state: created
      changed: true
      systemd: running
      ports: ["127.0.0.1:10443:10443/tcp"]
  contains:
    name:
      description: The node's name inside the lab.
      type: str
    container:
      description: The container's name.
      type: str
    address:
      description: Its address in the first network. Empty for a node that was removed.
      type: str
    state:
      description: One of V(created), V(recreated), V(started), V(unchanged), V(removed).
      type: str
    changed:
      description: Whether this run changed it.
      type: bool
    systemd:
      description:
        - What systemd says about itself, V(running) or V(degraded).
        - Absent in check mode and for a removed node.
      type: str
    ports:
      description: What it publishes.
      type: list
      elements: str
    ssh_host_keys:
      description: Its public host keys, read through the engine. Only with O(ssh), and not in check mode.
      type: list
      elements: str
actions:
  description: What was done, or would be done in check mode, and why.
  returned: success
  type: list
  elements: str
  sample: ["create node client1: there was none"]
"""

import contextlib
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.meshnode.lab.plugins.module_utils._cluster import (
    Action,
    Lab,
    Seen,
    describe,
    node_states,
    only_some,
    plan_absent,
    plan_present,
    without_absent,
)
from ansible_collections.meshnode.lab.plugins.module_utils._cluster_checks import (
    conflicts,
    problems,
    too_few_instances,
)
from ansible_collections.meshnode.lab.plugins.module_utils._cluster_params import lab_from
from ansible_collections.meshnode.lab.plugins.module_utils._docker import Engine
from ansible_collections.meshnode.lab.plugins.module_utils._engine import (
    DOCKER_IMPORT_ERROR,
    LabError,
    connect,
    engine_errors,
)
from ansible_collections.meshnode.lab.plugins.module_utils._runtime import MODES, choose_mode

if TYPE_CHECKING:
    import docker


def bring_about(module: AnsibleModule, client: docker.DockerClient) -> dict[str, Any]:
    """Plans, does what was planned unless in check mode, and returns the module's result; raises LabError."""
    params = module.params
    with engine_errors("asking the engine about itself"):
        info = client.info()
    mode = choose_mode(
        params["cgroup_mode"], str(info.get("CgroupVersion", "1")), str(info.get("ServerVersion", ""))
    )
    lab = lab_from(params, mode, tuple(info.get("SecurityOptions") or ()))
    present = params["state"] == "present"
    if wrong := problems(lab):
        raise LabError("\n".join(wrong))
    engine = Engine(client, lab, params["wait_timeout"])
    seen = engine.see()
    if only := params["only"]:
        engine.lab = lab = without_absent(lab, seen, only)
    if present and (wrong := conflicts(lab, seen) + engine.taken_ports(seen)):
        raise LabError("\n".join(wrong))
    actions = plan_present(lab, seen, prune=params["prune"]) if present else plan_absent(lab, seen)
    actions = only_some(actions, only) if only else actions
    if actions and present and (wrong := too_few_instances(len(lab.nodes), engine.inotify_instances())):
        raise LabError("\n".join(wrong))
    booted: dict[str, dict[str, Any]] = {}
    if not module.check_mode:
        engine.apply(actions, seen)
        booted = engine.wait() if present else {}
    for name, state in booted.items():
        if state["systemd"] == "degraded":
            container = lab.object_name(name)
            module.warn(
                f"{name}: a unit failed while booting: see `docker exec {container} systemctl --failed`"
            )
    return result_of(lab, seen, actions, booted)


def result_of(
    lab: Lab, seen: Seen, actions: tuple[Action, ...], booted: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What the module returns."""
    by_name = {node.name: node for node in lab.nodes}
    before, after = describe(lab, seen, actions)
    return {
        "changed": bool(actions),
        "actions": [str(action) for action in actions],
        "nodes": [
            {
                "name": name,
                "container": lab.object_name(name),
                "address": by_name[name].address if name in by_name else "",
                "ports": [str(port) for port in by_name[name].ports] if name in by_name else [],
                "state": state,
                "changed": state != "unchanged",
                **booted.get(name, {}),
            }
            for name, state in node_states(lab, actions).items()
        ],
        "diff": {"before": before, "after": after},
    }


def argument_spec() -> dict[str, Any]:
    """The module's parameters."""
    strings = {"type": "list", "elements": "str"}
    network = {
        "name": {"type": "str", "default": "lan"},
        "subnet": {"type": "str", "required": True},
        "internal": {"type": "bool", "default": False},
    }
    node = {
        "name": {"type": "str", "required": True},
        "hostname": {"type": "str", "default": ""},
        "address": {"type": "str", "required": True},
        "network": {"type": "str", "default": ""},
        "addresses": {"type": "dict", "default": {}},
        "image": {"type": "str", "default": ""},
        "ports": {**strings, "default": []},
        "environment": {"type": "dict", "default": {}},
        "labels": {"type": "dict", "default": {}},
        "capabilities": {**strings, "default": []},
        "volumes": {**strings, "default": []},
    }
    ssh = {
        "user": {"type": "str", "required": True},
        "authorized_keys": {**strings, "required": True, "no_log": False},
    }
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "image": {"type": "str", "default": ""},
        "networks": {"type": "list", "elements": "dict", "options": network, "default": []},
        "nodes": {"type": "list", "elements": "dict", "options": node, "default": []},
        "capabilities": {**strings, "default": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN"]},
        "only": {**strings, "default": []},
        "prune": {"type": "bool", "default": False},
        "cgroup_mode": {"type": "str", "choices": list(MODES), "default": "auto"},
        "ssh": {"type": "dict", "options": ssh},
        "wait_timeout": {"type": "int", "default": 60},
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if DOCKER_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("docker"), exception=DOCKER_IMPORT_ERROR)
    try:
        with contextlib.closing(connect()) as client:
            result = bring_about(module, client)
    except LabError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
