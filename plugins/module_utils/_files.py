# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, directories and links as they are to be: compared first, then put right in one step each.

Every kind answers C(differences) (words, empty when all is well), C(put) and C(diff) (text without secrets).
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._redact import redact


class ConflictError(Exception):
    """Something is in the way that must not be removed; the text says what to do."""


@dataclass(frozen=True)
class Ownership:
    """Who owns a path; a user that does not exist yet (check mode) is never equal to one that does."""

    owner: str = "root"
    group: str = "root"
    mode: int = 0o644

    def differences(self, path: str) -> list[str]:
        found = os.lstat(path)
        mode = stat.S_IMODE(found.st_mode)
        wrong = [f"mode {mode:04o} -> {self.mode:04o}"] if mode != self.mode else []
        if found.st_uid != uid_of(self.owner):
            wrong.append(f"owner {_name(pwd.getpwuid, found.st_uid)} -> {self.owner}")
        if found.st_gid != gid_of(self.group):
            wrong.append(f"group {_name(grp.getgrgid, found.st_gid)} -> {self.group}")
        return wrong

    def put(self, path: str | int) -> None:
        os.chown(path, uid_of(self.owner), gid_of(self.group))
        os.chmod(path, self.mode)


def uid_of(user: str) -> int:
    """The user's number; -1 when there is no such user."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return -1


def gid_of(group: str) -> int:
    """The group's number; -1 when there is no such group."""
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return -1


def _name(look_up: Any, number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


@dataclass(frozen=True)
class File:
    """A file with its content; C(content=None) leaves the content alone and looks after ownership only."""

    path: str
    content: bytes | None
    ownership: Ownership
    #: How the content may be shown: C(text), C(json) (secrets as fingerprints) or C(digest).
    show: str = "text"

    def differences(self) -> list[str]:
        found = _kind(self.path)
        if found == "absent":
            return ["create"]
        if found == "directory":
            raise ConflictError(f"{self.path}: is a directory where a file belongs: move it away")
        if found != "file":
            return [f"replace a {found}"]
        wrong = [] if self.content is None or _content(self.path) == self.content else ["content"]
        return wrong + self.ownership.differences(self.path)

    def put(self) -> None:
        """Write beside the target with its final mode, then rename: no reader sees half a file or a wider mode."""
        if self.content is None:
            self.ownership.put(self.path)
            return
        number, new = tempfile.mkstemp(dir=os.path.dirname(self.path), prefix=".new-")
        try:
            with os.fdopen(number, "wb") as out:
                self.ownership.put(number)
                out.write(self.content)
                out.flush()
                os.fsync(number)
            os.replace(new, self.path)
        except BaseException:
            os.unlink(new)
            raise

    def diff(self) -> dict[str, str]:
        before = _content(self.path) if _kind(self.path) == "file" else None
        after = before if self.content is None else self.content
        wrong = self.differences()
        notes = "".join(f"({note})\n" for note in wrong if note not in {"content", "create"})
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": "" if before is None else self.shown(before),
            "after": ("" if after is None else self.shown(after)) + notes,
        }

    def shown(self, content: bytes) -> str:
        """The content as it may be printed."""
        if self.show == "json":
            try:
                return json.dumps(redact(json.loads(content)), indent=4, sort_keys=True) + "\n"
            except ValueError:
                return f"(not JSON, {len(content)} bytes)\n"
        if self.show == "text":
            return content.decode(errors="replace")
        return f"(SHA-256 {hashlib.sha256(content).hexdigest()[:16]}, {len(content)} bytes)\n"


@dataclass(frozen=True)
class KeyringFile(File):
    """Gossip keys, a JSON list, which the agent writes too: as wanted while the file has all keys of C(content)."""

    def differences(self) -> list[str]:
        return [words for words in super().differences() if words != "content" or not self._has_all()]

    def put(self) -> None:
        if _kind(self.path) == "file" and self._has_all():
            self.ownership.put(self.path)
        else:
            super().put()

    def diff(self) -> dict[str, str]:
        kept = _kind(self.path) == "file" and self._has_all()
        return File(self.path, None if kept else self.content, self.ownership, self.show).diff()

    def _has_all(self) -> bool:
        try:
            return set(json.loads(self.content or b"[]")) <= set(json.loads(_content(self.path)))
        except (ValueError, TypeError):
            return False


@dataclass(frozen=True)
class Directory:
    """A directory; its content is somebody else's."""

    path: str
    ownership: Ownership

    def differences(self) -> list[str]:
        found = (
            "directory" if os.path.isdir(self.path) and not os.path.islink(self.path) else _kind(self.path)
        )
        if found == "absent":
            return ["create"]
        if found != "directory":
            raise ConflictError(f"{self.path}: is a {found} where a directory belongs: move it away")
        return self.ownership.differences(self.path)

    def put(self) -> None:
        if not os.path.isdir(self.path):
            os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
            os.mkdir(self.path, mode=0o700)
        self.ownership.put(self.path)

    def diff(self) -> dict[str, str]:
        wrong = self.differences()
        present = "" if wrong == ["create"] else "directory\n"
        notes = "".join(f"({note})\n" for note in wrong if note != "create")
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": present,
            "after": "directory\n" + notes,
        }


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str

    def differences(self) -> list[str]:
        found = _kind(self.path)
        if found == "absent":
            return ["create"]
        if found == "directory":
            raise ConflictError(
                f"{self.path}: is a directory where a link to {self.target} belongs: move its files there and remove it"
            )
        if found != "link":
            return [f"replace a {found}"]
        return [] if os.readlink(self.path) == self.target else [f"{os.readlink(self.path)} -> {self.target}"]

    def put(self) -> None:
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        new = f"{self.path}.new-{os.getpid()}"
        os.symlink(self.target, new)
        try:
            os.replace(new, self.path)
        except OSError:
            os.unlink(new)
            raise

    def diff(self) -> dict[str, str]:
        before = f"link to {os.readlink(self.path)}\n" if os.path.islink(self.path) else ""
        after = f"link to {self.target}\n"
        return {"before_header": self.path, "after_header": self.path, "before": before, "after": after}


@dataclass(frozen=True)
class Absent:
    """A file that must not be there."""

    path: str

    def differences(self) -> list[str]:
        return ["remove"] if os.path.lexists(self.path) else []

    def put(self) -> None:
        if os.path.isdir(self.path) and not os.path.islink(self.path):
            shutil.rmtree(self.path)
        else:
            os.unlink(self.path)

    def diff(self) -> dict[str, str]:
        return {"before_header": self.path, "after_header": self.path, "before": "present\n", "after": ""}


def _kind(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "absent"
    for name, test in (("link", stat.S_ISLNK), ("directory", stat.S_ISDIR), ("file", stat.S_ISREG)):
        if test(mode):
            return name
    return "special file"


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
