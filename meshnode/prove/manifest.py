"""The list of a bundle's files with the SHA-256 of each, in the form that ``sha256sum --check`` reads.

It has one way to be written, so that no byte of it can change unnoticed: a changed digest no longer fits its file, a
changed name is a file that is missing and one too many, and everything else is an error of form.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from meshnode.base.errors import ConfigError

__all__ = [
    "MANIFEST",
    "MAX_FILES",
    "MAX_MANIFEST_BYTES",
    "compare",
    "is_member",
    "parse",
    "serialize",
    "tell_digest",
]

MANIFEST: Final = "MANIFEST"
#: Files of one bundle.
MAX_FILES: Final = 4096
#: The longest list of so many files: a digest, two spaces, three parts of a name and their ends.
MAX_MANIFEST_BYTES: Final = MAX_FILES * (64 + 2 + 3 * 129)
_NAME: Final = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}/){0,2}[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_LINE: Final = re.compile(rf"([0-9a-f]{{64}})  ({_NAME.pattern})")


def is_member(name: str) -> bool:
    """Whether ``name`` may be that of a file in a bundle: plain characters, at most two directories, nothing hidden."""
    return _NAME.fullmatch(name) is not None


def serialize(digests: Mapping[str, str]) -> bytes:
    """The text of the list for names and their digests in hex."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def parse(data: bytes) -> dict[str, str]:
    """Digests by name. Raises :class:`ConfigError` naming the line that :func:`serialize` would not have written."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise ConfigError(f"{MANIFEST} was changed: it is longer than {MAX_MANIFEST_BYTES} bytes")
    lines = data.decode("latin-1").split("\n")
    found: dict[str, str] = {}
    for number, line in enumerate(lines[:-1], 1):
        fits = _LINE.fullmatch(line)
        if fits is None:
            raise ConfigError(f"{MANIFEST} line {number} was changed: it is no SHA-256 with a name of a file")
        if found and fits[2] <= next(reversed(found)):
            raise ConfigError(f"{MANIFEST} line {number} was changed: {fits[2]} is not in order")
        found[fits[2]] = fits[1]
    if lines[-1] or not found:
        raise ConfigError(f"{MANIFEST} was changed: its last line is cut off")
    if len(found) > MAX_FILES:
        raise ConfigError(f"{MANIFEST} names {len(found)} files: a bundle has at most {MAX_FILES}")
    return found


def compare(listed: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What differs between the list and the files that are there, a sentence each."""
    found = []
    for name in sorted({*listed, *there}):
        if name not in there:
            found.append(f"{name} is missing")
        elif name not in listed:
            found.append(f"{name} is not in the {MANIFEST}")
        elif listed[name] != there[name]:
            found.append(
                f"{name} was changed: its SHA-256 is {there[name][:16]}..., not {listed[name][:16]}..."
            )
    return found


def tell_digest(manifest: bytes) -> str:
    """The digest of the whole bundle: that of its list, to be noted somewhere else."""
    return hashlib.sha256(manifest).hexdigest()
