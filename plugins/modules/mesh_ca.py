#!/usr/bin/python
# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_ca
short_description: Keep the private CA of a cluster in the controller's secret store
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Creates the first generation of a cluster's private certificate authority, adds later ones, and says which one
    signs and which ones are trusted. An existing key or certificate is never overwritten or deleted.
  - Runs on the controller. Use C(delegate_to=localhost) and C(run_once=true).
  - The private key stays in the store and is never returned.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.store
  - meshnode.lab.secret_store
attributes:
  check_mode:
    support: full
    details: Nothing is created. For a CA that does not exist yet, RV(certificate) and RV(bundle) are V(null).
  diff_mode:
    support: full
    details: Shows the numbers of the generations, never key material.
  idempotent:
    support: full
    details: O(state=new_generation) adds one generation only; a newer one than the signing one is left alone.
options:
  cluster:
    description: Name of the cluster, which is also in the subject of the certificate.
    type: str
    default: dc1
  state:
    description:
      - V(present) makes generation 1 when there is none.
      - V(new_generation) adds a generation that is trusted but does not sign yet, the first step of a rotation.
    type: str
    choices: [present, new_generation]
    default: present
  current_generation:
    description:
      - The generation that signs from now on. It must exist and be trusted.
      - When left out, the one in force stays.
    type: int
  trusted_generations:
    description:
      - The generations whose certificates are in RV(bundle) from now on; the signing one must be among them.
      - When left out, those in force stay.
    type: list
    elements: int
  key_type:
    description: Kind of the key of a generation that is created. Existing ones keep theirs.
    type: str
    choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096]
    default: ec-p256
  days:
    description: Lifetime of a generation that is created.
    type: int
    default: 3650
  ca_cert_pem:
    description:
      - Certificate of a CA that comes from elsewhere, for example from Ansible Vault. It is never written down.
      - Further certificates in the same text are trusted but do not sign.
    type: str
  ca_key_pem:
    description:
      - Unencrypted private key for O(ca_cert_pem). It is used and never written down.
      - With it, the store is not read, and O(state), O(current_generation) and O(trusted_generations) have no effect.
    type: str
seealso:
  - module: meshnode.lab.mesh_certificate
  - module: meshnode.lab.mesh_csr
notes:
  - Needs the Python package C(meshnode) on the controller. Let C(localhost) use the interpreter of Ansible itself by
    setting C(ansible_python_interpreter) to C({{ ansible_playbook_python }}).
  - Set C(become=false) on the task. The store belongs to the user who runs the playbook, and another one is refused.
"""

EXAMPLES = r"""
- name: Make the CA of the cluster, once
  meshnode.lab.mesh_ca:
    store: "{{ inventory_dir }}/.secrets"
    cluster: dc1
  delegate_to: localhost
  run_once: true
  become: false
  register: mesh_ca

- name: Begin a rotation, with a second generation that every node learns to trust
  meshnode.lab.mesh_ca:
    store: "{{ inventory_dir }}/.secrets"
    state: new_generation
  delegate_to: localhost
  run_once: true
  become: false

- name: Let the second generation sign, after every node trusts it
  meshnode.lab.mesh_ca:
    store: "{{ inventory_dir }}/.secrets"
    current_generation: 2
  delegate_to: localhost
  run_once: true
  become: false

- name: Use a CA that Ansible Vault holds
  meshnode.lab.mesh_ca:
    store: "{{ inventory_dir }}/.secrets"
    ca_cert_pem: "{{ mesh_ca_cert_pem }}"
    ca_key_pem: "{{ mesh_ca_key_pem }}"
  delegate_to: localhost
  run_once: true
  become: false
  no_log: true
"""

RETURN = r"""
generation:
  description: The generation that signs, V(null) when the CA was given by O(ca_cert_pem).
  returned: success
  type: int
  sample: 1
generations:
  description: Every generation in the store.
  returned: success
  type: list
  elements: int
  sample: [1, 2]
trusted_generations:
  description: The generations in RV(bundle), the signing one first and then the newest.
  returned: success
  type: list
  elements: int
  sample: [2, 1]
