"""``tls ca create`` and ``tls cert create``: a private CA in the current directory, as Consul 1.4.1 makes it.

Files, flags and messages are Consul's. Keys are written with mode 0600, and no file is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meshnode.base.goflags import FlagSet
    from meshnode.pki.leaf import Role

__all__ = ["run"]

#: Most numbers that are tried for ``<dc>-server-<domain>-<number>.pem``.
MAX_FILE_NUMBERS: Final = 10000
DOMAIN_MARK: Final = "#DOMAIN#"
SERVER_WARNING: Final = """\
==> WARNING: Server Certificates grants authority to become a
    server and access all state in the cluster including root keys
    and all ACL tokens. Do not distribute them to production hosts
    that are not server nodes. Store them as securely as CA keys."""


def run(args: list[str]) -> int:
    """Run ``ca create ...`` or ``cert create ...``; raises :class:`~meshnode.base.errors.MeshError`."""
    from meshnode.base.errors import ConfigError
    from meshnode.base.goflags import HelpRequested

    commands = {"ca create": _create_authority, "cert create": _create_certificate}
    command = commands.get(" ".join(args[:2]))
    if command is None:
        raise ConfigError("tls needs a subcommand: write 'tls ca create' or 'tls cert create'")
    try:
        command(args[2:])
    except HelpRequested as usage:
        print(usage, end="")
    return 0


def _create_authority(args: list[str]) -> None:
    import os
    from datetime import UTC, datetime

    from meshnode.base.errors import ConfigError
    from meshnode.base.goflags import FlagSet
    from meshnode.pki.authority import Authority, serial_number
    from meshnode.pki.leaf import SubjectNames

    flags = FlagSet(
        "tls ca create", "Usage: meshnode tls ca create [options]", "Create a new certificate authority."
    )
    domain = flags.string("domain", "DNS domain of the cluster, in the names of the files.", default="consul")
    days = flags.integer("days", "Number of days the CA is valid for.", default=1825)
    limited = flags.boolean(
        "name-constraint", "Let the CA vouch only for the domain, localhost and the ones added."
    )
    added = flags.strings(
        "additional-name-constraint", "Another DNS domain it may vouch for; needs -name-constraint."
    )
    cluster_id = flags.string(
        "cluster-id", "ID of the cluster, a URI in the certificate, for a CA of Connect."
    )
    name = flags.string("common-name", "Common name of the CA, Consul Agent CA and a number when left out.")
    parsed = flags.parse(args)
    parsed.reject_positionals()
    if parsed[added] and not parsed[limited]:
        raise ConfigError("-additional-name-constraint needs -name-constraint: add it", key="name-constraint")
    SubjectNames.of(dns=[parsed[domain]])
    authority = Authority.create(
        parsed[name] or f"Consul Agent CA {serial_number(os.urandom) >> 31}",
        at=datetime.now(UTC),
        entropy=os.urandom,
        days=parsed[days],
        # A CA of Connect signs the CAs of its datacenters; one of agents signs leaves only.
        path_length=None if parsed[cluster_id] else 0,
        permitted_dns=[*parsed[added], parsed[domain], "localhost"] if parsed[limited] else [],
        uris=[f"spiffe://{parsed[cluster_id]}.{parsed[domain]}"] if parsed[cluster_id] else [],
    )
    certificate_file, key_file = f"{parsed[domain]}-agent-ca.pem", f"{parsed[domain]}-agent-ca-key.pem"
    _save({certificate_file: (authority.certificate_pem, 0o644), key_file: (authority.key_pem, 0o600)})


def _create_certificate(args: list[str]) -> None:
    import os
    from datetime import UTC, datetime

    from meshnode.base.goflags import FlagSet
    from meshnode.pki.authority import Authority
    from meshnode.pki.keys import generate_key, serialize_key
    from meshnode.pki.leaf import role_profile
    from meshnode.pki.request import create_request

    flags = FlagSet(
        "tls cert create", "Usage: meshnode tls cert create [options]", "Create a new certificate."
    )
    ca = flags.string("ca", "File of the CA certificate.", default=f"{DOMAIN_MARK}-agent-ca.pem")
    ca_key = flags.string("key", "File of the CA key.", default=f"{DOMAIN_MARK}-agent-ca-key.pem")
    days = flags.integer("days", "Number of days the certificate is valid for.", default=365)
    dc = flags.string("dc", "Datacenter of the certificate.", default="dc1")
    domain = flags.string("domain", "DNS domain of the cluster.", default="consul")
    node = flags.string("node", "With -server, a node name that is added as <node>.server.<dc>.<domain>.")
    dns = flags.strings("additional-dnsname", "Another DNS name; localhost is always there.")
    ip = flags.strings("additional-ipaddress", "Another address; 127.0.0.1 is there for servers and clients.")
    role = _role(flags, args)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    profile = role_profile(
        role,
        datacenter=parsed[dc],
        node=parsed[node],
        dns=[name for name in parsed[dns] if name],
        ip=[address for address in parsed[ip] if address],
        domain=parsed[domain],
        days=parsed[days],
    )
    certificate_file, key_file = _free_names(f"{parsed[dc]}-{role}-{parsed[domain]}")
    ca_file = parsed[ca].replace(DOMAIN_MARK, parsed[domain], 1)
    ca_key_file = parsed[ca_key].replace(DOMAIN_MARK, parsed[domain], 1)
    authority = Authority.parse(
        _read(ca_file, "CA"), _read(ca_key_file, "CA key"), where=f"{ca_file}, {ca_key_file}"
    )
    if role == "server":
        print(SERVER_WARNING)
    print(f"==> Using {ca_file} and {ca_key_file}")
    key = generate_key()
    request = create_request(key, profile.common_name)
    certificate = authority.sign(request, profile, at=datetime.now(UTC), entropy=os.urandom)
    _save({certificate_file: (certificate, 0o644), key_file: (serialize_key(key), 0o600)})


def _role(flags: FlagSet, args: list[str]) -> Role:
    from meshnode.base.errors import ConfigError

    handles: dict[Role, str] = {
        "server": "Make a certificate for a server.",
        "client": "Make a certificate for a client agent.",
        "cli": "Make a certificate for the command line.",
    }
    booleans = {role: flags.boolean(role, meaning) for role, meaning in handles.items()}
    parsed = flags.parse(args)
    wanted = [role for role, flag in booleans.items() if parsed[flag]]
    if len(wanted) != 1:
        raise ConfigError("Please provide either -server, -client, or -cli")
    return wanted[0]


def _read(path: str, what: str) -> str:
    from meshnode.base.errors import ConfigError
    from meshnode.pki.keys import MAX_PEM_BYTES

    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_PEM_BYTES + 1).decode("ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"Error reading {what}: {path}: {error.strerror}") from None


def _free_names(prefix: str) -> tuple[str, str]:
    from pathlib import Path

    from meshnode.base.errors import MeshError

    for number in range(MAX_FILE_NUMBERS + 1):
        certificate_file, key_file = f"{prefix}-{number}.pem", f"{prefix}-{number}-key.pem"
        if not Path(certificate_file).exists() and not Path(key_file).exists():
            return certificate_file, key_file
    raise MeshError("Could not find a filename that doesn't already exist")


def _save(files: Mapping[str, tuple[str, int]]) -> None:
    """Create every file or none: name -> (content, mode). Raises :class:`MeshError` when one exists."""
    import os

    from meshnode.base.errors import MeshError

    made: list[str] = []
    try:
        for name in files:
            # O_EXCL: neither overwritten nor written through a link; the mode holds from the first byte on.
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, files[name][1]))
            made.append(name)
        for name, (content, _mode) in files.items():
            with open(name, "w", encoding="ascii") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as error:
        for name in made:
            os.unlink(name)
        text = (
            f"{error.filename} already exists."
            if isinstance(error, FileExistsError)
            else f"{error.filename}: {error.strerror}"
        )
        raise MeshError(text) from None
    for name in files:
        print(f"==> Saved {name}")
