#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Register a service at an agent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_service
short_description: Register a service and its checks at an agent
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Registers a service at the agent that is asked, with its checks, or takes it away. Run it on the
    node of the service.
  - The service becomes what the task says. What the task leaves out gets its default, as in a registration by API.
  - An agent does not show how it runs its checks. A digest of their definitions is kept in the service's meta
    C(ansible-checks), so that a changed interval is noticed. A service that was registered otherwise is registered
    again once.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
attributes:
  diff_mode:
    details: Checks are shown by their ids, and their definitions by a digest.
  idempotent:
    details: Tags that somebody else changed are left alone with O(enable_tag_override=true).
options:
  name:
    description:
      - Name of the service. Needed with O(state=present).
    type: str
  id:
    description:
      - Id of the instance at its agent. By default O(name).
    type: str
  state:
    description:
      - Whether the service is to be there.
    type: str
    choices: [present, absent]
    default: present
  service_address:
    description:
      - Address of the service. When empty, it is that of the node.
    type: str
    default: ''
  port:
    description:
      - Port of the service, V(0) for none.
    type: int
    default: 0
  tags:
    description:
      - Tags. Their order does not matter.
    type: list
    elements: str
    default: []
  meta:
    description:
      - Keys and values, as text.
    type: dict
    default: {}
  weights:
    description:
      - Weights in SRV answers of DNS.
    type: dict
    suboptions:
      passing:
        description:
          - While it is healthy.
        type: int
        default: 1
      warning:
        description:
          - While a check warns.
        type: int
        default: 1
  enable_tag_override:
    description:
      - Whether others may change the tags in the catalog.
    type: bool
    default: false
  checks:
    description:
      - Checks of the service, each with one of O(checks[].http), O(checks[].tcp), O(checks[].grpc), O(checks[].args),
        O(checks[].ttl), or an alias. A check that is no longer in the list is taken away.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description:
          - Id of the check. By default C(service:<id of the service>), with a number when there are several.
        type: str
      name:
        description:
          - Name of the check.
        type: str
      notes:
        description:
          - For people who read it.
        type: str
      http:
        description:
          - URL to get. 2xx is healthy, 429 warns.
        type: str
      method:
        description:
          - Another method than GET.
        type: str
      header:
        description:
          - Headers, each with a list of values. Never shown.
        type: dict
      tcp:
        description:
          - C(host:port) to connect to.
        type: str
      grpc:
        description:
          - C(host:port/service) that speaks the health protocol of gRPC.
        type: str
      grpc_use_tls:
        description:
          - TLS for O(checks[].grpc).
        type: bool
      args:
        description:
          - Command to run, as a list. The agent needs C(enable_script_checks).
        type: list
        elements: str
      docker_container_id:
        description:
          - Container to run O(checks[].args) in.
        type: str
      shell:
        description:
          - Shell in that container.
        type: str
      ttl:
        description:
          - How long a report of the service counts, such as V(30s).
        type: str
      alias_node:
        description:
          - Take over the health of this node.
        type: str
      alias_service:
        description:
          - Take over the health of this service, by id.
        type: str
      interval:
        description:
          - How often to check, such as V(10s).
        type: str
      timeout:
        description:
          - How long one try may take.
        type: str
      tls_skip_verify:
        description:
          - Do not check the certificate.
        type: bool
      status:
        description:
          - Status until the first result.
        type: str
        choices: [passing, warning, critical]
      deregister_critical_service_after:
        description:
          - Take the service away when it was critical for so long.
        type: str
"""

EXAMPLES = r"""
- name: A web server with two checks
  meshnode.lab.mesh_service:
    name: web
    port: 8080
    tags: [v1, primary]
    meta:
      version: "1.4"
    checks:
      - name: It answers
        http: http://127.0.0.1:8080/health
        interval: 10s
        timeout: 2s
      - name: It listens
        tcp: 127.0.0.1:8080
        interval: 5s

- name: It goes away
  meshnode.lab.mesh_service:
    id: web
    state: absent
"""

RETURN = r"""
id:
  description: Id of the service at its agent.
  returned: success
  type: str
  sample: web
checks:
  description: Ids of its checks.
  returned: success
  type: list
  elements: str
  sample: ["service:web:1", "service:web:2"]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _service, mesh_api

CHECK_SPEC: dict[str, dict[str, t.Any]] = {
    "header": {"type": "dict", "no_log": True},
    "args": {"type": "list", "elements": "str"},
    "status": {"type": "str", "choices": ["passing", "warning", "critical"]},
    "grpc_use_tls": {"type": "bool"},
    "tls_skip_verify": {"type": "bool"},
    **{
        name: {"type": "str"}
        for name in (
            "id", "name", "notes", "http", "method", "tcp", "grpc", "docker_container_id", "shell", "ttl",
            "alias_node", "alias_service", "interval", "timeout", "deregister_critical_service_after",
        )
    },
}  # fmt: skip
ARGUMENT_SPEC = mesh_api.arguments(
    name={"type": "str"},
    id={"type": "str"},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    service_address={"type": "str", "default": ""},
    port={"type": "int", "default": 0},
    tags={"type": "list", "elements": "str", "default": []},
    meta={"type": "dict", "default": {}},
    weights={
        "type": "dict",
        "options": {
            "passing": {"type": "int", "default": 1, "no_log": False},
            "warning": {"type": "int", "default": 1},
        },
    },
    enable_tag_override={"type": "bool", "default": False},
    checks={"type": "list", "elements": "dict", "default": [], "options": CHECK_SPEC},
)


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    """The result of the task."""
    options = module.params
    api = mesh_api.api_from(options)
    service_id = options["id"] or options["name"]
    wanted = _service.definition(options) if options["state"] == "present" else None
    found = _service.look(api, service_id)
    before, after = _service.difference(found, wanted)
    changed = bool(before or after)
    if changed and not module.check_mode:
        if wanted is not None:
            _service.register(api, wanted, found)
        else:
            _service.deregister(api, service_id)
    checks = sorted(check["CheckID"] for check in wanted["Checks"]) if wanted else []
    result: dict[str, t.Any] = {"changed": changed, "id": service_id, "checks": checks}
    if changed:
        result["diff"] = {"before": before, "after": after}
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[("state", "present", ("name",))],
        required_one_of=[("name", "id")],
        required_together=mesh_api.REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    try:
        result = ensure(module)
    except mesh_api.MeshApiError as error:
        module.fail_json(msg=f"mesh_service: {module.params['id'] or module.params['name']}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
