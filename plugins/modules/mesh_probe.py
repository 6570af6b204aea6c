#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the mesh for things all the time while it is changed, and count what was not answered."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_probe
short_description: Ask the mesh for things all the time while it is changed, and count what was not answered
version_added: 0.1.0
description:
  - Starts a probe on the node, as a transient unit of systemd that outlives the play, and ends it later.
  - HTTP requests and lines over one long-lived TCP connection are sent once each. Keys are written and read back
    consistently, at the next agent when one does not answer, which RV(asked_again) counts.
  - A probe that runs already is left alone, so a procedure that was broken off goes on with its first probe.
extends_documentation_fragment:
  - meshnode.lab.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(started) starts the probe, V(stopped) ends it and removes its files, V(reported) reads what it saw so far.
    type: str
    choices: [started, stopped, reported]
    default: started
  name:
    description:
      - Name of the unit, and of its directory below C(/run).
    type: str
    default: mesh-probe
  script:
    description:
      - Text of the probe. Required with O(state=started).
    type: str
  targets:
    description:
      - What is probed. Without any nothing is started.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description:
          - V(http) for GET of O(targets[].url); V(tcp) for lines that O(targets[].address) sends back; V(kv) for keys.
          - V(members) for all of O(targets[].names) alive and a leader, as the first of O(targets[].agents) says.
          - V(dns) for an address of O(targets[].name). V(denied) for O(targets[].address) carrying not a single byte.
        type: str
        choices: [http, tcp, kv, members, dns, denied]
        required: true
      url:
        description:
          - What is asked for; C(http) only. Anything but a 200 is a failure.
        type: str
      address:
        description:
          - Host and port, such as V(127.0.0.1:9191).
        type: str
      timeout:
        description:
          - Seconds for one request or line.
        type: float
        default: 5
      fresh:
        description:
          - Each line over a connection of its own; C(tcp) only.
        type: bool
        default: false
      datacenter:
        description:
          - The datacenter whose keys are meant, the agents' own without it; C(kv) only.
        type: str
      agents:
        description:
          - Addresses of agents, such as V(https://10.1.0.11:10443), the one that is asked first in front.
        type: list
        elements: str
      name:
        description:
          - The name that O(targets[].address), a DNS server, has to know.
        type: str
      names:
        description:
          - Names of all nodes.
        type: list
        elements: str
      key:
        description:
          - The key that is written.
        type: str
        default: meshnode/probe
      patience:
        description:
          - Seconds in which some agent has to have answered.
        type: float
        default: 10
      token:
        description:
          - Token for the key.
        type: str
      tls:
        description:
          - Paths on the node, C(ca_file), C(cert_file) and C(key_file), for agents with C(https). Read each time.
        type: dict
  interval:
    description:
      - Seconds between two requests to a target.
    type: float
    default: 0.2
  max_seconds:
    description:
      - The probe ends by itself after this.
    type: float
    default: 3600
  user:
    description:
      - User that the probe runs as. For keys over HTTPS the one who may read the agent's key.
    type: str
    default: consul
  group:
    description:
      - Its group. By default named as the user.
    type: str
  python:
    description:
      - Python on the node, 3.11 or later.
    type: path
    default: /usr/bin/python3
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: Ask while the mesh is changed
  meshnode.lab.mesh_probe:
    script: "{{ lookup('ansible.builtin.file', 'probe.py') }}"
    targets:
      - {kind: http, url: "http://127.0.0.1:9292/hello"}
      - {kind: kv, agents: ["http://127.0.0.1:8500"]}

- name: How did it go?
  meshnode.lab.mesh_probe:
    state: stopped
  register: probe
  failed_when: probe.failed_requests > 0
"""

RETURN = r"""
running:
  description: Whether the probe runs now.
  returned: success
  type: bool
requests:
  description: How many requests there were.
  returned: success
  type: int
failed_requests:
  description: How many of them failed.
  returned: success
  type: int
failures:
  description: The first failures of each target, in words.
  returned: success
  type: list
  elements: str
asked_again:
  description: How often a key was asked of a further agent, or of the same one again.
  returned: success
  type: int
longest:
  description: Seconds of the longest request.
  returned: success
  type: float
seconds:
  description: How long the probe has run.
  returned: success
  type: float
targets:
  description:
    - The same for each target, with the times of failures.
    - Its C(outages) are from the first failure to the next good answer.
    - C(verdict) is what a probe of another make, such as the load of C(playbooks/chaos.yml), says in the end.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._probe import (
    DEFAULT_MAX_SECONDS,
    KINDS,
    Layout,
    Probe,
    ProbeError,
)

TARGET = {
    "address": {"type": "str"},
    "agents": {"type": "list", "elements": "str"},
    "datacenter": {"type": "str"},
    "fresh": {"type": "bool", "default": False},
    "key": {"type": "str", "default": "meshnode/probe", "no_log": False},
    "kind": {"type": "str", "choices": list(KINDS), "required": True},
    "name": {"type": "str"},
    "names": {"type": "list", "elements": "str"},
    "patience": {"type": "float", "default": 10},
    "timeout": {"type": "float", "default": 5},
    "tls": {"type": "dict"},
    "token": {"type": "str", "no_log": True},
    "url": {"type": "str"},
}
ARGUMENT_SPEC = {
    "group": {"type": "str"},
    "interval": {"type": "float", "default": 0.2},
    "max_seconds": {"type": "float", "default": DEFAULT_MAX_SECONDS},
    "name": {"type": "str", "default": "mesh-probe"},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "script": {"type": "str"},
    "state": {"type": "str", "choices": ["started", "stopped", "reported"], "default": "started"},
    "targets": {"type": "list", "elements": "dict", "options": TARGET, "default": []},
    "user": {"type": "str", "default": "consul"},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC, required_if=[("state", "started", ["script"])], supports_check_mode=True
    )
    options = module.params
    try:
        probe = Probe(module, Layout(options["name"], options["user"], options["group"] or options["user"]))
        changed = False
        if options["state"] == "started":
            config = {name: options[name] for name in ("interval", "max_seconds")}
            targets = [{k: v for k, v in target.items() if v is not None} for target in options["targets"]]
            changed = probe.start(options["script"], {**config, "targets": targets}, options["python"])
        elif options["state"] == "stopped":
            changed = probe.stop()
        result = {**probe.report(), "running": probe.running()}
        if options["state"] == "stopped" and not module.check_mode:
            probe.forget()
    except ProbeError as error:
        module.fail_json(msg=f"mesh_probe: {error}")
    except OSError as error:
        module.fail_json(msg=f"mesh_probe: {error.filename}: {error.strerror}")
    module.exit_json(changed=changed, **result)


if __name__ == "__main__":
    main()
