# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificates the ports of this node present, seen by a handshake and not by what anybody says."""

from __future__ import annotations

import hashlib
import socket
import ssl
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import words_of

#: The first byte of a connection to the server port that is to become TLS (Consul's pool.RPCTLS).
RPC_TLS = b"\x03"
PREFACES = {"tls": b"", "rpc": RPC_TLS}
TIMEOUT = 5.0


@dataclass(frozen=True)
class Served:
    """What one port presents. C(problem) says in words why it is not trusted, or not there; empty when all is well."""

    port: int
    subject: str = ""
    issuer: str = ""
    not_after: str = ""
    fingerprint: str = ""
    problem: str = ""

    def told(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def look(address: str, port: int, kind: str, ca_file: str, own: tuple[str, str] | None) -> Served:
    """Shake hands with C(address:port), trusting C(ca_file) and nothing else; C(own) is (certificate, key) to show."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.check_hostname = False  # asked by address; whose certificate it is, is in the answer
        if own:
            context.load_cert_chain(*own)
    except (OSError, ssl.SSLError) as error:
        return Served(
            port,
            problem=f"{ca_file}, {own[0] if own else 'no certificate'}: can't be used ({words_of(error)})",
        )
    try:
        with socket.create_connection((address, port), TIMEOUT) as raw:
            raw.sendall(PREFACES[kind])
            with context.wrap_socket(raw, server_hostname=address) as secure:
                shown, der = secure.getpeercert() or {}, secure.getpeercert(binary_form=True) or b""
    except ssl.SSLCertVerificationError as error:
        return Served(port, problem=f"its certificate is not trusted ({error.verify_message})")
    except (OSError, ssl.SSLError) as error:
        return Served(port, problem=f"no handshake ({words_of(error)})")
    names = {part: _name(shown.get(part)) for part in ("subject", "issuer")}
    return Served(
        port,
        **names,
        not_after=str(shown.get("notAfter", "")),
        fingerprint=hashlib.sha256(der).hexdigest(),
    )


def _name(parts: Any) -> str:
    """C(CN=...) of the name as the module ssl gives it."""
    pairs = [pair for group in parts or () for pair in group]
    return next((f"CN={value}" for key, value in pairs if key == "commonName"), "")
