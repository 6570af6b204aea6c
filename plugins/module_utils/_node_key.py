# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's private key and its certificate signing request, made on the node.

Needs nothing beyond Python's standard library and either the C(openssl) command or the cryptography package. No key
material is an argument of a process, a return value or part of a message.
"""

from __future__ import annotations

import base64
import contextlib
import grp
import hashlib
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

KEY_TYPES = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096")
MAX_READ_BYTES = 100 * 1024
#: What a common name may be: a node's name, 64 characters at most (RFC 5280, ub-common-name).
COMMON_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")

_GENERATE = {
    "ec-p256": ("EC", "ec_paramgen_curve:P-256"),
    "ec-p384": ("EC", "ec_paramgen_curve:P-384"),
    "rsa-2048": ("RSA", "rsa_keygen_bits:2048"),
    "rsa-3072": ("RSA", "rsa_keygen_bits:3072"),
    "rsa-4096": ("RSA", "rsa_keygen_bits:4096"),
}
_CURVES = {"prime256v1": "ec-p256", "secp384r1": "ec-p384"}
_REQUEST_CONFIG = (
    "[req]\nprompt = no\nutf8 = yes\nstring_mask = utf8only\ndistinguished_name = dn\n[dn]\nCN = {}\n"
)


class NodeKeyError(Exception):
    """The key can't be made or used; ``str()`` is a sentence without key material."""


class KeyTool(Protocol):
    """What makes and uses keys: the openssl command or the cryptography package."""

    def generate(self, path: str, key_type: str) -> None:
        """Write a new key in PEM form into the existing file ``path``."""

    def public_key(self, path: str) -> str:
        """PEM of the public key; raises :class:`NodeKeyError` when ``path`` holds no usable private key."""

    def key_type(self, public_key: str) -> str:
        """``ec-p256``, ``rsa-2048`` and so on."""

    def request(self, path: str, common_name: str) -> str:
        """PEM of a request for ``common_name`` signed by the key in ``path``."""


class OpensslTool:
    """The C(openssl) command, 1.1.1 or later."""

    def __init__(self, program: str, run_command: Callable[..., Any], folder: str) -> None:
        self._program = program
        self._run_command = run_command
        self._folder = folder

    def generate(self, path: str, key_type: str) -> None:
        algorithm, option = _GENERATE[key_type]
        self._run(
            f"making a key of type {key_type}",
            "genpkey",
            "-algorithm",
            algorithm,
            "-pkeyopt",
            option,
            "-out",
            path,
        )

    def public_key(self, path: str) -> str:
        # An empty passphrase keeps openssl from asking for one when the key is encrypted.
        return self._run(
            f"{path} is not an unencrypted private key; move it away, or give its path as key_path: reading it",
            *("pkey", "-in", path, "-pubout", "-passin", "pass:"),
        )

    def key_type(self, public_key: str) -> str:
        text = self._run("reading a public key", "pkey", "-pubin", "-noout", "-text", data=public_key)
        curve = re.search(r"ASN1 OID: (\S+)", text)
        if curve:
            return _CURVES.get(curve[1], f"ec-{curve[1]}")
        bits = re.search(r"Public-Key: \((\d+) bit", text)
        return f"rsa-{bits[1]}" if bits and "Modulus" in text else "other"

    def request(self, path: str, common_name: str) -> str:
        descriptor, config = tempfile.mkstemp(prefix="mesh-csr-", dir=self._folder)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(_REQUEST_CONFIG.format(common_name))
        try:
            return self._run(
                f"making a request with {path}",
                *("req", "-new", "-sha256", "-key", path, "-passin", "pass:", "-config", config),
            )
        finally:
            os.unlink(config)

    def _run(self, doing: str, *args: str, data: str | None = None) -> str:
        code, out, err = self._run_command([self._program, *args], data=data, check_rc=False)
        if code != 0:
            raise NodeKeyError(
                f"{doing} failed: openssl {args[0]} said {(err.strip().splitlines() or ['nothing'])[-1]}"
            )
        return str(out)


