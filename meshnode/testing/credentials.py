"""What a mesh is sealed with: a CA of its own, certificates, a gossip key, a management token."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from meshnode.base.gossip_key import generate_gossip_key
from meshnode.pki.authority import Authority
from meshnode.pki.keys import generate_key, serialize_key
from meshnode.pki.leaf import Role, role_profile
from meshnode.pki.request import create_request

__all__ = ["Credentials", "new_token", "write_private"]

#: A mesh for tests lives for minutes; this is enough for a debugger left open over a week-end.
LIFETIME_DAYS = 7


def new_token() -> str:
    """A secret for a management token: a UUID."""
    return str(uuid.uuid4())


def write_private(path: Path, text: str) -> Path:
    """Write ``text`` to ``path``, readable by its owner only."""
    with open(path, "w", encoding="utf-8", opener=_owner_only) as stream:
        stream.write(text)
    return path


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Credentials:
    """A CA that was made just now, and the gossip key of its mesh; ``directory`` gets the files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = Authority.create(
            "meshnode testing", at=datetime.now(UTC), entropy=os.urandom, days=LIFETIME_DAYS
        )
        self.gossip_key = generate_gossip_key(os.urandom)
        self.ca_file = write_private(directory / "ca.pem", self._authority.certificate_pem)

    def issue(self, name: str, role: Role, datacenter: str, host: str = "") -> tuple[Path, Path]:
        """Files of a new certificate and its key."""
        profile = role_profile(role, datacenter=datacenter, ip=[host] if host else [])
        key = generate_key()
        request = create_request(key, profile.common_name)
        certificate = self._authority.sign(request, profile, at=datetime.now(UTC), entropy=os.urandom)
        return (
            write_private(self._directory / f"{name}.pem", certificate),
            write_private(self._directory / f"{name}-key.pem", serialize_key(key)),
        )
