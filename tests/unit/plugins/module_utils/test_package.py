from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _package, _release
from ansible_collections.meshnode.lab.plugins.module_utils._package import (
    build,
    byte_code,
    digest_of,
    load_project,
)
from ansible_collections.meshnode.lab.plugins.module_utils._wheels import (
    PackageError,
    Target,
    explain_pip,
    pinned,
)

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER = "3.99"


def make_project(root: Path, body: str = "x = 1\n", dependencies: str = "[]") -> Path:
    (root / "meshnode" / "cli").mkdir(parents=True, exist_ok=True)
    (root / "meshnode" / "__init__.py").write_text("")
    (root / "meshnode" / "cli" / "main.py").write_text(
        body + "def main():\n    print('hello', x)\n    return 3\n"
    )
    (root / "meshnode" / "__main__.py").write_text("from meshnode.cli.main import main")
    (root / "meshnode" / "cli" / "__pycache__").mkdir(exist_ok=True)
    (root / "meshnode" / "cli" / "__pycache__" / "main.cpython-311.pyc").write_bytes(b"stale")
    (root / "meshnode" / ".hidden").write_text("not packed")
    (root / "pyproject.toml").write_text(
        f'[project]\nname = "meshnode"\nversion = "1.2"\ndependencies = {dependencies}\n'
    )
    return root


def no_pip(*_: object) -> None:
    raise AssertionError("pip was called")


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar}


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "two"):
        project = load_project(make_project(tmp_path / name))
        archives.append(build(project, Target(HERE), tmp_path / f"cache-{name}"))
    assert archives[0].path.name == archives[1].path.name
    assert archives[0].path.read_bytes() == archives[1].path.read_bytes()
    assert all(package.built for package in archives)


def test_members_are_roots_sorted_and_of_time_zero(tmp_path: Path) -> None:
    package = build(load_project(make_project(tmp_path)), Target(HERE), tmp_path / "cache")
    found = members(package.path)
    assert list(found) == sorted(found)
    assert {(m.uid, m.gid, m.uname, m.mtime) for m in found.values()} == {(0, 0, "root", 0)}
    assert {name for name, member in found.items() if member.mode & 0o111} == {"bin/consul", "bin/meshnode"}
    assert "lib/meshnode/.hidden" not in found


def test_the_web_page_is_shipped_with_the_package() -> None:
    shipped = load_project(Path(__file__).parents[4]).sources
    wanted = {f"meshnode/ui/static/{name}" for name in ("index.html", "core/api.js", "icon.svg")}
    assert wanted <= set(shipped)


def test_byte_code_is_shipped_for_this_python_and_for_no_other(tmp_path: Path) -> None:
    project = load_project(make_project(tmp_path))
    here, other = (members(build(project, Target(v), tmp_path / "cache").path) for v in (HERE, OTHER))
    compiled = importlib.util.cache_from_source("lib/meshnode/cli/main.py")
    assert compiled in here
    assert not [name for name in other if name.endswith(".pyc")]


