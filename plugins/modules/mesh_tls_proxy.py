#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a TLS proxy and what runs beside it to the wanted state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_tls_proxy
short_description: Run C(meshnode tls-proxy) on a node, with all that it needs
version_added: 0.1.0
description:
  - Puts the package, programs, certificates, listeners and systemd units on a node, and runs the units. All of it is
    one call. The package and programs are sent only to a node that lacks them.
  - The new release judges the new listeners before they replace the old ones.
  - A unit is restarted when its text changed, or something that it names in O(units[].restarted_by). What did not
    change runs on.
  - Waits until every unit runs. One of C(Type=notify) runs when it serves.
  - The node needs systemd and the Python that the package was built for.
extends_documentation_fragment:
  - meshnode.lab.attributes
attributes:
  check_mode:
    support: full
    details:
      - On a node that lacks the package, or a certificate, the listeners are not judged.
  diff_mode:
    support: full
    details:
      - Certificates and programs are shown as digests, other files not at all.
  idempotent:
    support: full
  action:
    description: Has a corresponding action plugin, so some parts of the options are handled on the controller.
    support: full
options:
  _sent:
    description:
      - Not for users. The controller says with it what it put where on the node.
    type: dict
  files:
    description:
      - Files that are to be on the node, owned by root. Folders that are missing are made.
    type: list
    elements: dict
    required: true
    suboptions:
      content:
        description:
          - Text of the file. It is in no output, since listeners can hold keys.
        type: str
      digest:
        description:
          - Not for users. SHA-256 of O(files[].source).
        type: str
      group:
        description:
          - Group that it belongs to.
        type: str
        default: root
      mode:
        description:
          - Permissions, in octal.
        type: str
        default: "0644"
      path:
        description:
          - Where it belongs.
        type: path
        required: true
      source:
        description:
          - A program on the controller, in place of O(files[].content).
        type: path
  install_dir:
    description:
      - Where releases are unpacked. The current one and the one before are kept.
    type: path
    default: /opt/meshnode
  package:
    description:
      - The package as RV(meshnode.lab.mesh_package#module:package) of M(meshnode.lab.mesh_package) describes it. None
        is needed where only an echo service runs.
    type: dict
    suboptions:
      architecture:
        description:
          - Machine that it was built for.
        type: str
      digest:
        description:
          - Names the content, and the release's directory on the node.
        type: str
        required: true
      distributions:
        description:
          - Dependencies in it.
        type: list
        elements: str
      path:
        description:
          - The archive on the controller.
        type: path
        required: true
      python_version:
        description:
          - Python that it was built for.
        type: str
      version:
        description:
          - Version of meshnode.
        type: str
  timeout:
    description:
      - Seconds to wait for the units.
    type: float
    default: 60
  units:
    description:
      - Units that are to be enabled and to run.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name, with C(.service).
        type: str
        required: true
      restarted_by:
        description:
          - Paths in O(files), and O(install_dir) for the package, whose change restarts it.
        type: list
        elements: path
        default: []
      text:
        description:
          - Text of the unit.
        type: str
        required: true
  validate:
    description:
      - Command that judges O(validated). Its path is replaced with that of a copy.
    type: list
    elements: str
    default: []
  validated:
    description:
      - Path in O(files).
    type: path
seealso:
  - module: meshnode.lab.mesh_package
  - module: meshnode.lab.mesh_csr
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: A proxy that ends TLS
  meshnode.lab.mesh_tls_proxy:
    package: "{{ build.package }}"
    files:
      - path: /etc/meshnode/tls/proxy.json
        content: "{{ {'listener': listeners} | to_nice_json }}"
    validate: [/opt/meshnode/current/bin/meshnode, tls-proxy, -config-file, /etc/meshnode/tls/proxy.json, -validate]
    validated: /etc/meshnode/tls/proxy.json
    units:
      - name: tls-proxy.service
        text: "{{ lookup('ansible.builtin.template', 'tls-proxy.service.j2') }}"
        restarted_by: [/opt/meshnode, /etc/meshnode/tls/proxy.json]
"""

RETURN = r"""
changes:
  description: A line for each thing that was changed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ['tls-proxy.service: restart']
"""

import contextlib
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._files import ConflictError
from ansible_collections.meshnode.lab.plugins.module_utils._release import ReleaseError
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import ServicesError
from ansible_collections.meshnode.lab.plugins.module_utils._tls_proxy import (
    ARGUMENT_SPEC,
    PRIVATE_SPEC,
    TlsProxy,
)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={**ARGUMENT_SPEC, **PRIVATE_SPEC}, supports_check_mode=True)
    proxy = None
    try:
        proxy = TlsProxy(module, module.params)
        if not proxy.pretend and (needed := proxy.needed()):
            module.exit_json(changed=False, needed=needed)
        report = proxy.run()
    except (ConflictError, ReleaseError, ServicesError) as error:
        changes = proxy.report.changes if proxy else []
        module.fail_json(msg=f"mesh_tls_proxy: {error}", changed=bool(changes), changes=changes)
    except OSError as error:
        changes = proxy.report.changes if proxy else []
        module.fail_json(msg=f"mesh_tls_proxy: {error.filename}: {error.strerror}", changes=changes)
    finally:
        for path in (module.params["_sent"] or {}).values():
            with contextlib.suppress(OSError):
                os.unlink(path)
    result = {"changes": report.changes}
    if module._diff:  # noqa: SLF001 - the only way to know, and what ansible-core's own modules do
        result["diff"] = report.diff
    module.exit_json(changed=bool(report.changes), **result)


if __name__ == "__main__":
    main()
