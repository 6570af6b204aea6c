#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Break one thing on this node, and make it whole again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_fault
short_description: Break one thing on this node, and make it whole again
version_added: 0.1.0
description:
  - Kills, pauses, cuts off, slows down, or fills the disk of an agent or of its etcd, for drills such as
    C(playbooks/chaos.yml).
  - How it is undone is written to C(/run/mesh-fault) and timed before anything is done. So the node is whole again
    after O(max_seconds) also when this module, Ansible or the controller have died. A node has one fault at a time.
  - Needs root. What the controller needs is left alone. Only packets from and to O(peers) are dropped or held up.
extends_documentation_fragment:
  - meshnode.lab.attributes
attributes:
  check_mode:
    support: full
    details: Refuses what a real run would, as far as that can be seen without doing it.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: A node that has no fault is left alone by O(state=absent). One that has one refuses O(state=present).
options:
  state:
    description:
      - V(present) begins the fault, and with O(hold) ends it too.
      - V(absent) undoes the fault O(name), or all that this node has.
      - V(asked) says which faults this node has, and which it can't have and why. It changes nothing.
    type: str
    choices: [present, absent, asked]
    default: present
  fault:
    description:
      - V(kill) ends the process with SIGKILL, and it stays away. V(pause) stops it with SIGSTOP.
      - V(cut), V(cut_in) and V(cut_out) drop all packets from and to O(peers), or those of one direction.
        V(loss) drops a share of them.
      - V(delay), V(duplicate) and V(reorder) are done to packets for O(peers) by a program of ours behind a TUN
        device, since many kernels lack C(netem).
      - V(disk_full) moves the data to a small file system in memory, which is filled. It restarts the service twice.
        The disk of the host is not filled.
      - V(slow_disk) has the kernel hold up writes of this node (cgroup v1, C(blkio)).
      - V(dns) drops what comes to the DNS port.
      - V(clock) has the wall clock of the agent jump, that of nobody else, by C(libfaketime), which the node has to
        have. It restarts the agent before and after.
    type: str
    choices: [kill, pause, cut, cut_in, cut_out, loss, delay, duplicate, reorder, disk_full, slow_disk, dns, clock]
  service:
    description:
      - The unit that the fault is for.
    type: str
    choices: [consul, etcd]
    default: consul
  amount:
    description:
      - How much of it. A share from 0 to 1 for V(loss), V(duplicate) and V(reorder), seconds for V(delay), bytes in a
        second for V(slow_disk), seconds ahead for V(clock), and behind with a minus.
      - V(0) stands for the fault's own, 0.2, 0.3, 0.25, 0.1, 262144 and 3600.
    type: float
    default: 0
  name:
    description:
      - Name of the fault on this node. By default as O(fault), and all of them for O(state=absent).
    type: str
  hold:
    description:
      - Seconds after which the fault is undone in the same call. With V(0) it stays.
    type: float
    default: 0
  max_seconds:
    description:
      - Seconds after which the node undoes the fault by itself.
    type: float
    default: 120
  address:
    description:
      - Address of this node. Needed for V(delay), V(duplicate) and V(reorder).
    type: str
    default: ""
  peers:
    description:
      - Addresses of the other nodes. Needed for faults of the wire.
    type: list
    elements: str
    default: []
  dns_port:
    description:
      - The port that V(dns) makes silent.
    type: int
    default: 8600
  data_dir:
    description:
      - The directory that V(disk_full) moves. By default that of the role mesh_node or mesh_etcd.
    type: path
    default: ""
  script:
    description:
      - Text of the program for V(delay), V(duplicate) and V(reorder).
    type: str
    default: ""
  python:
    description:
      - Python that runs it.
    type: path
    default: /usr/bin/python3
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: What can be done here?
  meshnode.lab.mesh_fault:
    state: asked
  register: fault

- name: Cut this node off for ten seconds
  meshnode.lab.mesh_fault:
    fault: cut
    peers: [10.1.0.12, 10.1.0.13]
    hold: 10

- name: Whatever there is, undo it
  meshnode.lab.mesh_fault:
    state: absent
"""

RETURN = r"""
faults:
  description: Names of the faults that the node has now.
  returned: success
  type: list
  elements: str
