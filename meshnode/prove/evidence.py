"""From captures to one document: the verdict on a mesh, and on its twin in clear as the negative control.

The document is JSON data with a version of its form, and the same for the same files wherever it is made: that is what
a bundle is verified by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, BinaryIO, Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.capture import Capture
from meshnode.prove.conclusion import (
    Conclusion,
    Outcome,
    at_sockets,
    conclude,
    conclude_control,
    with_control,
)
from meshnode.prove.timeline import Timeline
from meshnode.prove.verdict import PortVerdict, judge

__all__ = ["EXIT_CODES", "SCHEMA", "Judged", "Question", "differences", "document", "encode", "judge_files"]

SCHEMA: Final = "meshnode.prove/1"
EXIT_CODES: Final = {Outcome.PROVED: 0, Outcome.FAILED: 2, Outcome.VOID: 3}
#: Differences between two documents that are told.
MAX_DIFFERENCES: Final = 12


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of captures: everything but the captures and the keys.

    ``readable`` ports may be read, ``required`` ones must have carried something. ``nodes`` are names by address, and
    ``configs`` SHA-256 by name of a configuration file: both are passed on and decide nothing.
    """

    ports: tuple[int, ...]
    readable: tuple[int, ...] = ()
    required: tuple[int, ...] = ()
    canaries: tuple[str, ...] = ()
    nodes: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """JSON data; canaries come with their digests, by which they can be named elsewhere."""
        return {
            "ports": list(self.ports),
            "readable": list(self.readable),
            "required": list(self.required),
            "canaries": [
                {"word": word, "sha256": hashlib.sha256(word.encode()).hexdigest()} for word in self.canaries
            ],
            "nodes": dict(sorted(self.nodes.items())),
            "configs": dict(sorted(self.configs.items())),
        }

    @classmethod
    def from_dict(cls, data: object, where: str) -> Question:
        """Read :meth:`as_dict` again; raises :class:`ConfigError` that names ``where`` and the key."""
        if not isinstance(data, dict):
            raise ConfigError(f"{where} is no JSON object")
        found: dict[str, Any] = {}
        for one in fields(cls):
            value = data.get(one.name)
            if one.name in {"nodes", "configs"}:
                ok = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
            elif one.name == "canaries":
                ok = isinstance(value, list) and all(
                    isinstance(entry, dict) and isinstance(entry.get("word"), str) for entry in value
                )
                value = [entry["word"] for entry in value] if ok and isinstance(value, list) else None
            else:
                ok = isinstance(value, list) and all(type(v) is int and 0 < v < 65536 for v in value)
            if not ok:
                raise ConfigError(f"{where}: {one.name} is not what a bundle has there")
            found[one.name] = tuple(value) if isinstance(value, list) else value
        return cls(**found)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a set of captures came to, and when each port spoke."""

    verdicts: list[PortVerdict]
    captures: list[Capture]
    timeline: Timeline

    def problems(self) -> list[str]:
        """What in the captures was not judged."""
        return [problem for capture in self.captures for problem in capture.problems()]

    def as_dict(self) -> dict[str, object]:
        """JSON data."""
        return {
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
            "captures": [
                {
                    "file": capture.name,
                    "frames": capture.frames,
                    "skipped": capture.skipped,
                    "damaged": capture.damaged,
                    "lost_fragments": capture.lost,
                    "cut": capture.cut,
                    **({"tapped": True} if capture.tapped else {}),
                }
                for capture in self.captures
            ],
            "timeline": self.timeline.as_dict(),
        }


def judge_files(files: Iterable[tuple[str, BinaryIO]], question: Question, keyring: Keyring) -> Judged:
    """Judge open captures; raises :class:`MeshError` for one that can't be read."""
    captures = [Capture(file, name) for name, file in files]
    timeline = Timeline()
    try:
        verdicts = judge(
            (capture.packets() for capture in captures), question.ports, question.canaries, keyring, timeline
        )
    except OSError as error:
        raise MeshError(f"can't read the captures: {error.strerror}") from None
    return Judged(verdicts, captures, timeline)


def document(
    question: Question,
    mesh: Judged,
    control: Judged | None,
    keyring: Keyring,
    *,
    expect: str = "encrypted",
    needs_control: bool = True,
) -> tuple[dict[str, object], Conclusion]:
    """The document and its conclusion; without a ``control``, and with ``needs_control``, it is void at best."""
    against: dict[str, object] | None = None
    if expect == "plaintext":
        conclusion = conclude_control(mesh.verdicts, question.canaries, question.required, mesh.problems())
    else:
        conclusion = conclude(
            mesh.verdicts, question.canaries, question.readable, question.required, mesh.problems()
        )
        counter = None
        if control is not None:
            counter = conclude_control(control.verdicts, question.canaries, (), control.problems())
            against = {"outcome": counter.outcome, "reasons": list(counter.reasons), **control.as_dict()}
        if counter is not None or needs_control:
            conclusion = with_control(conclusion, counter)
    if any(capture.tapped for capture in mesh.captures):
        conclusion = at_sockets(conclusion)
    content = {
        "schema": SCHEMA,
        "outcome": conclusion.outcome,
        "reasons": list(conclusion.reasons),
        "exit": EXIT_CODES[conclusion.outcome],
        "expect": expect,
        **mesh.as_dict(),
        "control": against,
        "question": question.as_dict(),
        "gossip_keys": list(keyring.fingerprints),
    }
    return content, conclusion


def encode(content: Mapping[str, object]) -> str:
    """The document as text."""
    return json.dumps(content, indent=4)


def differences(first: object, second: object, place: str = "") -> list[str]:
    """Where two documents differ, at most ``MAX_DIFFERENCES`` places such as ``verdicts[2].packets``."""
    if isinstance(first, dict) and isinstance(second, dict):
        pairs = [
            (f"{place}.{key}".lstrip("."), first.get(key), second.get(key))
            for key in sorted({*first, *second})
        ]
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = [
            (f"{place}[{i}]", one, other) for i, (one, other) in enumerate(zip(first, second, strict=True))
        ]
    else:
        return [] if first == second and type(first) is type(second) else [place or "the whole"]
    found: list[str] = []
    for where, one, other in pairs:
        found += differences(one, other, where)
        if len(found) >= MAX_DIFFERENCES:
            return found[:MAX_DIFFERENCES]
    return found
