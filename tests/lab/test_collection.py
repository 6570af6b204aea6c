"""The repository is the collection: it works in place, by its full name, and built and installed elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir() if (path / "hosts.yml").is_file())
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def run(*command: object, cwd: Path, config: Path | None = None, collections: Path | None = None) -> str:
    """The output of one of Ansible's programs in a clean environment; fails with everything that it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}"}
    if config:
        environment["ANSIBLE_CONFIG"] = str(config)
    if collections:
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    run("ansible-galaxy", "collection", "build", ROOT, "--output-path", folder, cwd=folder)
    (built,) = folder.glob("meshnode-lab-*.tar.gz")
    return built


@pytest.fixture(scope="session")
def installed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run("ansible-galaxy", "collection", "install", archive, "--no-deps", "-p", folder, cwd=folder)
    return folder


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_site_works_in_place_from_any_folder_without_configuration(inventory: str, tmp_path: Path) -> None:
    run(
        "ansible-playbook",
        "-i",
        ROOT / "inventories" / inventory,
        ROOT / "site.yml",
        "--syntax-check",
        cwd=tmp_path,
    )


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_each_playbook_has_a_full_name_in_place(playbook: str, tmp_path: Path) -> None:
    name = f"meshnode.lab.{playbook}"
    run("ansible-playbook", name, "--syntax-check", cwd=tmp_path, config=ROOT / "ansible.cfg")


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_each_playbook_works_installed_far_from_the_repository(
    playbook: str, installed: Path, tmp_path: Path
) -> None:
    inventory = ROOT / "inventories" / "lab"
    command = ("ansible-playbook", "-i", inventory, f"meshnode.lab.{playbook}", "--syntax-check")
    run(*command, cwd=tmp_path, collections=installed)


def test_the_installed_role_finds_the_files_of_the_node_image(installed: Path, tmp_path: Path) -> None:
    command = ("ansible-playbook", "-i", ROOT / "inventories" / "lab", "meshnode.lab.lab_image", "--check")
    run(*command, cwd=tmp_path, collections=installed)


def test_the_archive_holds_what_a_node_needs_and_nothing_private(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
    assert {
        "images/node/Dockerfile",
        "meshnode/__init__.py",
        "pyproject.toml",
        "roles/lab_docker/tasks/main.yml",
    } <= names
    tops = {name.split("/")[0] for name in names}
    assert not tops & {"tests", "inventories", "collections", "artifacts", "bench", "scripts"}
    assert not {top for top in tops if top.startswith(".")}
    assert not {name for name in names if ".secrets" in name or "__pycache__" in name}


def test_every_module_is_documented(tmp_path: Path) -> None:
    names = [f"meshnode.lab.{path.stem}" for path in sorted((ROOT / "plugins" / "modules").glob("*.py"))]
    assert names
    shown = run("ansible-doc", "-t", "module", "--json", *names, cwd=tmp_path, config=ROOT / "ansible.cfg")
    assert all(f'"{name}"' in shown for name in names)
