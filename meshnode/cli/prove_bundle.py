"""Bundles of ``prove``: what is in one, and whether a bundle is what it was and comes to the same verdict again.

MANIFEST              SHA-256 of every other file, as sha256sum writes it
README.txt            what this is
question.json         ports, canaries with their digests, names of nodes, digests of configurations
verdict.json          the document of meshnode.prove.evidence
report.html           the same for people
captures/ control/    the captures of the mesh and of its twin in clear, byte for byte
SECRET-gossip.json    the keys of the gossip, when they were asked for
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from meshnode import __version__
from meshnode.base.errors import ConfigError, MeshError
from meshnode.cli.prove_keys import read_keys
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.conclusion import Conclusion
from meshnode.prove.evidence import EXIT_CODES, Judged, Question, differences, document, encode, judge_files
from meshnode.prove.manifest import MANIFEST, MAX_MANIFEST_BYTES, compare, parse, tell_digest
from meshnode.prove.report import render
from meshnode.runtime.evidence_bundle import SECRET, BundleWriter, archive_problem, digests, unpacked

__all__ = ["MAX_DOCUMENT_BYTES", "judge_paths", "verify_bundle", "write_bundle"]

_KEYS: Final = f"{SECRET}gossip.json"
#: Longest document of a bundle that is read: the verdict on eight ports with all the rows that a port may have.
MAX_DOCUMENT_BYTES: Final = 128 * 1024 * 1024
_MADE_BY: Final = f"meshnode {__version__}"
_README: Final = """A bundle of evidence of meshnode prove: captures of a mesh and its twin in clear, and a verdict.

report.html is for reading, verdict.json for programs. The words that were planted are in question.json; they were
random and mean nothing now. To see whether this is what it was, and whether the captures come to the same again:

    meshnode prove -verify BUNDLE

sha256sum --check MANIFEST compares the files alone. What protects the MANIFEST is its own SHA-256, which was shown
when the bundle was made: note it somewhere else.
"""


def judge_paths(paths: Sequence[tuple[str, Path]], question: Question, keyring: Keyring) -> Judged:
    """Judge files, each called by the name that comes with it."""
    with contextlib.ExitStack() as stack:
        files = []
        for name, path in paths:
            try:
                files.append((name, stack.enter_context(path.open("rb"))))
            except OSError as error:
                raise MeshError(f"can't read the capture {name}: {error.strerror}") from None
        return judge_files(files, question, keyring)


def write_bundle(
    target: Path,
    captures: Sequence[Path],
    control: Sequence[Path],
    question: Question,
    keyring: Keyring,
    *,
    key_words: Sequence[str] = (),
) -> tuple[dict[str, object], Conclusion, Judged, str]:
    """Make a bundle: its document, the conclusion, what the mesh came to, and the digest of the bundle.

    ``key_words`` are the keys in base64 when they are to be in it. Raises :class:`MeshError`.
    """
    with BundleWriter(target) as writer:
        mesh, twin = (
            judge_paths(
                [(name, writer.folder / name) for name in writer.add_captures(place, paths)],
                question,
                keyring,
            )
            for place, paths in (("captures", captures), ("control", control))
        )
        content, conclusion = document(question, mesh, twin if control else None, keyring)
        writer.write("README.txt", _README)
        writer.write("question.json", encode({"made_by": _MADE_BY, **question.as_dict()}) + "\n")
        writer.write("verdict.json", encode(content) + "\n")
        if key_words:
            writer.write(_KEYS, json.dumps(list(key_words)) + "\n")
        writer.write("report.html", render(json.loads(encode(content)), has_keys=bool(key_words)))
        return content, conclusion, mesh, tell_digest(writer.finish())


def verify_bundle(bundle: Path, keyring: Keyring) -> int:
    """Compare, judge again, and say it; the verdict's exit code when all is the same, else 1."""
    changed = [problem] if bundle.is_file() and (problem := archive_problem(bundle)) else []
    try:
        with unpacked(bundle) as folder:
            changed += _changed(folder)
            if not changed:
                return _judge_again(bundle, folder, keyring)
    except MeshError as error:
        if not changed:
            raise
        changed.append(str(error))
    for sentence in changed:
        print(sentence)
    print(f"CHANGED: {bundle} is not what it was.")
    return 1


