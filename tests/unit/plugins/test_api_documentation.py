"""The modules of the HTTP API say of themselves what they are."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.meshnode.lab.plugins.doc_fragments import attributes
from ansible_collections.meshnode.lab.plugins.module_utils import mesh_api
from ansible_collections.meshnode.lab.plugins.modules import (
    mesh_acl_bootstrap,
    mesh_acl_policy,
    mesh_acl_role,
    mesh_acl_token,
    mesh_intention,
    mesh_kv,
    mesh_lock,
    mesh_service,
)

SHARED = yaml.safe_load(attributes.ModuleDocFragment.API)
MODULES = [
    mesh_acl_bootstrap,
    mesh_acl_policy,
    mesh_acl_role,
    mesh_acl_token,
    mesh_intention,
    mesh_kv,
    mesh_lock,
    mesh_service,
]


def compare(documented: dict[str, Any], spec: dict[str, Any]) -> None:
    assert set(documented) == set(spec)
    for name, option in spec.items():
        for field in ("type", "elements", "default", "choices", "required"):
            assert documented[name].get(field) == option.get(field), f"{name}.{field}"
        assert documented[name]["description"]
        compare(documented[name].get("suboptions", {}), option.get("options", {}))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_options_are_documented_as_they_are(module: Any) -> None:
    own = {name: one for name, one in module.ARGUMENT_SPEC.items() if name not in mesh_api.API_OPTIONS}
    compare(yaml.safe_load(module.DOCUMENTATION)["options"], own)
    assert set(module.ARGUMENT_SPEC) - set(own) == set(mesh_api.API_OPTIONS)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_attributes_results_and_examples_are_there(module: Any) -> None:
    documentation = yaml.safe_load(module.DOCUMENTATION)
    assert "meshnode.lab.attributes.api" in documentation["extends_documentation_fragment"]
    assert {"check_mode", "diff_mode", "idempotent"} <= set(SHARED["attributes"])
    name = module.__name__.split(".")[-1]
    assert documentation["module"] == name
    assert any(f"meshnode.lab.{name}" in task for task in yaml.safe_load(module.EXAMPLES))
    for returned in yaml.safe_load(module.RETURN).values():
        assert {"description", "returned", "type"} <= set(returned)
