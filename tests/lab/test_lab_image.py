"""lab_image on a real engine: what is there is not built again, and what differs is foreseen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.meshnode.lab.plugins.modules import lab_image

from tests.lab.conftest import ROOT, ModuleError

pytestmark = pytest.mark.lab

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A copy of the image's folder, to change."""
    return Path(shutil.copytree(ROOT / "images" / "node", tmp_path / "node"))


def test_an_image_that_is_there_is_not_made_again(
    call: Call, image: str, engine: docker.DockerClient
) -> None:
    for check in (True, False):
        result = call(
            lab_image, check=check, path=str(ROOT / "images" / "node"), cache_dir=str(ROOT / ".cache")
        )
        assert (result["changed"], result["steps"], result["log"]) == (False, [], [])
        assert result["reference"] == image
        assert result["id"] == engine.images.get(image).id


def test_a_changed_file_is_foreseen_and_built_from_the_same_base(
    call: Call, image: str, context: Path, engine: docker.DockerClient
) -> None:
    arguments = {"path": str(context), "cache_dir": str(ROOT / ".cache")}
    with (context / "Dockerfile").open("a") as file:
        file.write("LABEL changed=yes\n")
    foreseen = call(lab_image, check=True, **arguments)
    assert (foreseen["changed"], foreseen["steps"], foreseen["id"]) == (True, ["build"], "")
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get(foreseen["reference"])

    built = call(lab_image, **arguments)
    try:
        assert built["reference"] == foreseen["reference"] != image
        assert engine.images.get(built["reference"]).labels["io.meshnode.digest"] == built["digest"]
        assert not call(lab_image, **arguments)["changed"]
    finally:
        engine.images.remove(built["reference"])


def test_a_dockerfile_that_fails_shows_what_it_said(call: Call, image: str, context: Path) -> None:
    with (context / "Dockerfile").open("a") as file:
        file.write("RUN echo the reason && false\n")
    with pytest.raises(ModuleError, match=r"(?s)building meshnode-node:bookworm-.*the reason"):
        call(lab_image, path=str(context), cache_dir=str(ROOT / ".cache"))


def test_a_folder_without_a_package_list_is_named(call: Call, context: Path) -> None:
    (context / "packages.txt").unlink()
    with pytest.raises(ModuleError, match=r"packages\.txt: there is no such file"):
        call(lab_image, path=str(context), cache_dir=str(ROOT / ".cache"))


def test_a_suite_is_another_base(call: Call, image: str, tmp_path: Path) -> None:
    arguments = {"path": str(ROOT / "images" / "node"), "cache_dir": str(tmp_path), "name": "labtest-node"}
    foreseen = call(lab_image, check=True, suite="trixie", **arguments)
    assert foreseen["steps"] == ["bootstrap", "import", "build"]
    assert foreseen["reference"].startswith("labtest-node:trixie-")


def test_without_mmdebstrap_the_message_says_what_to_install(
    call: Call, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"path": str(ROOT / "images" / "node"), "cache_dir": str(tmp_path), "name": "labtest-node"}
    with monkeypatch.context() as bare:
        bare.setenv("PATH", str(tmp_path))
        with pytest.raises(
            ModuleError, match=r"mmdebstrap is not installed.*scripts/engine\.sh.*MESH_BASE_IMAGE"
        ):
            call(lab_image, **arguments)


def test_what_the_image_promises_holds(image: str, engine: docker.DockerClient) -> None:
    script = (
        "id -un meshnode; test ! -s /etc/machine-id && echo no-identity; ls /etc/ssh/*key* /opt/meshnode 2>/dev/null;"
        " for program in serf tcpdump tc sshd; do command -v $program; done"
    )
    output = engine.containers.run(image, ["sh", "-c", script], remove=True).decode().split()
    assert output == [
        "meshnode",
        "no-identity",
        "/usr/bin/serf",
        "/usr/bin/tcpdump",
        "/usr/sbin/tc",
        "/usr/sbin/sshd",
    ]
    assert engine.images.get(image).attrs["Config"]["StopSignal"] == "SIGRTMIN+3"
