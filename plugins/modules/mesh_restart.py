#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart the agent when that is due, and wait until it is healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_restart
short_description: Restart the agent when that is due, and wait until it is healthy
version_added: 0.1.0
description:
  - Starts, enables, restarts or reloads the agent's unit when that is due, and waits until the agent is healthy,
    in one call.
    Under C(serial) this is a rolling restart that goes on only after each node is back.
  - Due means that the agent runs with another configuration, package, unit or certificate than what is on disk.
    It is read from the node, so it does not matter which run made the change.
  - Healthy means that the unit is active, that its process runs with what is on disk, that the API answers, that enough
    members are alive as this agent sees them, and that a leader is known.
  - When the agent does not get healthy, the last lines of its journal are returned.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.agent
  - meshnode.lab.node_agent
  - meshnode.lab.node_agent.api
  - meshnode.lab.node_agent.unit
attributes:
  check_mode:
    support: full
    details:
      - Says what would be done. Does not wait.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Not with O(when=always).
options:
  when:
    description:
      - V(drift) restarts an agent that runs with something else than what is on disk, and reloads one that lacks
        certificates only.
      - V(reload) reloads an agent whose configuration or certificates differ, and waits until it runs with them.
        It fails for a change that needs a restart.
      - V(always) restarts in any case.
      - V(start) starts an agent that does not run, and leaves one that runs alone, whatever it runs with.
        See RV(pending).
      - V(never) changes nothing and waits only.
    type: str
    choices: [drift, reload, always, start, never]
    default: drift
  enabled:
    description:
      - Enable the unit at boot, too.
    type: bool
    default: true
  members:
    description:
      - How many members must be alive as this agent sees them.
    type: int
    default: 1
  leader:
    description:
      - Whether a leader must be known.
    type: bool
    default: true
  regain:
    description:
      - For a rolling restart. Look before a restart, and wait afterwards until as many members are alive as before,
        if that is more than O(members), and until a leader is known if one was known before.
    type: bool
    default: false
  postpone_leader:
    description:
      - With O(regain), do not restart the leader, and return RV(postponed).
    type: bool
    default: false
  hand_over:
    description:
      - With O(regain), let another server lead before the leader is restarted, where one can. See RV(handed_over).
    type: bool
    default: false
  timeout:
    description:
      - Seconds until the wait is given up.
    type: float
    default: 60
  journal_lines:
    description:
      - How many lines of the journal to return on failure.
    type: int
    default: 30
seealso:
  - module: meshnode.lab.mesh_node
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: Restart if needed, go on when all five are back
  meshnode.lab.mesh_restart:
    members: 5

- name: Is the node well?
  meshnode.lab.mesh_restart:
    when: never
    members: 5
    timeout: 10
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [enable, start]
reasons:
  description: Why.
  returned: success
  type: list
  elements: str
pending:
  description: Why the agent should be restarted, with O(when=start) or O(when=never), which leave it alone.
  returned: success
  type: list
  elements: str
postponed:
  description: Whether a restart is due that was left for later, since this is the leader.
  returned: success
  type: bool
was_leader:
  description: Whether this was the leader before the restart, with O(regain).
  returned: success
  type: bool
handed_over:
  description: Whether another server was leading when this one was restarted, with O(hand_over).
  returned: success
  type: bool
members:
  description: Members that are alive as this agent sees them.
  returned: success, outside check mode
  type: list
  elements: str
leader:
  description: Address of the leader.
  returned: success, outside check mode
  type: str
process:
  description: Number of the agent's process, by which a restart shows.
  returned: success, outside check mode
  type: int
waited:
  description: Seconds until the agent was healthy.
  returned: success
  type: float
waited_for:
  description: What was missing at the end.
  returned: failure
  type: str
journal:
  description: The last lines of the agent's journal, without its secrets.
  returned: failure
  type: list
  elements: str
"""

from dataclasses import fields

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._restart import (
    UNIT_OPTIONS,
    Report,
    RestartError,
    Wish,
    service_of,
)

ARGUMENT_SPEC = {
    **UNIT_OPTIONS,
    "enabled": {"type": "bool", "default": True},
    "hand_over": {"type": "bool", "default": False},
    "journal_lines": {"type": "int", "default": 30},
    "leader": {"type": "bool", "default": True},
    "members": {"type": "int", "default": 1},
    "postpone_leader": {"type": "bool", "default": False},
    "regain": {"type": "bool", "default": False},
    "when": {"type": "str", "choices": ["drift", "reload", "always", "start", "never"], "default": "drift"},
}


def result_of(report: Report) -> dict[str, object]:
    """The module's result."""
    result: dict[str, object] = {"changed": bool(report.actions), "waited": report.waited}
    result |= {"actions": report.actions, "reasons": report.reasons, "pending": report.pending}
    result |= {"postponed": report.postponed, "was_leader": report.was_leader}
    result["handed_over"] = report.handed_over
    if report.cluster:
        result |= {"members": list(report.cluster.alive), "leader": report.cluster.leader}
        result["process"] = report.process
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC, required_together=[("cert_file", "key_file")], supports_check_mode=True
    )
    service = service_of(module, Wish(**{each.name: module.params[each.name] for each in fields(Wish)}))
    try:
        report = service.run()
    except RestartError as error:
        journal = service.journal()
        module.fail_json(msg=f"{error}: see journal", waited_for=error.waited_for, journal=journal)
    module.exit_json(**result_of(report))


if __name__ == "__main__":
    main()