certificate:
  description: Certificate of the generation that signs, PEM. V(null) in check mode when it does not exist yet.
  returned: success
  type: str
bundle:
  description: Certificates of all trusted generations, PEM. V(null) in check mode when one of them does not exist yet.
  returned: success
  type: str
subject:
  description: Subject of RV(certificate).
  returned: success
  type: str
  sample: CN=meshnode CA dc1 g1
fingerprint:
  description: SHA-256 of RV(certificate), hexadecimal.
  returned: success
  type: str
not_before:
  description: Begin of the life of RV(certificate), ISO 8601.
  returned: success
  type: str
not_after:
  description: End of the life of RV(certificate), ISO 8601. A warning is given in its last tenth.
  returned: success
  type: str
  sample: "2036-11-18T12:00:00+00:00"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _authorities, _controller
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError

KEY_TYPES = ["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"]


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **_controller.STORE_OPTIONS,
            "state": {"type": "str", "choices": ["present", "new_generation"], "default": "present"},
            "current_generation": {"type": "int"},
            "trusted_generations": {"type": "list", "elements": "int"},
            "key_type": {"type": "str", "choices": KEY_TYPES, "default": "ec-p256", "no_log": False},
            "days": {"type": "int", "default": 3650},
            "ca_cert_pem": {"type": "str"},
            "ca_key_pem": {"type": "str", "no_log": True},
        },
        required_together=[("ca_cert_pem", "ca_key_pem")],
        supports_check_mode=True,
    )
    try:
        _controller.require_meshnode()
        result = _controller.sentences(given if module.params["ca_key_pem"] else stored, module)
    except (_controller.ControllerError, SecretStoreError) as error:
        module.fail_json(msg=f"CA of {module.params['cluster']}: {error}")
    if result["certificate"]:
        warning = _authorities.expiry_warning(result["certificate"], _controller.now())
        if warning:
            module.warn(warning)
    module.exit_json(**result)


def given(module: AnsibleModule) -> dict[str, t.Any]:
    """The CA of the options; nothing is stored."""
    authority, bundle = _authorities.given_authority(
        module.params["ca_cert_pem"], module.params["ca_key_pem"]
    )
    public = describe(authority.certificate_pem)
    return {
        "changed": False,
        "generation": None,
        "generations": [],
        "trusted_generations": [],
        "bundle": bundle,
        **public,
    }


def stored(module: AnsibleModule) -> dict[str, t.Any]:
    """The CA of the store, made or changed as the options say."""
    from meshnode.pki.authority import Authority, authority_name

    store = SecretStore(module.params["store"], module.params["cluster"])

    def create(generation: int) -> Authority:
        return Authority.create(
            authority_name(store.cluster, generation),
            at=_controller.now(),
            entropy=_controller.entropy,
            key_type=module.params["key_type"],
            days=module.params["days"],
        )

    trusted = module.params["trusted_generations"]
    wish = _authorities.Wish(
        new_generation=module.params["state"] == "new_generation",
        current=module.params["current_generation"],
        trusted=None if trusted is None else tuple(trusted),
    )
    before, after = _authorities.ensure_generations(store, wish, create, check_mode=module.check_mode)
    on_disk = set(after.known) if not module.check_mode else set(before.known if before else ())
    certificate = _authorities.read_certificate(store, after.current) if after.current in on_disk else None
    result = {
        "changed": before != after,
        "generation": after.current,
        "generations": list(after.known),
        "trusted_generations": list(after.bundle_order()),
        "bundle": _authorities.read_bundle(store, after) if set(after.trusted) <= on_disk else None,
        **describe(certificate),
    }
    if before != after:
        result["diff"] = {"before": before.describe() if before else {}, "after": after.describe()}
    return result


def describe(certificate: str | None) -> dict[str, t.Any]:
    """What is public about the certificate that signs."""
    from meshnode.pki.bundle import describe as describe_certificate

    told = describe_certificate(certificate).as_dict() if certificate else {}
    return {
        "certificate": certificate,
        **{name: told.get(name) for name in ("subject", "fingerprint", "not_before", "not_after")},
    }


if __name__ == "__main__":
    main()