undone:
  description: Names of those that were undone.
  returned: when O(state=absent)
  type: list
  elements: str
refused:
  description: Faults that this node can't have, and why.
  returned: when O(state=asked)
  type: dict
began:
  description: When the fault began, in seconds since the epoch.
  returned: when O(state=present)
  type: float
ended:
  description: When it had been undone.
  returned: when O(hold) was given
  type: float
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _chaos
from ansible_collections.meshnode.lab.plugins.module_utils._fault import (
    DATA,
    WIRED,
    FaultError,
    Faults,
    Place,
    check_service,
    hold,
    plan,
)

MAX_SECONDS = 3600.0
ARGUMENT_SPEC = {
    "address": {"type": "str", "default": ""},
    "amount": {"type": "float", "default": 0},
    "data_dir": {"type": "path", "default": ""},
    "dns_port": {"type": "int", "default": 8600},
    "fault": {"type": "str", "choices": list(_chaos.CATALOGUE)},
    "hold": {"type": "float", "default": 0},
    "max_seconds": {"type": "float", "default": 120},
    "name": {"type": "str"},
    "peers": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "script": {"type": "str", "default": ""},
    "service": {"type": "str", "choices": [_chaos.AGENT, _chaos.ETCD], "default": _chaos.AGENT},
    "state": {"type": "str", "choices": ["present", "absent", "asked"], "default": "present"},
}


def begin(module: Any, faults: Faults) -> dict[str, Any]:
    """Do what the options say."""
    options = module.params
    fault, seconds = options["fault"], options["hold"]
    if not 0 <= seconds < options["max_seconds"] <= MAX_SECONDS:
        raise FaultError(
            f"hold: {seconds:g} and max_seconds: {options['max_seconds']:g}: the first has to be less than the second, "
            f"and that at most {MAX_SECONDS:g}"
        )
    check_service(fault, options["service"])
    refused = faults.refused()
    if fault in refused:
        raise FaultError(f"fault: {fault} is refused: {refused[fault]}")
    if fault in WIRED and not options["script"]:
        raise FaultError(f"script: {fault} needs the program of the wire: the role mesh_chaos has it")
    data = options["data_dir"] or DATA[options["service"]]
    place = Place(
        address=options["address"],
        peers=tuple(options["peers"]),
        dns_port=options["dns_port"],
        data=data,
        data_mib=_mebibytes(data) if fault == "disk_full" else 0,
        device=faults.device(data),
        python=options["python"],
        faketime=faults.faketime(),
    )
    what = plan(fault, options["service"], options["amount"], place)
    began = time.time()
    if module.check_mode:
        return {"began": began, "faults": faults.there()}
    name = options["name"] or fault
    faults.begin(name, what, options["max_seconds"], options["script"])
    result = {"began": began}
    if seconds:
        result["ended"] = hold(faults, name, seconds)
    return {**result, "faults": faults.there()}


def _mebibytes(path: str) -> int:
    """What the files below ``path`` take, rounded up."""
    total = 0
    for folder, _folders, files in os.walk(path):
        total += sum(os.lstat(os.path.join(folder, name)).st_size for name in files)
    return total // (1 << 20) + 1


def end(module: Any, faults: Faults) -> dict[str, Any]:
    """Undo the one that is named, or all."""
    there = [name for name in faults.there() if module.params["name"] in (None, name)]
    if not module.check_mode:
        for name in there:
            faults.end(name)
    return {"undone": there, "faults": faults.there()}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC, required_if=[("state", "present", ["fault"])], supports_check_mode=True
    )
    faults = Faults(module)
    try:
        if module.params["state"] == "asked":
            module.exit_json(changed=False, refused=faults.refused(), faults=faults.there())
        if module.params["state"] == "absent":
            result = end(module, faults)
            module.exit_json(changed=bool(result["undone"]), **result)
        module.exit_json(changed=True, **begin(module, faults))
    except FaultError as error:
        module.fail_json(msg=f"mesh_fault: {error}")
    except OSError as error:
        module.fail_json(msg=f"mesh_fault: {error.filename}: {error.strerror}: are you root on this node?")


if __name__ == "__main__":
    main()