def _changed(folder: Path) -> list[str]:
    there = digests(folder)
    try:
        with (folder / MANIFEST).open("rb") as file:
            listed = parse(file.read(MAX_MANIFEST_BYTES + 1))
    except FileNotFoundError:
        return [f"there is no {MANIFEST}: is this a bundle?"]
    except OSError as error:
        return [f"{MANIFEST} can't be read: {error.strerror}"]
    except ConfigError as error:
        return [str(error)]
    return compare(listed, there)


def _judge_again(bundle: Path, folder: Path, keyring: Keyring) -> int:
    asked, written = _load(folder, "question.json"), _load(folder, "verdict.json")
    question = Question.from_dict(asked, "question.json")
    has_keys = (folder / _KEYS).exists()
    if not keyring and has_keys:
        keyring = read_keys(str(folder / _KEYS), f"{bundle}: {_KEYS}")[0]
    listed = written.get("gossip_keys")
    needed = [str(one) for one in listed] if isinstance(listed, list) else []
    if needed and sorted(needed) != sorted(keyring.fingerprints):
        print(f"No file of {bundle} was changed.")
        print(
            f"VOID: its captures can't be judged again without the gossip keys {', '.join(needed)}: "
            f"give them with -gossip-keyring (given: {', '.join(keyring.fingerprints) or 'none'})."
        )
        return 3
    mesh, twin = (
        judge_paths(
            [(f"{place}/{path.name}", path) for path in _order(written, folder, place)], question, keyring
        )
        for place in ("captures", "control")
    )
    content, conclusion = document(question, mesh, twin if twin.captures else None, keyring)
    again: dict[str, Any] = json.loads(encode(content))
    wrong = [f"verdict.json says something else about {place}" for place in differences(written, again)]
    if asked.get("made_by") == _MADE_BY:
        page = render(again, has_keys=has_keys)
        if page.encode() != (folder / "report.html").read_bytes():
            wrong.append("report.html is not the page of this verdict")
    else:
        print(f"The report is by {str(asked.get('made_by'))[:40]}, so this version does not compare it.")
    for sentence in wrong:
        print(sentence)
    if wrong:
        print(f"CHANGED: judged again, {bundle} comes to something else: {conclusion}")
        return 1
    print(f"SHA-256 of the {MANIFEST}: {tell_digest((folder / MANIFEST).read_bytes())}")
    print(f"VERIFIED: no file of {bundle} was changed, and its captures come to the same verdict again.")
    print(conclusion)
    return EXIT_CODES[conclusion.outcome]


def _load(folder: Path, name: str) -> dict[str, Any]:
    try:
        if (folder / name).stat().st_size > MAX_DOCUMENT_BYTES:
            raise ConfigError(f"{name} of the bundle is larger than {MAX_DOCUMENT_BYTES} bytes")
        content = json.loads((folder / name).read_bytes())
    except OSError as error:
        raise MeshError(f"{name} of the bundle can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{name} of the bundle is not JSON") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{name} of the bundle is no JSON object")
    return content


def _order(written: dict[str, Any], folder: Path, place: str) -> list[Path]:
    """The captures in the order in which they were judged, as far as the verdict tells it, then the others."""
    part = written if place == "captures" else written.get("control") or {}
    listed = part.get("captures") if isinstance(part, dict) else None
    captures = listed if isinstance(listed, list) else []
    names = [str(one.get("file")) for one in captures if isinstance(one, dict)]
    there = {f"{place}/{path.name}": path for path in sorted((folder / place).glob("*"))}
    first = [there.pop(name) for name in names if name in there]
    return [*first, *there.values()]
