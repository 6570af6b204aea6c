"""Tests of the lab itself, on a real engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.meshnode.lab.plugins.modules import lab_cluster, lab_image

from tests.lab.labs import ROOT, Lab, copy_checkout, private_copy

#: Each worker of a parallel run has a small lab of its own: name, network, published port.
SMALL_LABS = {
    "master": ("sitetest", "172.28.251", 18444),
    "gw0": ("sitetest", "172.28.251", 18444),
    "gw1": ("othersite", "172.28.247", 18442),
    "gw2": ("thirdsite", "172.28.240", 18441),
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lab: needs a container engine (scripts/engine.sh)")


class ModuleError(Exception):
    """The module said that it failed; the message is its own."""


Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """call(module, check=False, **arguments): what Ansible would get back; raises ModuleError."""

    def call_module(module: Any, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        capsys.readouterr()
        if check:
            arguments["_ansible_check_mode"] = True
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        if result.get("failed"):
            raise ModuleError(result["msg"])
        return result

    return call_module


@pytest.fixture
def cluster(call: Call) -> Call:
    def call_cluster(**arguments: Any) -> dict[str, Any]:
        return call(lab_cluster, **arguments)

    return call_cluster


@pytest.fixture
def image(call: Call) -> str:
    """The node image, made if this engine doesn't have it yet."""
    result = call(lab_image, path=str(ROOT / "images" / "node"), cache_dir=str(ROOT / ".cache"))
    return str(result["reference"])


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, which stays as it is while the tests run."""
    return copy_checkout(tmp_path_factory.mktemp("checkout") / "meshnode")


@pytest.fixture(scope="session")
def small_lab(checkout: Path, worker_id: str) -> Iterator[Lab]:
    """The quickstart's server and two clients, shared by a worker's files of tests; none of it is up at first."""
    name, network, port = SMALL_LABS[worker_id]
    lab = private_copy(checkout, "quickstart", name, network, port)
    lab.down()
    yield lab
    lab.down()


@pytest.fixture(scope="session")
def chaos_lab(checkout: Path) -> Iterator[Lab]:
    """Three servers and two clients for faults, shared by the files of tests that have some."""
    lab = private_copy(checkout, "lab", "chaostest", "172.28.231", 18531)
    lab.fresh()
    lab.play()
    yield lab
    lab.down()
