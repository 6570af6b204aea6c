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
import importlib.util
import io
import json
import marshal
import os
import shutil
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.meshnode.lab.plugins.module_utils._wheels import (
    PackageError,
    Target,
    install_wheels,
    pinned,
)

#: Raised by one when the layout of the archive changes, so that nodes get the new one.
FORMAT = 1
#: Archives and layers kept in the cache, the newest ones.
KEEP = 6
#: What servers need beyond the rest; in every node's package, so that there is one.
EXTRAS = ("etcd",)
#: Sources of extension modules: a node has no compiler.
NOT_SHIPPED = (".c", ".cc", ".h", ".pxd", ".pyi", ".pyx")

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

from meshnode.__main__ import main

sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Project:
    """What is packed: the sources under C(root/meshnode) and what pyproject.toml asks for on any node."""

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
        version = str(table["version"])
        extras = table.get("optional-dependencies", {})
        asked = [*table["dependencies"], *(one for name in EXTRAS for one in extras.get(name, []))]
        requirements = tuple(sorted(asked))
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
            install_wheels(project.requirements, pins, target, Path(folder), wheels)
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
