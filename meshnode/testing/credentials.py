"""What a mesh is sealed with: a CA of its own, certificates, a gossip key."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from meshnode.base.gossip_key import generate_gossip_key
from meshnode.pki.authority import Authority
from meshnode.pki.keys import generate_key, serialize_key
from meshnode.pki.leaf import Role, role_profile
from meshnode.pki.request import create_request
from meshnode.testing.private_file import write_private

__all__ = ["Credentials"]

#: A mesh for tests lives for minutes; this is enough for a debugger left open over a week-end.
LIFETIME_DAYS = 7


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
