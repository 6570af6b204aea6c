"""The TLS files before the agent starts: each is there, can be read, belongs to the others, and is valid now.

What OpenSSL would find out later, in a handshake and from the other side, is said here with key, file and fix.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from meshnode.agent.config.model import AgentConfig
from meshnode.base.certificates import is_issued_by
from meshnode.base.errors import ConfigError
from meshnode.pki.keys import BAD_X509, MIN_RSA_BITS, PrivateKey, parse_key

__all__ = ["MAX_FILE_BYTES", "check_tls_files"]

T = TypeVar("T")

#: A bundle of every public CA is 0.2 MiB.
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
#: More intermediates than any chain has.
_MAX_CHAIN: Final = 10
_OTHERS: Final = stat.S_IRWXO
_NO_EXTENSION: Final[tuple[type[Exception], ...]] = (x509.ExtensionNotFound, *BAD_X509)


def check_tls_files(
    config: AgentConfig, at: datetime, where: Callable[[str], str] = lambda key: ""
) -> tuple[list[ConfigError], list[str]]:
    """Problems and warnings; ``at`` is the wall clock, ``where`` tells where a key was written."""
    return _Check(config, at, where).run()


class _Check:
    def __init__(self, config: AgentConfig, at: datetime, where: Callable[[str], str]) -> None:
        self._config = config
        self._at = at
        self._where = where
        self.problems: list[ConfigError] = []
        self.warnings: list[str] = []

    def run(self) -> tuple[list[ConfigError], list[str]]:
        tls = self._config.tls
        authorities = self._attempt(self._authorities) or []
        chain = (
            self._attempt(lambda: self._certificates("cert_file", tls.cert_file)) if tls.cert_file else None
        )
        key = self._attempt(self._private_key) if tls.key_file else None
        if chain:
            self._judge(chain, authorities)
            self._pair(chain[0], key)
        return self.problems, self.warnings

    def _attempt(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except ConfigError as problem:
            self.problems.append(problem)
            return None

    def _problem(self, key: str, message: str) -> ConfigError:
        return ConfigError(f"{key}: {message}", key=key, where=self._where(key))

    def _read(self, key: str, file: str) -> bytes:
        try:
            with Path(file).open("rb") as stream:
                content = stream.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            raise self._problem(key, f"{file} does not exist") from None
        except PermissionError:
            raise self._problem(
                key, f"{file} can't be read by this user: give its group to the agent's"
            ) from None
        except OSError as error:
            raise self._problem(key, f"{file} can't be read: {error.strerror}") from None
        if len(content) > MAX_FILE_BYTES:
            raise self._problem(key, f"{file} is longer than {MAX_FILE_BYTES} bytes: that is no PEM file")
        return content

    def _certificates(self, key: str, file: str) -> list[x509.Certificate]:
        content = self._read(key, file)
        try:
            return x509.load_pem_x509_certificates(content)
        except BAD_X509:
            hint = ": it holds a private key" if b"PRIVATE KEY" in content else ""
            raise self._problem(key, f"{file} holds no certificate in PEM form{hint}") from None

    def _authorities(self) -> list[x509.Certificate]:
        tls = self._config.tls
        key = "ca_file" if tls.ca_file else "ca_path"
        if not (tls.ca_file or tls.ca_path):
            return []
        files = [tls.ca_file] if tls.ca_file else self._files_of_path()
        found = [(certificate, file) for file in files for certificate in self._certificates(key, file)]
        for certificate, file in found:
            name = _name(certificate)
            if certificate.not_valid_after_utc < self._at:
                self.warnings.append(
                    f"{key}: {file}: CA {name} expired on {_date(certificate.not_valid_after_utc)}"
                )
            if not _may_sign(certificate):
                self.warnings.append(
                    f"{key}: {file}: {name} is not a CA certificate: it can't have issued any"
                )
        return [certificate for certificate, _ in found]

    def _files_of_path(self) -> list[str]:
        path = self._config.tls.ca_path
        try:
            files = sorted(str(file) for file in Path(path).iterdir() if file.is_file())
        except OSError as error:
            raise self._problem("ca_path", f"{path} can't be read as a directory: {error.strerror}") from None
        if not files:
            raise self._problem("ca_path", f"{path} is empty: put the CA's certificate in it as PEM")
        return files

    def _private_key(self) -> PrivateKey:
        file = self._config.tls.key_file
        content = self._read("key_file", file)
        mode = stat.S_IMODE(Path(file).stat().st_mode)
        if mode & _OTHERS:
            raise self._problem(
                "key_file",
                f"{file} is open to every user of this machine (mode {mode:04o}): chmod o-rwx {file}",
            )
        try:
            return parse_key(content.decode("ascii", errors="replace"))
        except ConfigError as error:
            raise self._problem("key_file", f"{file}: {error}") from None

    def _judge(self, chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> None:
        file, leaf = self._config.tls.cert_file, chain[0]
        if leaf.not_valid_after_utc < self._at:
            expired, now = _date(leaf.not_valid_after_utc), _date(self._at)
            self.problems.append(self._problem("cert_file", f"{file} expired on {expired}; now it is {now}"))
        if leaf.not_valid_before_utc > self._at:
            start, now = _date(leaf.not_valid_before_utc), _date(self._at)
            message = f"{file} is not valid before {start}; now it is {now}: is a clock wrong?"
            self.problems.append(self._problem("cert_file", message))
        if authorities and not _issued(chain, authorities):
            known = ", ".join(_name(authority) for authority in authorities[:3])
            source = self._config.tls.ca_file or self._config.tls.ca_path
            message = f"{file} was issued by {_issuer(leaf)}, which is not in {source} (it has {known})"
            self.problems.append(self._problem("cert_file", message))
        self._names(leaf)

    def _names(self, leaf: x509.Certificate) -> None:
        config = self._config
        if not (config.identity.server and config.tls.verify_server_hostname):
            return
        wanted = f"server.{config.identity.datacenter}.{config.identity.domain.rstrip('.')}"
        try:
            extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            names = extension.value.get_values_for_type(x509.DNSName)
        except _NO_EXTENSION:
            names = []
        if wanted not in {name.lower() for name in names}:
            has = ", ".join(names) or "none"
            self.warnings.append(
                f"cert_file: {config.tls.cert_file} is not for the name {wanted} (it has {has}): agents with "
                "verify_server_hostname will refuse this server"
            )

    def _pair(self, leaf: x509.Certificate, key: PrivateKey | None) -> None:
        tls = self._config.tls
        try:
            public = leaf.public_key()
        except BAD_X509:
            self.problems.append(
                self._problem("cert_file", f"{tls.cert_file} has a key of a kind that is not known")
            )
            return
        if isinstance(public, rsa.RSAPublicKey) and public.key_size < MIN_RSA_BITS:
            self.warnings.append(
                f"cert_file: {tls.cert_file} has an RSA key of {public.key_size} bits: OpenSSL's usual security level "
                f"refuses fewer than {MIN_RSA_BITS}"
            )
        if key is None:
            return
        if public != key.public_key():
            message = f"{tls.key_file} is not the key of cert_file {tls.cert_file}"
            self.problems.append(self._problem("key_file", message))


def _issued(chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> bool:
    """Whether a path leads from the leaf, over the intermediates of its file, to one of ``authorities``."""
    current = chain[0]
    for _ in range(_MAX_CHAIN):
        if any(current == authority or is_issued_by(current, authority) for authority in authorities):
            return True
        issuer = next(
            (other for other in chain[1:] if other != current and is_issued_by(current, other)), None
        )
        if issuer is None:
            return False
        current = issuer
    return False


def _may_sign(certificate: x509.Certificate) -> bool:
    """X.509 v1 roots have no extensions and count as CAs, as for OpenSSL's trust store."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except _NO_EXTENSION:
        return certificate.version is x509.Version.v1


def _name(certificate: x509.Certificate) -> str:
    return f'"{certificate.subject.rfc4514_string()}"'


def _issuer(certificate: x509.Certificate) -> str:
    return f'"{certificate.issuer.rfc4514_string()}"'


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
