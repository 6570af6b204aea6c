"""TLS files: each way in which they can be wrong is found before a handshake is, with key, file and fix."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from meshnode.agent.config.errors import ConfigErrors
from meshnode.agent.config.load import Loaded, load
from meshnode.agent.config.tls_check import MAX_FILE_BYTES
from meshnode.base.errors import ConfigError
from meshnode.pki.keys import PrivateKey, serialize_certificate, serialize_key
from tests.unit.meshnode.agent.config.machine import AT, machine

#: A user who owns nothing.
NOBODY = 65534


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Pair:
    certificate: x509.Certificate
    key: PrivateKey


@cache
def new_key(number: int, bits: int = 0) -> PrivateKey:
    return rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())


def issue(
    subject: str, issuer: Pair | None, number: int, *, ca: bool = False, days: tuple[int, int] = (-1, 365),
    bits: int = 0, dns: tuple[str, ...] = (),
) -> Pair:  # fmt: skip
    key = new_key(number, bits)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.certificate.subject if issuer else name(subject))
        .public_key(key.public_key())
        .serial_number(1000 + number)
        .not_valid_before(AT + timedelta(days=days[0]))
        .not_valid_after(AT + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if dns:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(n) for n in dns]), critical=False
        )
    return Pair(builder.sign((issuer.key if issuer else key), hashes.SHA256()), key)


CA = issue("Mesh CA", None, 1, ca=True)
OTHER = issue("Other CA", None, 2, ca=True)
MIDDLE = issue("Middle CA", CA, 3, ca=True)
LEAF = issue("server", CA, 4, dns=("server.dc1.consul",))


class Files:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings: dict[str, Any] = {}

    def put(self, key: str, content: str | bytes, mode: int = 0o600) -> Path:
        path = self.directory / f"{key}.pem"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        self.settings[key] = str(path)
        return path

    def load(self, at: datetime = AT, **more: Any) -> Loaded:
        settings = {"data_dir": "/none", **self.settings, **more}
        return load([f"-hcl={json.dumps(settings)}"], {}, machine(at=at))

    def complaint(self, at: datetime = AT, **more: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load(at, **more)
        return str(caught.value)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    found = Files(tmp_path)
    found.put("ca_file", serialize_certificate(CA.certificate))
    found.put("cert_file", serialize_certificate(LEAF.certificate))
    found.put("key_file", serialize_key(LEAF.key))
    return found


def test_a_pair_of_the_ca_is_accepted(files: Files) -> None:
    loaded = files.load(verify_incoming=True, verify_outgoing=True, ports={"https": 10443})
    assert loaded.warnings == ()
    assert loaded.config.tls_settings().verify_incoming_https


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file"])
def test_a_file_that_is_missing_is_named_with_its_key(files: Files, key: str) -> None:
    Path(files.settings[key]).unlink()
    said = files.complaint()
    assert f"{key}: {files.settings[key]} does not exist" in said
    assert said.startswith("flag -hcl[0]:1:")


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_a_file_that_holds_no_certificate_is_named(files: Files, key: str) -> None:
    path = files.put(key, "nonsense")
    assert f"{key}: {path} holds no certificate in PEM form" in files.complaint()
    files.put(key, serialize_key(LEAF.key))
    assert f"{key}: {path} holds no certificate in PEM form: it holds a private key" in files.complaint()


def test_a_key_that_is_none_or_is_encrypted_is_named_and_not_shown(files: Files) -> None:
    path = files.put("key_file", "nonsense")
    assert f"key_file: {path}: this is not a private key in PEM form" in files.complaint()
    encrypted = LEAF.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    files.put("key_file", encrypted)
    assert f"key_file: {path}: the private key is encrypted with a passphrase" in files.complaint()


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o777])
def test_a_key_that_everyone_may_read_is_refused_with_the_command_to_run(files: Files, mode: int) -> None:
    path = Path(files.settings["key_file"])
    path.chmod(mode)
    message = f"key_file: {path} is open to every user of this machine (mode {mode:04o}): chmod o-rwx {path}"
    assert message in files.complaint()


@contextlib.contextmanager
def not_as_root() -> Iterator[None]:
    """As a user who may not read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660])
def test_a_key_for_owner_and_group_is_accepted(files: Files, mode: int) -> None:
    Path(files.settings["key_file"]).chmod(mode)
    assert files.load().config.tls.key_file == files.settings["key_file"]


def test_a_file_that_this_user_may_not_read_is_named(files: Files) -> None:
    Path(files.settings["cert_file"]).chmod(0)
    with not_as_root():
        assert "can't be read by this user" in files.complaint()


def test_a_directory_instead_of_a_file_is_named(files: Files, tmp_path: Path) -> None:
    assert f"cert_file: {tmp_path} can't be read: Is a directory" in files.complaint(cert_file=str(tmp_path))


