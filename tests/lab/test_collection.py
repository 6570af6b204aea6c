"""The repository is the collection: it runs in place, by its full name, and built and installed elsewhere."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.lab.labs import BIN, ROOT, Lab, Run, environment

INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir() if (path / "hosts.yml").is_file())
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
#: What lies about in a checkout that was worked in, and is nobody else's business.
PRIVATE = (
    ".secrets/dc1/gossip.json",
    ".venv/pyvenv.cfg",
    "artifacts/verdict.txt",
    "dist/meshnode.whl",
    "inventories/lab/.secrets/dc1/ca/1/ca.key",
    "meshnode-lab-0.0.1.tar.gz",
    "meshnode/__pycache__/x.cpython-311.pyc",
    "playbooks/site.retry",
    "plugins/modules/__pycache__/x.cpython-311.pyc",
    "tests/x.py",
)


def run(*command: object, cwd: Path, config: Path | None = None, collections: Path | None = None) -> str:
    """The output of one of Ansible's programs in a clean environment; fails with everything that it said."""
    done = subprocess.run(
        [str(BIN / str(command[0])), *(str(word) for word in command[1:])],
        cwd=cwd,
        env=environment(config, collections),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def archive(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    planted = [checkout / name for name in PRIVATE if not (checkout / name).exists()]
    for path in planted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("private\n")
    run("ansible-galaxy", "collection", "build", checkout, "--output-path", folder, cwd=folder)
    for path in planted:
        path.unlink()
    (built,) = folder.glob("meshnode-lab-*.tar.gz")
    return built


@pytest.fixture(scope="session")
def installed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run(
        "ansible-galaxy", "collection", "install", archive, "--offline", "--no-deps", "-p", folder, cwd=folder
    )
    return folder


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_site_fits_each_inventory_in_place_without_configuration(inventory: str, tmp_path: Path) -> None:
    words = ("-i", ROOT / "inventories" / inventory, ROOT / "site.yml", "--syntax-check")
    run("ansible-playbook", *words, cwd=tmp_path)


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_each_playbook_has_a_full_name_in_place(playbook: str, tmp_path: Path) -> None:
    name = f"meshnode.lab.{playbook}"
    run("ansible-playbook", name, "--syntax-check", cwd=tmp_path, config=ROOT / "ansible.cfg")


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_each_playbook_has_a_full_name_installed(playbook: str, installed: Path, tmp_path: Path) -> None:
    inventory = ROOT / "inventories" / "lab"
    words = ("-i", inventory, f"meshnode.lab.{playbook}", "--syntax-check")
    run("ansible-playbook", *words, cwd=tmp_path, collections=installed)


@pytest.mark.lab
@pytest.mark.timeout(300)
def test_all_three_forms_make_the_same_mesh(small_lab: Lab, installed: Path, tmp_path: Path) -> None:
    """The first form makes it; no change by the others means the same image, package, files and decisions."""
    inventory = ("-i", small_lab.inventory)
    small_lab.fresh()
    in_place = run("ansible-playbook", *inventory, small_lab.checkout / "site.yml", cwd=tmp_path)
    nodes = set(small_lab.nodes)
    assert {name: small_lab.alive(name) for name in nodes} == dict.fromkeys(nodes, nodes)
    config = small_lab.checkout / "ansible.cfg"
    by_name = run("ansible-playbook", *inventory, "meshnode.lab.site", cwd=tmp_path, config=config)
    elsewhere = run("ansible-playbook", *inventory, "meshnode.lab.site", cwd=tmp_path, collections=installed)

    assert all(Run(0, in_place).changed[name] > 0 for name in nodes)
    untouched = dict.fromkeys(nodes | {"localhost"}, 0)
    assert [Run(0, said).changed_everywhere for said in (by_name, elsewhere)] == [untouched, untouched]
    assert not list(tmp_path.iterdir())


def test_the_archive_holds_the_collection_and_nothing_private(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
    folders = ("images", "meshnode", "meta", "playbooks", "plugins", "roles")
    assert {name.split("/")[0] for name in names} == {
        *folders,
        *("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "FILES.json", "LICENSE", "MANIFEST.json"),
        *("README.md", "pyproject.toml"),
    }
    wanted = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sorted(wanted - names) == []
    assert sorted({name for name in names if Path(name).suffix} & set(PRIVATE)) == []
    parts = {part for name in names for part in name.split("/")}
    assert sorted(part for part in parts if part.startswith(".") or part == "__pycache__") == []


def test_every_module_is_documented(tmp_path: Path) -> None:
    names = [f"meshnode.lab.{path.stem}" for path in sorted((ROOT / "plugins" / "modules").glob("*.py"))]
    assert names
    shown = run("ansible-doc", "-t", "module", "--json", *names, cwd=tmp_path, config=ROOT / "ansible.cfg")
    assert all(f'"{name}"' in shown for name in names)
