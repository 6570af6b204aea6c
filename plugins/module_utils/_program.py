# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that the controller brings to a node, such as Envoy: sent once, and known by their digests."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.meshnode.lab.plugins.module_utils._files import File
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import ServicesError


def digest_of(path: str) -> str:
    """SHA-256 of a file; empty when there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


@dataclass(frozen=True)
class Program(File):
    """A file too large for a call, known by its digest; ``sent`` is where it was put on this node, empty: nowhere."""

    digest: str = ""
    sent: str = ""

    def differences(self) -> list[str]:
        wrong = super().differences()
        return ["content", *wrong] if os.path.isfile(self.path) and self._is_another() else wrong

    def _is_another(self) -> bool:
        return os.path.islink(self.path) or digest_of(self.path) != self.digest

    def put(self) -> None:
        if self._is_another():
            number, new = tempfile.mkstemp(dir=os.path.dirname(self.path), prefix=".new-")
            os.close(number)
            try:
                shutil.copyfile(self.sent, new)
                if digest_of(new) != self.digest:
                    raise ServicesError(f"{self.path}: it arrived damaged: run the playbook again")
                self.ownership.put(new)
                os.replace(new, self.path)
            finally:
                Path(new).unlink(missing_ok=True)
        self.ownership.put(self.path)

    def diff(self) -> dict[str, str]:
        before, after = (f"(SHA-256 {text[:16] or 'none'})\n" for text in (digest_of(self.path), self.digest))
        return {"before_header": self.path, "after_header": self.path, "before": before, "after": after}