def test_byte_code_is_loaded_without_a_look_at_the_source() -> None:
    head = byte_code(b"x = 1\n", "a.py")[:16]
    assert head[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(head[4:8], "little") == 0b01  # PEP 552: by hash, unchecked
    assert head[8:] == importlib.util.source_hash(b"x = 1\n")


def test_an_archive_that_exists_is_not_built_again(tmp_path: Path) -> None:
    project = load_project(make_project(tmp_path))
    first, second = (build(project, Target(HERE), tmp_path / "cache") for _ in range(2))
    assert (first.built, second.built) == (True, False)
    assert first.digest == second.digest


def test_check_mode_names_the_archive_and_makes_nothing(tmp_path: Path) -> None:
    project = load_project(make_project(tmp_path))
    planned = build(project, Target(HERE), tmp_path / "cache", pretend=True)
    assert planned.built
    assert not (tmp_path / "cache").exists()
    assert planned.path == build(project, Target(HERE), tmp_path / "cache").path


def test_a_changed_source_uses_the_dependencies_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"

    def fake_pip(_requirements: object, _pins: object, _target: object, _folder: Path, wheels: Path) -> None:
        (wheels / "lib.dist-info").mkdir(parents=True)
        (wheels / "dependency.py").write_text("y = 2\n")
        (wheels / "lib.dist-info" / "RECORD").write_text("has paths of this machine in it")

    monkeypatch.setattr(_package, "install_wheels", fake_pip)
    first = build(
        load_project(make_project(tmp_path, dependencies='["surely-not-installed"]')), Target(HERE), cache
    )
    monkeypatch.setattr(_package, "install_wheels", no_pip)
    second = build(
        load_project(make_project(tmp_path, "x = 2\n", dependencies='["surely-not-installed"]')),
        Target(HERE),
        cache,
    )
    assert second.built
    assert first.digest != second.digest
    assert "lib/dependency.py" in members(second.path)
    assert "lib/lib.dist-info/RECORD" not in members(second.path)


@pytest.mark.parametrize(
    "change",
    [
        {"python_version": OTHER},
        {"architecture": "aarch64"},
        {"interpreter": "/usr/local/bin/python3"},
    ],
)
def test_the_digest_covers_the_target(tmp_path: Path, change: dict[str, str]) -> None:
    project = load_project(make_project(tmp_path))
    assert digest_of(project, (), Target()) != digest_of(project, (), Target(**change))


def test_the_digest_covers_sources_requirements_and_pins(tmp_path: Path) -> None:
    base = digest_of(load_project(make_project(tmp_path / "a")), (), Target())
    edited = digest_of(load_project(make_project(tmp_path / "b", "x = 2\n")), (), Target())
    wanting = digest_of(load_project(make_project(tmp_path / "c", dependencies='["b>1"]')), (), Target())
    pinned_ = digest_of(load_project(make_project(tmp_path / "d")), ("b==2",), Target())
    assert len({base, edited, wanting, pinned_}) == 4


def test_pins_are_what_the_controller_runs_with_what_that_needs() -> None:
    pins = pinned(["cryptography>=43"], Target(HERE))
    names = [pin.partition("==")[0] for pin in pins]
    assert "cryptography" in names
    assert "cffi" in names  # needed by cryptography
    assert pinned(["surely-not-installed>=1"], Target(HERE)) == ()
    assert pinned(['cryptography>=43; sys_platform == "win32"'], Target(HERE)) == ()


def test_the_unpacked_package_runs_and_is_found_intact(tmp_path: Path) -> None:
    target = Target(HERE, interpreter=sys.executable)
    package = build(load_project(make_project(tmp_path)), target, tmp_path / "cache")
    (tmp_path / "releases").mkdir()
    _release.unpack(str(package.path), str(tmp_path / "releases"), package.digest)
    release = tmp_path / "releases" / package.digest
    assert _release.fault_of(str(release), package.digest) == ""
    (tmp_path / "consul").symlink_to(release / "bin" / "consul")
    done = subprocess.run([tmp_path / "consul"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "hello 1\n"), done.stderr


def test_a_release_without_byte_code_is_compiled_on_the_node(tmp_path: Path) -> None:
    package = build(load_project(make_project(tmp_path)), Target(OTHER), tmp_path / "cache")
    (tmp_path / "releases").mkdir()
    _release.unpack(str(package.path), str(tmp_path / "releases"), package.digest)
    lib = tmp_path / "releases" / package.digest / "lib"
    assert Path(importlib.util.cache_from_source(str(lib / "meshnode" / "cli" / "main.py"))).is_file()


def test_a_damaged_archive_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    package = build(load_project(make_project(tmp_path)), Target(HERE), tmp_path / "cache")
    releases = tmp_path / "releases"
    releases.mkdir()
    data = package.path.read_bytes()
    package.path.write_bytes(data[: len(data) // 2])
    with pytest.raises(_release.ReleaseError, match=r"cannot unpack|damaged"):
        _release.unpack(str(package.path), str(releases), package.digest)
    assert list(releases.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "lib/../../outside"])
def test_a_member_outside_of_the_package_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "evil.tar.gz"
    archive.write_bytes(gzip.compress(_package.tar_member(name, b"x", 0o644) + bytes(1024)))
    (tmp_path / "releases").mkdir()
    with pytest.raises(_release.ReleaseError, match="not a file inside"):
        _release.unpack(str(archive), str(tmp_path / "releases"), "d")
    assert not (tmp_path / "outside").exists()


def test_a_link_in_the_archive_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        link = tarfile.TarInfo("lib/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    archive = tmp_path / "evil.tar.gz"
    archive.write_bytes(stream.getvalue())
    (tmp_path / "releases").mkdir()
    with pytest.raises(_release.ReleaseError, match="not a file inside"):
        _release.unpack(str(archive), str(tmp_path / "releases"), "d")


@pytest.mark.parametrize("version", ["3", "3.11.2", "2.7", "three", ""])
def test_a_python_version_that_is_not_minor_is_refused(version: str) -> None:
    with pytest.raises(PackageError, match="minor version"):
        Target(version)


def test_a_folder_without_the_package_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"pyproject\.toml"):
        load_project(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\ndependencies = []\n')
    with pytest.raises(PackageError, match="meshnode: the Python package is not there"):
        load_project(tmp_path)


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("/usr/bin/python3: No module named pip", "has no pip"),
        (
            "WARNING: Retrying after NewConnectionError\nERROR: Could not find a version",
            "cannot reach a package index",
        ),
        ("ERROR: No matching distribution found for uvloop", "no wheel for Python 3.11 on x86_64"),
        ("ERROR: disk is full", "could not fetch the agent's dependencies: disk is full"),
    ],
)
def test_errors_of_pip_say_what_to_do(stderr: str, said: str) -> None:
    assert said in explain_pip(stderr, Target())


def test_errors_of_pip_are_short_and_without_the_password_of_the_index() -> None:
    text = explain_pip(f"ERROR: https://user:hunter2@index.example/simple {'x' * 5000}", Target())
    assert "hunter2" not in text
    assert len(text) < 700


def test_the_manifest_lists_every_file(tmp_path: Path) -> None:
    package = build(load_project(make_project(tmp_path)), Target(HERE), tmp_path / "cache")
    with tarfile.open(package.path) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    manifest = json.loads(contents.pop("package.json"))
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    assert manifest["digest"] == package.digest


def test_what_servers_need_for_etcd_is_in_the_package_of_every_node(tmp_path: Path) -> None:
    root = make_project(tmp_path, dependencies='["msgpack>=1"]')
    with (root / "pyproject.toml").open("a") as table:
        table.write('[project.optional-dependencies]\netcd = ["grpclib>=0.4"]\ndev = ["ruff"]\n')
    assert load_project(root).requirements == ("grpclib>=0.4", "msgpack>=1")