class CryptographyTool:
    """The cryptography package, 38 (Debian 12) or later, for nodes without the command."""

    def generate(self, path: str, key_type: str) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        kind, _, size = key_type.partition("-")
        key: Any
        if kind == "rsa":
            key = rsa.generate_private_key(65537, int(size))
        else:
            key = ec.generate_private_key(ec.SECP256R1() if size == "p256" else ec.SECP384R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with open(path, "wb") as stream:
            stream.write(pem)

    def public_key(self, path: str) -> str:
        from cryptography.hazmat.primitives import serialization

        return str(
            self._load(path)
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def key_type(self, public_key: str) -> str:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        key = serialization.load_pem_public_key(public_key.encode())
        if isinstance(key, ec.EllipticCurvePublicKey):
            return {"secp256r1": "ec-p256", "secp384r1": "ec-p384"}.get(
                key.curve.name, f"ec-{key.curve.name}"
            )
        return f"rsa-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else "other"

    def request(self, path: str, common_name: str) -> str:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        return (
            builder.sign(self._load(path), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        )

    def _load(self, path: str) -> Any:
        from cryptography.hazmat.primitives import serialization

        with open(path, "rb") as stream:
            pem = stream.read(MAX_READ_BYTES)
        try:
            return serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            raise NodeKeyError(
                f"{path} is not an unencrypted private key; move it away, or give its path as key_path"
            ) from None


def choose_tool(openssl: str | None, run_command: Callable[..., Any], folder: str) -> KeyTool:
    """The openssl command where there is one, else the cryptography package."""
    if openssl:
        return OpensslTool(openssl, run_command, folder)
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise NodeKeyError(
            "the node has neither the openssl command nor Python's cryptography package: install openssl"
        ) from None
    return CryptographyTool()


@dataclass(frozen=True)
class Account:
    """Who is to own a file; an account that doesn't exist yet leaves the file to whoever made it."""

    uid: int = -1
    gid: int = -1
    pending: bool = False

    @classmethod
    def of(cls, owner: str | None, group: str | None) -> Account:
        """Look the names up in the node's account database."""
        try:
            user = pwd.getpwnam(owner) if owner else None
            gid = grp.getgrnam(group).gr_gid if group else -1
        except KeyError:
            return cls(pending=True)
        return cls(user.pw_uid if user else -1, gid)

    def differs(self, path: str, mode: int) -> bool:
        """Whether ``path`` has another owner, group or mode."""
        found = os.lstat(path)
        return (
            (self.uid != -1 and found.st_uid != self.uid)
            or (self.gid != -1 and found.st_gid != self.gid)
            or stat.S_IMODE(found.st_mode) != mode
        )

    def apply(self, path: str, mode: int) -> None:
        """Give ``path`` its mode and owner, the mode first: it never gets wider than it is to be."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fchmod(descriptor, mode)
            if (self.uid, self.gid) != (-1, -1):
                os.fchown(descriptor, self.uid, self.gid)
        finally:
            os.close(descriptor)


def defect(tool: KeyTool, path: str, key_type: str) -> str | None:
    """Why a key must be made in ``path``, or ``None`` when the one there serves."""
    if os.path.islink(path):
        raise NodeKeyError(f"{path} is a symbolic link: give the real path of the key as key_path")
    if not os.path.exists(path):
        return "there is no key yet"
    if not os.path.isfile(path):
        raise NodeKeyError(f"{path} is not a file: give another path as key_path")
    found = tool.key_type(tool.public_key(path))
    return None if found == key_type else f"the key is of type {found}, and {key_type} is wanted"


def make_key(tool: KeyTool, path: str, key_type: str, account: Account) -> None:
    """Make a key and put it into place in one step, 0600 from its first byte; directories are made as needed."""
    folder = os.path.dirname(path)
    make_folder(folder, account)
    with _umask(0o077):
        descriptor, temporary = tempfile.mkstemp(prefix=".mesh-key-", dir=folder)
        os.close(descriptor)
        try:
            tool.generate(temporary, key_type)
            account.apply(temporary, 0o600)
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise


def make_folder(folder: str, account: Account) -> None:
    """Make the missing directories on the way to ``folder``, 0755, and the last one 0750."""
    if os.path.isdir(folder):
        return
    os.makedirs(os.path.dirname(folder), mode=0o755, exist_ok=True)
    os.mkdir(folder, 0o750)
    # With a group the folder stays with its maker, so that the agent can read in it and not replace what is there.
    owner = account if account.gid == -1 else Account(gid=account.gid)
    owner.apply(folder, 0o750)


def public_key_fingerprint(pem: str) -> str:
    """SHA-256 of the public key in DER, hexadecimal: equal for a key, its request and its certificate."""
    lines = [line for line in pem.splitlines() if line and not line.startswith("-----")]
    return hashlib.sha256(base64.b64decode("".join(lines))).hexdigest()


def read_text(path: str | None) -> str | None:
    """Text of a file that exists, cut at :data:`MAX_READ_BYTES`; else ``None``."""
    if not path or not os.path.isfile(path):
        return None
    with open(path, "rb") as stream:
        return stream.read(MAX_READ_BYTES).decode("utf-8", errors="replace")


def file_digest(path: str) -> str | None:
    """SHA-256 of a file, hexadecimal; ``None`` when there is none."""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def link_target(path: str) -> str | None:
    """Where the symbolic link ``path`` points; ``None`` when it is none."""
    return os.readlink(path) if os.path.islink(path) else None


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
