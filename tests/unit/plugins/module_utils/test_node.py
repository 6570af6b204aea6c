"""What stops a node's module before anything is replaced."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._files import Directory, KeyringFile, Link
from ansible_collections.meshnode.lab.plugins.module_utils._node import Node, NodeError, plan_from
from ansible_collections.meshnode.lab.plugins.module_utils._node_spec import render_files
from ansible_collections.meshnode.lab.plugins.module_utils._redact import placeholder

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
DIGEST = "0123456789abcdef"


class Module:
    """As much of AnsibleModule as a node uses."""

    def __init__(self, *, check_mode: bool, code: int = 0, said: str = "") -> None:
        self.check_mode = check_mode
        self.no_log_values: set[str] = set()
        self.commands: list[list[str]] = []
        self.answer = (code, "", said)

    def run_command(self, command: list[str], **_options: object) -> tuple[int, str, str]:
        self.commands.append(command)
        return self.answer


def node_of(
    folder: Path, module: Module, *, tls: bool = True, wan_keys: tuple[str, ...] = (), **package: str
) -> Node:
    params: dict[str, Any] = {
        "client_environment": {},
        "client_environment_file": str(folder / "client.env"),
        "config": {"node_name": "a"},
        "config_alias": "",
        "config_dir": str(folder / "consul.d"),
        "config_file": "meshnode.json",
        "data_dir": str(folder / "data"),
        "group": "root",
        "install_dir": str(folder / "opt"),
        "name": "consul",
        "package": {"digest": DIGEST, "path": "/p", "python_version": HERE, **package},
        "state_file": str(folder / "state.json"),
        "tls": None,
        "unit": None,
        "user": "root",
        "_secrets": {placeholder(key): key for key in wan_keys},
    }
    if tls:
        params["tls"] = {
            name: str(folder / "consul.d" / "ssl" / name) for name in ("ca_file", "cert_file", "key_file")
        }
    params["_files"] = render_files(params, wan_keys)
    return Node(module, plan_from(params), None)


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize(
    ("package", "fix"),
    [
        ({"python_version": "3.1"}, f'set mesh_node_python_version: "{HERE}" for this host'),
        ({"architecture": "sparc"}, f"set mesh_node_architecture: {platform.machine()} for this host"),
    ],
)
def test_a_package_for_another_kind_of_node_is_refused_with_what_to_set(
    tmp_path: Path, check_mode: bool, package: dict[str, str], fix: str
) -> None:
    with pytest.raises(NodeError, match=fix):
        node_of(tmp_path, Module(check_mode=check_mode), **package).run()
    assert list(tmp_path.iterdir()) == []


def test_a_node_without_the_package_asks_for_it_before_anything_else(tmp_path: Path) -> None:
    assert node_of(tmp_path, Module(check_mode=False)).run().package_needed
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The release is on the node, and nothing else is."""
    name = "ansible_collections.meshnode.lab.plugins.module_utils._node._release.fault_of"
    monkeypatch.setattr(name, lambda _path, _digest: "")


@pytest.mark.usefixtures("unpacked")
def test_a_check_after_half_a_run_does_not_miss_the_certificates_that_are_to_come(tmp_path: Path) -> None:
    module = Module(check_mode=True, code=1, said="cert_file does not exist")
    outcome = node_of(tmp_path, module).run()
    assert module.commands == []
    assert any("meshnode.json" in change for change in outcome.changes)


@pytest.mark.usefixtures("unpacked")
@pytest.mark.parametrize("check_mode", [False, True])
def test_what_the_agent_refuses_is_not_put_in_place(tmp_path: Path, check_mode: bool) -> None:
    module = Module(check_mode=check_mode, code=1, said="no_such_key: is not known")
    with pytest.raises(NodeError, match="nothing was replaced: no_such_key: is not known"):
        node_of(tmp_path, module, tls=False).run()
    assert [command[1] for command in module.commands] == ["validate"]
    assert list(tmp_path.iterdir()) == []


def test_the_release_is_switched_after_everything_that_it_will_read(tmp_path: Path) -> None:
    items = node_of(tmp_path, Module(check_mode=True))._items()
    kinds = [isinstance(item, Link) for item in items]
    assert kinds == sorted(kinds)


def test_the_keys_of_the_wan_are_whole_on_the_node_and_masked_wherever_they_turn_up(tmp_path: Path) -> None:
    keys = ("cg8StVXbQJ0gPvMd9o7yrg==", "pUqJrVyVRj5jsiYEkM/tFQ==")
    node = node_of(tmp_path, Module(check_mode=True), wan_keys=keys)
    (ring,) = [item for item in node._items() if isinstance(item, KeyringFile)]
    assert ring.path == str(tmp_path / "data" / "serf" / "remote.keyring")
    assert json.loads(ring.content or b"") == list(keys)
    folders = [item.path for item in node._items() if isinstance(item, Directory)]
    assert folders.index(str(tmp_path / "data")) < folders.index(str(tmp_path / "data" / "serf"))
    node._mask()
    assert set(keys) <= node.module.no_log_values
