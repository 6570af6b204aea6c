#!/usr/bin/python
# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_certificate
short_description: Issue the certificate of a node when it needs one
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Signs the request that M(meshnode.lab.mesh_csr) made on a node, with the CA that M(meshnode.lab.mesh_ca) keeps.
  - The work is done by an action plugin in the process of Ansible itself. No call goes to the node, and the private key
    of the CA does not leave the controller.
  - The names and usages in the certificate come from the options. Of the request only the public key is taken, after
    its signature and its common name were checked.
  - The existing certificate is kept unless it is missing or unusable, is for another key, has other names or usages
    than wanted, was not signed by the CA that is in force, or has less than a third of its life left.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.store
attributes:
  check_mode:
    support: full
    details: Says what would be issued and why. RV(certificate) is V(null) when it would be issued.
  diff_mode:
    support: full
    details: Shows the descriptions of both certificates.
  idempotent:
    support: full
options:
  csr:
    description:
      - The certificate signing request, PEM. Its common name must be O(node).
      - It may be empty only in check mode, for a node whose key is not made yet.
    type: str
  certificate:
    description: The certificate that the node has, PEM, when it has one.
    type: str
  role:
    description:
      - What the node is. A V(server) gets the name C(server.<datacenter>.<domain>), which makes it a server for every
        peer that verifies host names; a V(client) gets C(client.<datacenter>.<domain>) and can't get the other one.
    type: str
    choices: [server, client]
    required: true
  node:
    description: Name of the node, in the subject and among the names. When left out, it is the inventory name.
    type: str
  datacenter:
    description: Name of the datacenter.
    type: str
    default: dc1
  domain:
    description: DNS domain of the cluster.
    type: str
    default: consul
  sans:
    description:
      - Further names. O(node), the name of the role, V(localhost), V(127.0.0.1) and V(::1) are always there.
    type: dict
    suboptions:
      dns:
        description: DNS names.
        type: list
        elements: str
        default: []
      ip:
        description: IP addresses.
        type: list
        elements: str
        default: []
  days:
    description: Lifetime. A certificate never outlives its CA.
    type: int
    default: 365
  store:
    description: Directory of the secret stores. When left out, it is C(.secrets) next to the inventory.
    type: path
  cluster:
    description: Name of the cluster in the store.
    type: str
    default: dc1
  ca_cert_pem:
    description:
      - Certificate of a CA that comes from elsewhere, for example from Ansible Vault. It is never written down.
      - Further certificates in the same text are in RV(bundle) but do not sign.
    type: str
  ca_key_pem:
    description: Unencrypted private key for O(ca_cert_pem). It is used and never written down. Set C(no_log=true).
    type: str
seealso:
  - module: meshnode.lab.mesh_ca
  - module: meshnode.lab.mesh_csr
notes:
  - Needs the Python package C(meshnode) in the interpreter that runs Ansible.
  - What was issued is written down in C(issued/<node>.json) of the store, the newest first.
"""

EXAMPLES = r"""
- name: Make the key on the node and ask for a certificate
  meshnode.lab.mesh_csr:
    common_name: "{{ inventory_hostname }}"
    key_path: /etc/consul.d/ssl/consul.key
    certificate_path: /etc/consul.d/ssl/consul.cert
  register: mesh_csr

- name: Issue the certificate when the node needs one
  meshnode.lab.mesh_certificate:
    csr: "{{ mesh_csr.csr }}"
    certificate: "{{ mesh_csr.certificate }}"
    role: server
    sans:
      ip: ["{{ mesh_address }}"]
  register: mesh_certificate
"""

RETURN = r"""
certificate:
  description: The certificate for the node, PEM, new or kept. V(null) in check mode when it would be issued.
  returned: success
  type: str
bundle:
  description: Certificates that the node is to trust, PEM, the signing CA first. V(null) in check mode without a CA.
  returned: success
  type: str
generation:
  description: The generation of the CA that signs, V(null) for a CA of O(ca_cert_pem).
  returned: success
  type: int
  sample: 1
reason:
  description: Why the certificate was issued, V(null) when it was kept.
  returned: success
  type: str
  sample: "its names change: +10.1.0.12 -10.1.0.11"
cause:
  description:
    - The same for programs.
    - One of V(missing), V(unparsable), V(key_mismatch), V(issuer_changed), V(not_signed_by_issuer), V(subject_changed),
      V(names_changed), V(wrong_usage), V(not_yet_valid), V(expired), V(expires_soon).
  returned: success
  type: str
  sample: names_changed
serial:
  description: Serial number of RV(certificate), hexadecimal.
  returned: success
  type: str
fingerprint:
  description: SHA-256 of RV(certificate), hexadecimal.
  returned: success
  type: str
not_before:
  description: Begin of the life of RV(certificate), ISO 8601.
  returned: success
  type: str
not_after:
  description: End of the life of RV(certificate), ISO 8601.
  returned: success
  type: str
"""

# The work is in plugins/action/mesh_certificate.py and plugins/module_utils/_certificate.py.
