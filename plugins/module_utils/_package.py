# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One archive that runs the agent on a node which has a Python and nothing else.

The archive is two gzip members one after the other: the dependencies (slow to make, seldom new) and the sources (made
anew after each edit). A reader sees one tar stream. Bytes depend on the inputs alone: names sorted, times zero.

Runs on the controller only; the node's half is C(_release.py).
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import marshal
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: Raised by one when the layout of the archive changes, so that nodes get the new one.
FORMAT = 1
#: Archives and layers kept in the cache, the newest ones.
KEEP = 6
#: glibc levels whose wheels run on Debian 11 and later, newest first.
MANYLINUX = ("2_28", "2_27", "2_26", "2_24", "2_17", "2014")
#: Sources of extension modules: a node has no compiler.
NOT_SHIPPED = (".c", ".cc", ".h", ".pxd", ".pyi", ".pyx")
PIP_TIMEOUT = 600

LAUNCHER = """\
#!{interpreter} -BIS
import os
import sys

release = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, release + "/lib")
os.environ["MESHNODE_PACKAGE_DIGEST"] = os.path.basename(release)
# Where the command line finds the agent's API when plain HTTP is off; what the caller has set wins.
try:
    with open("/etc/meshnode/client.env") as settings:
        for line in settings:
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                os.environ.setdefault(name, value)
except OSError:
    pass

from meshnode.cli.main import main

sys.exit(main())
"""


