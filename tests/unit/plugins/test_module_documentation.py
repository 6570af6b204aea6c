"""Each module says of itself what it is: its options, what it supports, its results and examples."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from unittest import mock

import pytest
from ansible_collections.meshnode.lab.plugins.action import mesh_procedure
from ansible_collections.meshnode.lab.plugins.module_utils import _certificate
from ansible_collections.meshnode.lab.plugins.modules import mesh_ca, mesh_csr

from meshnode.pki.keys import KEY_TYPES
from tests.unit.plugins.documentation import MODULES, block, documentation

#: These run on the controller as an action, which has their options; mesh_package has them in a call.
ACTIONS = {"mesh_certificate": _certificate.ARGUMENT_SPEC, "mesh_procedure": mesh_procedure.ARGUMENT_SPEC}
SPECIFIED = [name for name in MODULES if name != "mesh_package"]


class Specified(Exception):  # noqa: N818 - it carries what a module says, and is no error
    """What ``main()`` gave to AnsibleModule."""


def arguments_of(module: Any) -> dict[str, Any]:
    def stop(**arguments: Any) -> None:
        raise Specified(arguments)

    with mock.patch.object(module, "AnsibleModule", stop), pytest.raises(Specified) as raised:
        module.main()
    return dict(raised.value.args[0])


def spec_of(name: str) -> dict[str, Any]:
    if name in ACTIONS:
        return ACTIONS[name]
    arguments = arguments_of(import_module(f"ansible_collections.meshnode.lab.plugins.modules.{name}"))
    assert arguments["supports_check_mode"]
    return dict(arguments["argument_spec"])


def compare(documented: dict[str, Any], spec: dict[str, Any]) -> None:
    assert set(documented) == set(spec)
    for name, option in spec.items():
        for field in ("type", "elements", "default", "choices"):
            assert documented[name].get(field) == option.get(field), f"{name}.{field}"
        assert bool(documented[name].get("required")) == bool(option.get("required")), name
        assert documented[name]["description"]
        compare(documented[name].get("suboptions", {}), option.get("options", {}))


@pytest.mark.parametrize("name", SPECIFIED)
def test_options_are_documented_as_they_are(name: str) -> None:
    compare(documentation(name)["options"], spec_of(name))


@pytest.mark.parametrize("name", MODULES)
def test_attributes_results_and_examples_are_there(name: str) -> None:
    found = documentation(name)
    assert found["module"] == name
    supported = [found["attributes"][key] for key in ("check_mode", "diff_mode", "idempotent")]
    assert {one["support"] for one in supported} <= {"full", "partial", "none"}
    assert supported[0]["support"] == "full"
    assert [one for one in supported if one["support"] == "partial" and not one.get("details")] == []
    assert any(f"meshnode.lab.{name}" in task for task in block(name, "EXAMPLES"))
    for returned in block(name, "RETURN").values():
        assert {"description", "returned", "type"} <= set(returned)


@pytest.mark.parametrize("module", [mesh_ca, mesh_csr])
def test_kinds_of_keys_are_those_of_the_authority(module: Any) -> None:
    assert tuple(arguments_of(module)["argument_spec"]["key_type"]["choices"]) == KEY_TYPES
