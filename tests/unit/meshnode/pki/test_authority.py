from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.pki import keys
from meshnode.pki.authority import Authority, authority_name, serial_number
from meshnode.pki.bundle import join_bundle
from meshnode.pki.keys import KeyType
from meshnode.pki.leaf import SubjectNames, node_profile, role_profile
from meshnode.pki.request import create_request
from tests.support.openssl import openssl, refuses, verify_strictly
from tests.support.programs import skip
from tests.unit.meshnode.pki.certificates import AT, authority, entropy, key, profile, request

#: Between the start of every certificate here and its end; OpenSSL takes it instead of the real clock.
IN_FORCE = ("-attime", str(int((AT + timedelta(days=30)).timestamp())))


def files(folder: Path, ca: Authority, leaf: str) -> tuple[Path, Path]:
    (folder / "ca.pem").write_text(ca.certificate_pem)
    (folder / "leaf.pem").write_text(leaf)
    return folder / "ca.pem", folder / "leaf.pem"


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_root_of_each_key_type_signs_what_openssl_takes_in_strict_mode(
    tmp_path: Path, key_type: KeyType
) -> None:
    ca = authority(1, key_type)
    leaf = ca.sign(request(), profile(), at=AT, entropy=os.urandom)
    assert verify_strictly(*files(tmp_path, ca, leaf), *IN_FORCE).strip().endswith("leaf.pem: OK")


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_leaf_of_a_node_serves_both_ends_of_a_connection(
    tmp_path: Path, key_type: KeyType, purpose: str
) -> None:
    leaf = authority().sign(request(key_type=key_type), profile("client"), at=AT, entropy=os.urandom)
    assert "OK" in verify_strictly(*files(tmp_path, authority(), leaf), *IN_FORCE, "-purpose", purpose)


def test_operator_certificate_is_for_clients_only(tmp_path: Path) -> None:
    wanted = role_profile("cli", datacenter="dc1")
    leaf = authority().sign(create_request(key(), "cli.dc1.consul"), wanted, at=AT, entropy=os.urandom)
    ca, path = files(tmp_path, authority(), leaf)
    assert "OK" in verify_strictly(ca, path, *IN_FORCE, "-purpose", "sslclient")
    assert "unsuitable certificate purpose" in refuses(
        "verify", *IN_FORCE, "-purpose", "sslserver", "-CAfile", ca, path
    ).replace("unsupported", "unsuitable")


def test_cryptography_s_own_verifier_agrees() -> None:
    leaf = x509.load_pem_x509_certificate(
        authority().sign(request(), profile(), at=AT, entropy=os.urandom).encode()
    )
    store = x509.verification.Store([authority().certificate])
    verifier = (
        x509.verification.PolicyBuilder()
        .store(store)
        .time(AT + timedelta(days=1))
        .build_server_verifier(x509.DNSName("server.dc1.consul"))
    )
    assert verifier.verify(leaf, [])[-1] == authority().certificate


def test_root_says_what_it_may_do_and_marks_it_critical(tmp_path: Path) -> None:
    text = openssl("x509", "-noout", "-text", stdin=authority().certificate_pem)
    assert "CA:TRUE, pathlen:0" in text
    assert "X509v3 Basic Constraints: critical" in text
    assert "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign" in text
    assert "Subject: CN = meshnode CA dc1 g1" in text.replace("CN=", "CN = ")
    assert "X509v3 Subject Key Identifier" in text


def test_leaf_carries_the_names_of_its_profile(tmp_path: Path) -> None:
    leaf = authority().sign(request(), profile(), at=AT, entropy=os.urandom)
    text = openssl("x509", "-noout", "-text", stdin=leaf)
    assert (
        "DNS:s1, DNS:server.dc1.consul, DNS:localhost, "
        "IP Address:10.1.0.11, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in text
    )
    assert "X509v3 Key Usage: critical\n                Digital Signature\n" in text
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text