def test_a_file_is_read_to_the_limit_and_refused_one_past_it(files: Files) -> None:
    pem = serialize_certificate(CA.certificate)
    files.put("ca_file", pem + "#" * (MAX_FILE_BYTES - len(pem)))
    files.load()
    files.put("ca_file", pem + "#" * (MAX_FILE_BYTES - len(pem) + 1))
    assert f"is longer than {MAX_FILE_BYTES} bytes" in files.complaint()


def test_a_key_of_another_certificate_is_named(files: Files) -> None:
    path = files.put("key_file", serialize_key(OTHER.key))
    assert f"key_file: {path} is not the key of cert_file {files.settings['cert_file']}" in files.complaint()


def test_an_expired_certificate_is_named_with_the_dates(files: Files) -> None:
    said = files.complaint(AT + timedelta(days=366))
    assert (
        f"cert_file: {files.settings['cert_file']} expired on 2027-11-21 12:00 UTC; now it is 2027-11-22"
        in said
    )


def test_a_certificate_of_the_future_is_named_with_the_dates(files: Files) -> None:
    said = files.complaint(AT - timedelta(days=2))
    assert (
        "is not valid before 2026-11-20 12:00 UTC; now it is 2026-11-19 12:00 UTC: is a clock wrong?" in said
    )


def test_a_certificate_is_valid_in_the_last_second_and_not_after_it(files: Files) -> None:
    last = datetime(2027, 11, 21, 12, 0, tzinfo=UTC)
    files.load(last)
    assert "expired on" in files.complaint(last + timedelta(seconds=1))


def test_a_certificate_of_another_ca_is_named_with_both(files: Files) -> None:
    ca = files.put("ca_file", serialize_certificate(OTHER.certificate))
    assert f'was issued by "CN=Mesh CA", which is not in {ca} (it has "CN=Other CA")' in files.complaint()


def test_a_ca_of_the_same_name_and_another_key_does_not_count(files: Files) -> None:
    files.put("ca_file", serialize_certificate(issue("Mesh CA", None, 9, ca=True).certificate))
    assert 'was issued by "CN=Mesh CA"' in files.complaint()


def test_intermediates_in_the_file_lead_to_the_ca(files: Files) -> None:
    leaf = issue("server", MIDDLE, 5)
    files.put("key_file", serialize_key(leaf.key))
    files.put("cert_file", serialize_certificate(leaf.certificate))
    assert 'was issued by "CN=Middle CA"' in files.complaint()
    files.put(
        "cert_file", serialize_certificate(leaf.certificate) + serialize_certificate(MIDDLE.certificate)
    )
    assert files.load().warnings == ()


def test_any_ca_of_a_bundle_or_of_a_directory_counts(files: Files, tmp_path: Path) -> None:
    both = serialize_certificate(OTHER.certificate) + serialize_certificate(CA.certificate)
    files.put("ca_file", both)
    files.load()
    directory = tmp_path / "cas"
    directory.mkdir()
    assert f"ca_path: {directory} is empty" in files.complaint(ca_file="", ca_path=str(directory))
    (directory / "a.pem").write_text(serialize_certificate(OTHER.certificate))
    (directory / "b.pem").write_text(serialize_certificate(CA.certificate))
    files.load(ca_file="", ca_path=str(directory))
    assert "ca_path: /none can't be read as a directory" in files.complaint(ca_file="", ca_path="/none")


def test_a_server_without_its_name_is_warned_about(files: Files) -> None:
    more = {"server": True, "verify_server_hostname": True, "verify_incoming": True}
    assert files.load(**more).warnings == ()
    (warning,) = files.load(datacenter="dc2", **more).warnings
    assert "is not for the name server.dc2.consul (it has server.dc1.consul)" in warning


def test_a_short_rsa_key_and_a_ca_that_is_none_or_expired_are_warned_about(files: Files) -> None:
    short = issue("server", CA, 6, bits=1024)
    files.put("cert_file", serialize_certificate(short.certificate))
    files.put("key_file", serialize_key(short.key))
    (warning,) = files.load().warnings
    assert "has an RSA key of 1024 bits" in warning
    old = issue("Old CA", None, 7, ca=True, days=(-9, -1))
    chain = [CA.certificate, old.certificate, LEAF.certificate]
    files.put("ca_file", "".join(serialize_certificate(certificate) for certificate in chain))
    warnings = files.load().warnings
    assert any('CA "CN=Old CA" expired on 2026-11-20' in warning for warning in warnings)
    assert any('"CN=server" is not a CA certificate' in warning for warning in warnings)


def test_all_that_is_wrong_is_said_at_once(files: Files) -> None:
    files.put("key_file", serialize_key(OTHER.key))
    files.put("ca_file", serialize_certificate(OTHER.certificate))
    with pytest.raises(ConfigErrors) as caught:
        files.load(AT + timedelta(days=400))
    assert len(caught.value.problems) == 3