class PackageError(Exception):
    """The archive cannot be made; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Target:
    """The Python that will run the package."""

    python_version: str = "3.11"
    architecture: str = "x86_64"
    interpreter: str = "/usr/bin/python3"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.\d{1,2}", self.python_version):
            raise PackageError(
                f'python_version: "{self.python_version}" is not a minor version: write it quoted, such as "3.11"'
            )
        if not self.interpreter.startswith("/") or " " in self.interpreter:
            raise PackageError(f'interpreter: "{self.interpreter}" is not an absolute path without spaces')

    @property
    def abi(self) -> str:
        return "cp" + self.python_version.replace(".", "")

    @property
    def tag(self) -> str:
        return "py" + self.python_version.replace(".", "")

    @property
    def platforms(self) -> list[str]:
        levels = (name if name == "2014" else "_" + name for name in MANYLINUX)
        return [f"manylinux{level}_{self.architecture}" for level in levels]

    @property
    def compiled_here(self) -> bool:
        """Whether this interpreter writes the byte code that the target reads."""
        ours = f"{sys.version_info.major}.{sys.version_info.minor}"
        return sys.implementation.name == "cpython" and ours == self.python_version


@dataclass(frozen=True, slots=True)
class Project:
    """What is packed: the sources under C(root/meshnode) and what pyproject.toml asks for at run time."""

    version: str
    requirements: tuple[str, ...]
    #: name -> content, read once: an edit in the middle of a run can't give a package that its digest doesn't name.
    sources: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Package:
    """A finished (or, in check mode, a planned) archive."""

    path: Path
    digest: str
    version: str
    target: Target
    distributions: tuple[str, ...]
    built: bool


def load_project(root: Path) -> Project:
    """Read the project at C(root); raises PackageError when it is not one."""
    try:
        table = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        version, requirements = str(table["version"]), tuple(sorted(table["dependencies"]))
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise PackageError(f"{root / 'pyproject.toml'}: cannot read [project] from it: {error!r}") from error
    sources = {name: (root / name).read_bytes() for name in sorted(_sources(root / "meshnode", root))}
    if "meshnode/__init__.py" not in sources:
        raise PackageError(
            f"{root / 'meshnode'}: the Python package is not there: set `source` to a checkout of meshnode"
        )
    return Project(version, requirements, sources)


def _sources(folder: Path, root: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(root)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            yield name.as_posix()


def pinned(requirements: Iterable[str], target: Target) -> tuple[str, ...]:
    """C(name==version) of everything that the requirements bring, in the versions that this controller runs itself.

    So that the nodes get what was tested here. What is not installed here stays unpinned: pip chooses.
    """
    environment = _environment(target)
    found: dict[str, str] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate(environment)):
            continue
        try:
            here = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if here.version not in wanted.specifier:
            continue
        found[name] = f"{name}=={here.version}"
        waiting.extend(Requirement(text) for text in here.requires or ())
    return tuple(sorted(found.values()))


def _environment(target: Target) -> dict[str, str]:
    return {
        **default_environment(),
        "extra": "",
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": target.architecture,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{target.python_version}.0",
        "python_version": target.python_version,
        "sys_platform": "linux",
    }


def digest_of(project: Project, pins: Iterable[str], target: Target) -> str:
    """16 hex digits of SHA-256 over sources, requirements, pins and target: equal inputs, equal package."""
    head = [FORMAT, target.python_version, target.architecture, target.interpreter, LAUNCHER, project.version]
    digest = hashlib.sha256(json.dumps([*head, *project.requirements, *pins]).encode())
    for name, data in project.sources.items():
        digest.update(b"\0" + name.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()[:16]


def build(project: Project, target: Target, cache: Path, *, pretend: bool = False) -> Package:
    """Return the archive for C(target), made now unless the cache has it. C(pretend) makes nothing."""
    pins = pinned(project.requirements, target)
    digest = digest_of(project, pins, target)
    path = cache / f"meshnode-{project.version}-{digest}-{target.tag}.tar.gz"
    if path.is_file() or pretend:
        return Package(path, digest, project.version, target, pins, built=not path.is_file())
    with _locked(cache):
        if path.is_file():  # made by another run while this one waited
            return Package(path, digest, project.version, target, pins, built=False)
        layer, files = _dependencies(project, pins, target, cache)
        members = _own_members(project, digest, pins, target, files)
        _write(path, layer, gzip.compress(b"".join(members) + bytes(1024), compresslevel=6, mtime=0))
        _prune(cache)
    return Package(path, digest, project.version, target, pins, built=True)


def _own_members(
    project: Project, digest: str, pins: tuple[str, ...], target: Target, files: dict[str, str]
) -> list[bytes]:
    contents: dict[str, bytes] = {}
    for name, data in project.sources.items():
        contents[f"lib/{name}"] = data
        if target.compiled_here and name.endswith(".py"):
            contents[f"lib/{_cached_name(name, target)}"] = byte_code(data, name)
    metadata = f"Metadata-Version: 2.1\nName: meshnode\nVersion: {project.version}\n"
    contents[f"lib/meshnode-{project.version}.dist-info/METADATA"] = metadata.encode()
    launcher = LAUNCHER.format(interpreter=target.interpreter).encode()
    contents["bin/consul"] = contents["bin/meshnode"] = launcher
    manifest = {
        "compiled": target.compiled_here,
        "digest": digest,
        "distributions": list(pins),
        "files": files | {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        "python_version": target.python_version,
        "version": project.version,
    }
    contents["package.json"] = json.dumps(manifest, indent=1, sort_keys=True).encode()
    return [
        tar_member(name, contents[name], 0o755 if name.startswith("bin/") else 0o644)
        for name in sorted(contents)
    ]


def tar_member(name: str, data: bytes, mode: int) -> bytes:
    """One file of a tar stream, owned by root, of time zero."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uname, info.gname = len(data), mode, "root", "root"
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def byte_code(source: bytes, name: str) -> bytes:
    """A .pyc that Python loads without looking at the source again (PEP 552, unchecked hash)."""
    code = compile(source, name, "exec", dont_inherit=True)
    flags = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(source) + marshal.dumps(code)


def _cached_name(name: str, target: Target) -> str:
    folder, _, file = name.rpartition("/")
    cached = f"__pycache__/{file.removesuffix('.py')}.{target.abi.replace('cp', 'cpython-')}.pyc"
    return f"{folder}/{cached}" if folder else cached


