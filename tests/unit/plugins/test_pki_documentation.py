from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import yaml
from ansible_collections.meshnode.lab.plugins.module_utils import _certificate
from ansible_collections.meshnode.lab.plugins.modules import (
    mesh_ca,
    mesh_certificate,
    mesh_csr,
    mesh_etcd,
    mesh_gossip_key,
    mesh_services,
)

from meshnode.pki.keys import KEY_TYPES


class Specified(Exception):  # noqa: N818 - it carries what a module says, and is no error
    """What ``main()`` gave to AnsibleModule."""


def spec_of(module: Any) -> dict[str, Any]:
    if module is mesh_certificate:
        return _certificate.ARGUMENT_SPEC

    def stop(**arguments: Any) -> None:
        raise Specified(arguments)

    with mock.patch.object(module, "AnsibleModule", stop), pytest.raises(Specified) as raised:
        module.main()
    assert raised.value.args[0]["supports_check_mode"]
    return dict(raised.value.args[0]["argument_spec"])


MODULES = [mesh_ca, mesh_certificate, mesh_csr, mesh_etcd, mesh_gossip_key, mesh_services]


def compare(documented: dict[str, Any], spec: dict[str, Any]) -> None:
    assert set(documented) == set(spec)
    for name, option in spec.items():
        for field in ("type", "elements", "default", "choices", "required"):
            assert documented[name].get(field) == option.get(field), f"{name}.{field}"
        assert documented[name]["description"]
        compare(documented[name].get("suboptions", {}), option.get("options", {}))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_options_are_documented_as_they_are(module: Any) -> None:
    compare(yaml.safe_load(module.DOCUMENTATION)["options"], spec_of(module))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_attributes_results_and_examples_are_there(module: Any) -> None:
    documentation = yaml.safe_load(module.DOCUMENTATION)
    assert {name: value["support"] for name, value in documentation["attributes"].items()} == {
        "check_mode": "full", "diff_mode": "full", "idempotent": "full",
    }  # fmt: skip
    name = module.__name__.split(".")[-1]
    assert documentation["module"] == name
    assert any(f"meshnode.lab.{name}" in task for task in yaml.safe_load(module.EXAMPLES))
    for returned in yaml.safe_load(module.RETURN).values():
        assert {"description", "returned", "type"} <= set(returned)


@pytest.mark.parametrize("module", [mesh_ca, mesh_csr])
def test_kinds_of_keys_are_those_of_the_authority(module: Any) -> None:
    assert tuple(spec_of(module)["key_type"]["choices"]) == KEY_TYPES
