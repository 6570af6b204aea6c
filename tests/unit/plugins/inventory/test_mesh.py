"""The inventory plugin, as C(ansible-inventory) runs it, against a real agent over HTTPS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.inventory.mesh import InventoryModule
from ansible_collections.meshnode.lab.plugins.module_utils import _catalog, mesh_api

from tests.unit.plugins.api_agents import ApiAgent, ansible, running

NODES = [
    {"Node": "db-1", "Address": "10.9.0.1", "NodeMeta": {"rack": "r 2"}, "TaggedAddresses": {"wan": "192.0.2.1"}},
    {
        "Node": "db-1", "Address": "10.9.0.1", "SkipNodeUpdate": True,
        "Service": {"ID": "pg", "Service": "post-gres", "Port": 5432, "Tags": ["main"], "Meta": {"v": "15"}},
        "Check": {"CheckID": "pg", "Name": "It answers", "Status": "critical", "ServiceID": "pg", "Output": "no"},
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiAgent]:
    """Not the shared one: other tests leave services there, whose checks make its node unhealthy."""
    with running(tmp_path_factory.mktemp("inventory"), node_meta={"rack": "r1"}) as started:
        for body in NODES:
            status, text = started.agent.api("/v1/catalog/register", "PUT", json.dumps(body).encode())
            assert (status, text.strip()) == (200, "true")
        yield started


def listed(
    agent: ApiAgent, folder: Path, *more: str, name: str = "x.mesh.yml", **options: Any
) -> dict[str, Any]:
    code, out, err = run(agent, folder, *more, name=name, **options)
    assert code == 0, err
    assert "[WARNING]" not in err
    found: dict[str, Any] = json.loads(out, object_hook=_plain)
    return found


def _plain(value: dict[str, Any]) -> Any:
    """What comes from the catalog is marked, so that it is never a template."""
    return value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else value


def run(
    agent: ApiAgent, folder: Path, *more: str, name: str = "x.mesh.yml", **options: Any
) -> tuple[int, str, str]:
    config = {"plugin": "meshnode.lab.mesh", **agent.secure, **options}
    (folder / name).write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    strict = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}
    done = ansible(folder, "ansible-inventory", "-i", str(folder / name), "--list", *more, **strict)
    return done.returncode, done.stdout, done.stderr


def test_nodes_services_meta_and_health_are_hosts_and_groups(agent: ApiAgent, tmp_path: Path) -> None:
    found = listed(agent, tmp_path)
    groups = {name: set(group.get("hosts", [])) for name, group in found.items() if name != "_meta"}
    assert groups["dc_dc1"] >= {"s1", "db-1"}
    assert "s1" in groups["role_server"]
    assert "db-1" in groups["role_client"]
    assert groups["service_post_gres"] == {"db-1"}
    assert groups["meta_rack_r1"] == {"s1"}
    assert groups["meta_rack_r_2"] == {"db-1"}
    assert groups["unhealthy"] == {"db-1"}
    variables = found["_meta"]["hostvars"]["db-1"]
    assert variables["ansible_host"] == "10.9.0.1"
    assert variables["mesh_status"] == "critical"
    assert variables["mesh_services"]["post-gres"] == [
        {
            "id": "pg",
            "address": "10.9.0.1",
            "port": 5432,
            "tags": ["main"],
            "meta": {"v": "15"},
            "status": "critical",
        }
    ]
    assert variables["mesh_failing_checks"] == [
        {"id": "pg", "name": "It answers", "status": "critical", "output": "no"}
    ]


def test_constructed_features(agent: ApiAgent, tmp_path: Path) -> None:
    found = listed(
        agent, tmp_path, strict=True, ansible_host="wan",
        groups={"bad": "mesh_status == 'critical'"},
        keyed_groups=[{"key": "mesh_meta.rack | default('none')", "prefix": "in"}],
        compose={"first_port": "(mesh_services.values() | first | first).port"},
    )  # fmt: skip
    assert found["bad"]["hosts"] == ["db-1"]
    assert found["in_r1"]["hosts"] == ["s1"]
    hosts = found["_meta"]["hostvars"]
    assert hosts["db-1"]["first_port"] == 5432
    assert hosts["db-1"]["ansible_host"] == "192.0.2.1"


def test_strict_fails_where_an_expression_does(agent: ApiAgent, tmp_path: Path) -> None:
    expression = {"x": "mesh_meta.no_such_key.at_all"}
    listed(agent, tmp_path, compose=expression)
    code, _out, err = run(agent, tmp_path, compose=expression, strict=True)
    assert code != 0
    assert "Could not set x for host" in err


def test_values_of_the_catalog_are_never_templates(agent: ApiAgent, tmp_path: Path) -> None:
    body = {"Node": "evil", "Address": "10.9.0.2", "NodeMeta": {"x": "{{ 6 * 7 }}"}}
    agent.agent.api("/v1/catalog/register", "PUT", json.dumps(body).encode())
    config = {"plugin": "meshnode.lab.mesh", **agent.secure}
    (tmp_path / "x.mesh.yml").write_text(json.dumps(config))
    inventory = {"ANSIBLE_INVENTORY": str(tmp_path / "x.mesh.yml")}
    done = ansible(tmp_path, "ansible", "evil", "-m", "debug", "-a", "msg={{ mesh_meta.x }}", **inventory)
    agent.agent.api("/v1/catalog/deregister", "PUT", b'{"Node": "evil"}')
    assert "{{ 6 * 7 }}" in done.stdout
    assert "42" not in done.stdout


def test_the_cache_answers_when_the_agent_is_not_asked(agent: ApiAgent, tmp_path: Path) -> None:
    cache = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(tmp_path / "cache"),
        "cache_timeout": 3600,
        "token": "not-to-be-cached",
    }
    first = listed(agent, tmp_path, **cache)
    files = list((tmp_path / "cache").iterdir())
    assert files
    assert not [path for path in files if "not-to-be-cached" in path.read_text()]
    assert listed(agent, tmp_path, **{**cache, "address": "127.0.0.1:1"}) == first
    code, _out, err = run(agent, tmp_path, "--flush-cache", **{**cache, "address": "127.0.0.1:1"})
    assert code != 0
    assert "can't reach the agent" in err


def test_several_datacenters_have_qualified_names(agent: ApiAgent) -> None:
    catalog = _catalog.catalog_of(mesh_api.MeshApi(**agent.secure), None)
    other = {**catalog, "nodes": [{**node, "Datacenter": "dc2"} for node in catalog["nodes"]]}
    hosts = {name: groups for name, _variables, groups in _catalog.hosts_of([catalog, other], qualified=True)}
    assert {"s1.dc1", "s1.dc2"} <= set(hosts)
    assert "dc_dc2" in hosts["s1.dc2"]


def test_all_datacenters_are_those_that_the_agent_knows(agent: ApiAgent, tmp_path: Path) -> None:
    assert "s1" in listed(agent, tmp_path, datacenters=["all"])["_meta"]["hostvars"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "127.0.0.1:1"}, "can't reach the agent"),
        ({"client_cert": None, "client_key": None}, "set client_cert and client_key"),
        ({"ca_file": "/none.pem"}, "ca_file: /none.pem can't be used"),
        ({"datacenters": ["dc9"]}, "dc9"),
        ({"timeout": -1}, "timeout: -1 is out of range"),
    ],
)
def test_what_is_wrong_is_told_with_the_file_and_the_fix(
    agent: ApiAgent, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    code, _out, err = run(agent, tmp_path, **options)
    assert code != 0
    assert message in " ".join(err.split())
    assert "x.mesh.yml" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("answer", [[], {"nodes": [{}], "checks": [], "services": {}}, {"nodes": 1}])
def test_a_catalog_that_is_none_is_told(answer: Any) -> None:
    with pytest.raises(
        mesh_api.MeshApiError, match=r"the catalog can't be read .*: does address name an agent\?"
    ):
        _catalog.hosts_of([answer], qualified=False)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("a.mesh.yml", True), ("a.mesh.yaml", True), ("mesh.yml", True), ("mesh.yaml", True), ("amesh.yml", False),
     ("a.mesh.json", False), ("hosts.yml", False)],
)  # fmt: skip
def test_files_are_known_by_their_name(tmp_path: Path, name: str, ours: bool) -> None:
    (tmp_path / name).touch()
    assert InventoryModule().verify_file(str(tmp_path / name)) is ours