def _dependencies(
    project: Project, pins: tuple[str, ...], target: Target, cache: Path
) -> tuple[bytes, dict[str, str]]:
    """The compressed tar stream of the dependencies (without an end mark) and the digest of each of its files."""
    key = json.dumps(
        [
            FORMAT,
            target.python_version,
            target.architecture,
            target.compiled_here,
            *project.requirements,
            *pins,
        ]
    )
    layer = cache / f"dependencies-{hashlib.sha256(key.encode()).hexdigest()[:16]}-{target.tag}.layer"
    index = layer.with_suffix(".json")
    if layer.is_file() and index.is_file():
        os.utime(layer)
        return layer.read_bytes(), json.loads(index.read_text())
    with tempfile.TemporaryDirectory(dir=cache, prefix=".pip-") as folder:
        wheels = Path(folder, "lib")
        if project.requirements:
            _pip_install(project.requirements, pins, target, Path(folder), wheels)
        contents = dict(_installed(wheels, target))
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    stream = gzip.compress(
        b"".join(tar_member(n, contents[n], 0o644) for n in sorted(contents)), compresslevel=6, mtime=0
    )
    _write(index, json.dumps(files, indent=1, sort_keys=True).encode())
    _write(layer, stream)
    return stream, files


def _installed(wheels: Path, target: Target) -> Iterator[tuple[str, bytes]]:
    for path in sorted(wheels.rglob("*")):
        name = path.relative_to(wheels).as_posix()
        record = ".dist-info/" in name and path.name in {
            "RECORD",
            "INSTALLER",
            "REQUESTED",
            "direct_url.json",
        }
        if not path.is_file() or name.startswith("bin/") or record or path.suffix in {".pyc", *NOT_SHIPPED}:
            continue
        data = path.read_bytes()
        yield f"lib/{name}", data
        if target.compiled_here and path.suffix == ".py":
            try:
                yield f"lib/{_cached_name(name, target)}", byte_code(data, name)
            except (SyntaxError, ValueError):
                continue  # a template or a file for another Python: nothing that this one imports


def _pip_install(
    requirements: tuple[str, ...], pins: tuple[str, ...], target: Target, folder: Path, wheels: Path
) -> None:
    folder.joinpath("requirements.txt").write_text("\n".join(requirements) + "\n")
    folder.joinpath("constraints.txt").write_text("\n".join(pins) + "\n")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += [
        "--no-compile",
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={target.python_version}",
    ]
    command += [f"--abi={abi}" for abi in (target.abi, "abi3", "none")]
    command += [f"--platform={platform}" for platform in target.platforms]
    command += [
        "--retries=2",
        "--timeout=15",
        f"--target={wheels}",
        f"--requirement={folder / 'requirements.txt'}",
    ]
    command += [f"--constraint={folder / 'constraints.txt'}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise PackageError(
            f"pip had not finished after {PIP_TIMEOUT} s: see that the package index answers"
        ) from None
    if done.returncode:
        raise PackageError(explain_pip(done.stderr, target))


def explain_pip(stderr: str, target: Target) -> str:
    """What pip's error means here, in a sentence or two that say what to do."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")] or lines[-2:]
    brief = re.sub(r"\s*\(from versions: [^)]{80,}\)", "", "; ".join(dict.fromkeys(errors)))[:500]
    brief = re.sub(r"//[^/@\s]+@", "//", brief)  # an index address may carry a password
    if "No module named pip" in stderr:
        return f"{sys.executable} has no pip: install it (python3 -m ensurepip), it fetches the agent's dependencies"
    if re.search(
        r"NewConnectionError|name resolution|Connection refused|Network is unreachable|Read timed out|ProxyError",
        stderr,
    ):
        return f"pip cannot reach a package index from here: check the network, proxy or pip.conf. pip says: {brief}"
    if "No matching distribution" in stderr or "ResolutionImpossible" in stderr:
        return (
            f"there is no wheel for Python {target.python_version} on {target.architecture}:"
            f" check mesh_node_python_version and mesh_node_architecture against the node. pip says: {brief}"
        )
    return f"pip could not fetch the agent's dependencies: {brief}"


def _write(path: Path, *parts: bytes) -> None:
    """Write all or nothing: a run killed here leaves no half archive."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as new:
        try:
            for part in parts:
                shutil.copyfileobj(io.BytesIO(part), new)
            new.flush()
            os.replace(new.name, path)
        except BaseException:
            os.unlink(new.name)
            raise


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prune(cache: Path) -> None:
    for pattern in ("meshnode-*.tar.gz", "dependencies-*.layer"):
        for old in sorted(cache.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)[KEEP:]:
            old.unlink(missing_ok=True)
            old.with_suffix(".json").unlink(missing_ok=True)
    for left in cache.glob(".pip-*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in cache.glob(".new-*"):
        left.unlink(missing_ok=True)
