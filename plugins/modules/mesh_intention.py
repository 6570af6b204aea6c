#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say who may talk to whom."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_intention
short_description: Say which service may talk to which
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Makes, changes and removes an intention of Connect. It is known by its source and its destination.
  - An intention becomes what the task says. What the task leaves out gets its default.
  - With O(intentions) many are made what they should be in one call, and with O(managed_by) those go that are no longer
    in the list.
  - Needs an agent of meshnode, or of Consul 1.9 or later. O(token) needs C(intentions = "write") for the destinations.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
options:
  source:
    description:
      - Service that connects, V(*) for every one. In another namespace C(namespace/name).
    type: str
  destination:
    description:
      - Service that is connected to, V(*) for every one.
    type: str
  action:
    description:
      - What becomes of connections. Either this or O(permissions) with O(state=present).
    type: str
    choices: [allow, deny]
  permissions: &permissions
    description:
      - What becomes of HTTP requests. The first that fits decides, and what fits none is denied.
    type: list
    elements: dict
    default: []
    suboptions:
      action:
        description:
          - What becomes of requests that fit.
        type: str
        choices: [allow, deny]
        required: true
      path_exact:
        description:
          - The path as a whole.
        type: str
      path_prefix:
        description:
          - The beginning of the path.
        type: str
      path_regex:
        description:
          - A regular expression for the path as a whole.
        type: str
      methods:
        description:
          - One of these methods, any when empty.
        type: list
        elements: str
        default: []
      header:
        description:
          - Conditions on headers, which all have to hold.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description:
              - Name of the header.
            type: str
            required: true
          present:
            description:
              - Whether it is enough that it is there.
            type: bool
            default: false
          exact:
            description:
              - Its value as a whole.
            type: str
          prefix:
            description:
              - The beginning of its value.
            type: str
          suffix:
            description:
              - The end of its value.
            type: str
          regex:
            description:
              - A regular expression for its value as a whole.
            type: str
          invert:
            description:
              - Whether the condition is turned round.
            type: bool
            default: false
  audit:
    description:
      - Whether what it would deny is let through and reported.
    type: bool
    default: false
  description:
    description:
      - For people who read it.
    type: str
    default: ''
  meta:
    description:
      - Keys and values, as text.
    type: dict
    default: {}
  state:
    description:
      - Whether the intention is to be there.
    type: str
    choices: [present, absent]
    default: present
  intentions:
    description:
      - Many intentions instead of one.
    type: list
    elements: dict
    suboptions:
      source:
        description:
          - As O(source).
        type: str
      destination:
        description:
          - As O(destination).
        type: str
      action:
        description:
          - As O(action).
        type: str
        choices: [allow, deny]
      permissions: *permissions
      audit:
        description:
          - As O(audit).
        type: bool
        default: false
      description:
        description:
          - As O(description).
        type: str
        default: ''
      meta:
        description:
          - As O(meta).
        type: dict
        default: {}
  managed_by:
    description:
      - Whose O(intentions) these are. It is kept in the meta C(managed-by) of each, and an intention with the same
        value that is not in the list is removed. Others are left alone.
    type: str
seealso:
  - module: meshnode.lab.mesh_services
"""

EXAMPLES = r"""
- name: The shop may talk to its database
  meshnode.lab.mesh_intention:
    source: shop
    destination: db
    action: allow

- name: It may read the reports, and nothing else there
  meshnode.lab.mesh_intention:
    source: shop
    destination: reports
    permissions:
      - action: allow
        path_prefix: /v1/
        methods: [GET]

- name: All that this team says, and nothing that it no longer says
  meshnode.lab.mesh_intention:
    managed_by: team-shop
    intentions:
      - {source: shop, destination: db, action: allow}
      - {source: "*", destination: db, action: deny}
"""

RETURN = r"""
written:
  description: Intentions that were, or in check mode would be, made or changed.
  returned: success
  type: list
  elements: str
  sample: ["default/shop => default/db"]
removed:
  description: Intentions that were, or would be, removed.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _intention, mesh_api

ARGUMENT_SPEC = mesh_api.arguments(
    **_intention.INTENTION_SPEC,
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    intentions={"type": "list", "elements": "dict", "options": _intention.INTENTION_SPEC},
    managed_by={"type": "str"},
)


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    """The result of the task."""
    options = module.params
    many = options["intentions"] is not None
    if many and (options["state"] == "absent" or options["source"] or options["destination"]):
        raise mesh_api.MeshApiError(
            "intentions: stands alone: leave out source, destination and state=absent"
        )
    if options["managed_by"] and not many:
        raise mesh_api.MeshApiError("managed_by: goes with intentions: write the list, or use meta")
    wanted = _intention.wishes(options)
    api = mesh_api.api_from(options)
    absent = options["state"] == "absent"
    change = _intention.plan(api, wanted, absent=absent, managed_by=options["managed_by"])
    if change and not module.check_mode:
        _intention.apply(api, change)
    result: dict[str, t.Any] = {
        "changed": bool(change),
        "written": [f"{source} => {destination}" for source, destination, _body in change.puts],
        "removed": [f"{source} => {destination}" for source, destination in change.deletes],
    }
    if change:
        result["diff"] = {"before": dict(change.before), "after": dict(change.after)}
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_one_of=[("source", "intentions")],
        required_together=[*mesh_api.REQUIRED_TOGETHER, ("source", "destination")],
        supports_check_mode=True,
    )
    try:
        result = ensure(module)
    except mesh_api.MeshApiError as error:
        module.fail_json(msg=f"mesh_intention: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