def test_rsa_leaf_may_encipher_keys() -> None:
    leaf = authority().sign(request(key_type="rsa-2048"), profile(), at=AT, entropy=os.urandom)
    assert "Digital Signature, Key Encipherment" in openssl("x509", "-noout", "-text", stdin=leaf)


def test_certificates_start_a_minute_early_and_last_as_asked() -> None:
    ca = authority().certificate
    leaf = keys.parse_certificate(authority().sign(request(), profile(days=7), at=AT, entropy=os.urandom))
    assert ca.not_valid_before_utc == leaf.not_valid_before_utc == AT - timedelta(minutes=1)
    assert ca.not_valid_after_utc == AT + timedelta(days=3650)
    assert leaf.not_valid_after_utc == AT + timedelta(days=7)


def test_leaf_never_outlives_its_authority() -> None:
    late = AT + timedelta(days=3600)
    leaf = keys.parse_certificate(authority().sign(request(), profile(), at=late, entropy=os.urandom))
    assert leaf.not_valid_after_utc == authority().certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (AT + timedelta(days=3650), "expired at .*: make a new generation"),
        (AT - timedelta(minutes=2), "clock right"),
    ],
)
def test_authority_outside_its_own_life_signs_nothing(moment: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        authority().sign(request(), profile(), at=moment, entropy=os.urandom)  # type: ignore[arg-type]


def test_extensions_in_the_request_are_not_copied() -> None:
    asked = create_request(key(), "c1", SubjectNames.of(["server.dc1.consul", "evil.example"], ["8.8.8.8"]))
    wanted = node_profile("client", datacenter="dc1", node="c1")
    text = openssl(
        "x509", "-noout", "-text", stdin=authority().sign(asked, wanted, at=AT, entropy=os.urandom)
    )
    assert "server.dc1.consul" not in text
    assert "evil" not in text
    assert "8.8.8.8" not in text


def test_request_made_by_openssl_that_asks_to_be_an_authority_gets_a_leaf(tmp_path: Path) -> None:
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "k", "-out", tmp_path / "r",
            "-subj", "/CN=s1", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip
    leaf = authority().sign((tmp_path / "r").read_text(), profile(), at=AT, entropy=os.urandom)
    assert "CA:FALSE" in openssl("x509", "-noout", "-text", stdin=leaf)


def test_request_for_someone_else_is_refused() -> None:
    with pytest.raises(
        RemoteProtocolError, match="is for 's2' and not for 's1': a node may only ask for itself"
    ):
        authority().sign(request("s2"), profile(), at=AT, entropy=os.urandom)


def test_request_altered_on_the_way_is_refused() -> None:
    der = x509.load_pem_x509_csr(request().encode()).public_bytes(serialization.Encoding.DER)
    altered = x509.load_der_x509_csr(der.replace(b"\x02s1", b"\x02s9").replace(b"\x0c\x02s1", b"\x0c\x02s9"))
    pem = altered.public_bytes(serialization.Encoding.PEM).decode()
    assert altered.subject.rfc4514_string() == "CN=s9"
    with pytest.raises(RemoteProtocolError, match="not signed by the key"):
        authority().sign(pem, profile(node="s9"), at=AT, entropy=os.urandom)


def test_generations_verify_only_with_their_own_root_or_a_bundle_of_both(tmp_path: Path) -> None:
    first, second = authority(1), authority(2)
    ca, leaf = files(tmp_path, first, second.sign(request(), profile(), at=AT, entropy=os.urandom))
    assert "unable to get local issuer" in refuses("verify", *IN_FORCE, "-CAfile", ca, leaf)
    ca.write_text(join_bundle([first.certificate_pem, second.certificate_pem]))
    assert "OK" in verify_strictly(ca, leaf, *IN_FORCE)


def test_name_constraints_hold_for_leaves(tmp_path: Path) -> None:
    ca = Authority.create("limited", at=AT, entropy=entropy, permitted_dns=["consul", "localhost"])
    inside = role_profile("server", datacenter="dc1")
    outside = role_profile("server", datacenter="dc1", dns=["www.example.com"])
    signed = create_request(key(), "server.dc1.consul")
    paths = files(tmp_path, ca, ca.sign(signed, inside, at=AT, entropy=os.urandom))
    assert "OK" in verify_strictly(*paths, *IN_FORCE)
    paths[1].write_text(ca.sign(signed, outside, at=AT, entropy=os.urandom))
    assert "permitted subtree violation" in refuses("verify", *IN_FORCE, "-CAfile", *paths)


def test_authority_survives_its_pem_form() -> None:
    again = Authority.parse(authority().certificate_pem, authority().key_pem)
    assert again.certificate == authority().certificate
    assert "PRIVATE" not in repr(again)


def test_key_of_another_authority_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^vault: the CA certificate and the CA key don't belong together"):
        Authority.parse(authority(1).certificate_pem, authority(2).key_pem, where="vault")


def test_leaf_is_no_authority() -> None:
    leaf = authority().sign(request(), profile(), at=AT, entropy=os.urandom)
    with pytest.raises(ConfigError, match="CA:FALSE"):
        Authority.parse(leaf, keys.serialize_key(key()))


def test_root_of_the_source_document_s_way_can_sign(tmp_path: Path) -> None:
    openssl("req", "-x509", "-newkey", "rsa:2048", "-days", "3650", "-nodes", "-subj", "/C=JP/ST=Tokyo/O=x/CN=ca",
            "-keyout", tmp_path / "privkey.pem", "-out", tmp_path / "ca.cert")  # fmt: skip
    ca = Authority.parse((tmp_path / "ca.cert").read_text(), (tmp_path / "privkey.pem").read_text())
    now = ca.certificate.not_valid_before_utc + timedelta(minutes=2)
    leaf = ca.sign(request(), profile(), at=now, entropy=os.urandom)
    # Not in strict mode: that root has no keyUsage, which "openssl req -x509" doesn't write by itself.
    paths = files(tmp_path, ca, leaf)
    assert "OK" in openssl("verify", "-attime", str(int(now.timestamp())), "-CAfile", *paths)


@pytest.mark.parametrize(
    "garbage", ["", "no PEM", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"]
)
def test_bad_key_is_refused_without_being_shown(garbage: str) -> None:
    with pytest.raises(ConfigError, match="not a private key in PEM form") as refused:
        Authority.parse(authority().certificate_pem, garbage)
    assert "c2VjcmV0" not in str(refused.value)


def test_serial_numbers_fit_twenty_octets_and_are_never_zero() -> None:
    assert serial_number(lambda size: b"\xff" * size) == 2**159 - 1
    assert serial_number(bytes) == 1


def test_name_that_does_not_fit_a_subject_is_refused() -> None:
    Authority.create("x" * 64, at=AT, entropy=entropy)
    with pytest.raises(ConfigError, match="1 to 64 printable characters"):
        Authority.create("x" * 65, at=AT, entropy=entropy)


def test_generations_have_their_own_names() -> None:
    assert authority_name("dc1", 2) == "meshnode CA dc1 g2"
    assert replace(authority()).certificate.subject != authority(2).certificate.subject


def test_openssl_three_point_five_takes_the_chain(tmp_path: Path) -> None:
    image = os.environ.get("MESH_TRIXIE_IMAGE", "")
    if not image:
        skip("trixie")
    files(tmp_path, authority(), authority().sign(request(), profile(), at=AT, entropy=os.urandom))
    command = ["docker", "run", "--rm", "-v", f"{tmp_path}:/w:ro", image, "openssl", "verify", "-x509_strict"]
    done = subprocess.run(
        [*command, *IN_FORCE, "-CAfile", "/w/ca.pem", "/w/leaf.pem"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
