"""Who goes on and who is cut when a root is distrusted: by roots, intermediates and certificates by both."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from meshnode.pki.connect_ca import create_root
from meshnode.proxy.issuers import MAX_INTERMEDIATES, MAX_REMEMBERED_ROOTS, MAX_SIGNERS, Issuers, issuer_of
from tests.support.proxy import TRUST_DOMAIN

NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Authority:
    """``certificate`` may be one of several of the same key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def id(self) -> str:
        return self.certificate.fingerprint(hashes.SHA1()).hex(":")

    @property
    def issuer(self) -> str:
        """What a leaf of it says."""
        return x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()).digest.hex(":")

    def sign(self, key: Any = None, name: str = "between") -> Authority:
        """An authority below this one."""
        key, now = key or ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(by, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return Authority(made, key)


def new_root(name: str) -> Authority:
    made = create_root(name, TRUST_DOMAIN, at=datetime.now(UTC), entropy=os.urandom)
    return Authority(made.certificate, made.key)


OLD, NEW, OTHER = (new_root(name) for name in ("Old", "New", "Other"))


def told(issuers: Issuers, *roots: Authority, distrusted: tuple[Authority, ...] = ()) -> bool:
    names = [root.certificate.subject.rfc4514_string().rpartition("=")[2] for root in roots]
    return issuers.trust(
        "".join(root.pem for root in roots), names, frozenset(root.id for root in distrusted)
    )


def leaf_of(*path: Authority) -> list[bytes]:
    """A verified chain; nobody looks at the leaf."""
    return [b"leaf", *(authority.der for authority in path)]


def test_the_leafs_of_a_distrusted_root_are_cut_and_those_of_the_others_are_not() -> None:
    issuers = Issuers()
    assert not told(issuers, OLD)
    assert not told(issuers, OLD, NEW)
    assert (issuers.vouched(OLD.issuer), issuers.why_cut(OLD.issuer)) == (True, "")
    assert told(issuers, NEW, distrusted=(OLD,))
    assert issuers.why_cut(OLD.issuer) == f"Root Old ({OLD.id}) is distrusted"
    assert issuers.distrust_of(OLD.issuer) == issuers.why_cut(OLD.issuer)
    assert (issuers.why_cut(NEW.issuer), issuers.vouched(OLD.issuer)) == ("", False)
    assert not told(issuers, NEW, distrusted=(OLD,)), "that is known"


def test_a_root_that_is_retired_ends_nothing_then_or_when_another_one_is_distrusted() -> None:
    issuers = Issuers()
    told(issuers, OLD, NEW)
    assert not told(issuers, NEW)
    assert issuers.why_cut(OLD.issuer) == ""
    told(issuers, NEW, OTHER)
    assert told(issuers, OTHER, distrusted=(NEW,))
    assert (issuers.why_cut(OLD.issuer), issuers.why_cut(OTHER.issuer)) == ("", "")
    assert issuers.why_cut(NEW.issuer) == f"Root New ({NEW.id}) is distrusted"


def test_who_has_a_leaf_of_the_new_root_goes_on_though_the_old_one_stood_behind_it() -> None:
    issuers = Issuers()
    told(issuers, OLD)
    issuers.learn(leaf_of(OLD.sign(NEW.key, "New"), OLD))
    assert issuers.vouched(NEW.issuer), "by the certificate that the old root signed"
    assert told(issuers, NEW, distrusted=(OLD,))
    assert (issuers.vouched(NEW.issuer), issuers.why_cut(NEW.issuer)) == (True, "")


def test_an_intermediate_goes_with_its_root_unless_another_one_signed_it_too() -> None:
    issuers = Issuers()
    told(issuers, OLD, NEW)
    old, new = OLD.sign(), NEW.sign()
    both = OLD.sign()
    below = old.sign()
    for path in ((old, OLD), (new, NEW), (both, OLD), (NEW.sign(both.key), NEW), (below, old, OLD)):
        issuers.learn(leaf_of(*path))
    assert all(issuers.vouched(each.issuer) for each in (old, new, both, below))
    told(issuers, NEW, distrusted=(OLD,))
    cut = [bool(issuers.why_cut(each.issuer)) for each in (old, new, both, below)]
    assert cut == [True, False, False, True]


def test_a_signature_of_a_trusted_root_says_nothing_for_the_key_of_a_distrusted_one() -> None:
    issuers = Issuers()
    told(issuers, OLD, NEW)
    issuers.learn(leaf_of(NEW.sign(OLD.key, "Old"), NEW))
    told(issuers, NEW, distrusted=(OLD,))
    assert issuers.why_cut(OLD.issuer).startswith("Root Old (")


def test_who_nobody_is_known_to_vouch_for_is_cut_once_a_root_is_distrusted_and_not_refused_before() -> None:
    issuers = Issuers()
    told(issuers, OLD, NEW)
    assert (issuers.why_cut("ab:cd"), issuers.vouched("ab:cd")) == ("", False)
    told(issuers, NEW, distrusted=(OLD,))
    because = f"Root Old ({OLD.id}) is distrusted, and nobody is known to vouch for"
    assert issuers.why_cut("ab:cd") == f"{because} ab:cd"
    assert issuers.why_cut("") == f"{because} a certificate that names no issuer"
    # Whoever connects anew was verified by OpenSSL.
    assert issuers.distrust_of("ab:cd") == ""


def test_a_root_is_distrusted_once_it_is_out_of_the_bundle_and_trusted_when_it_is_back() -> None:
    issuers = Issuers()
    assert not told(issuers, OLD, NEW, distrusted=(OLD,))
    assert issuers.why_cut(OLD.issuer) == ""
    assert told(issuers, NEW, distrusted=(OLD,))
    assert issuers.why_cut(OLD.issuer)
    assert not told(issuers, NEW, OLD)
    assert issuers.why_cut(OLD.issuer) == ""


def test_a_root_that_was_never_trusted_here_is_of_no_interest() -> None:
    issuers = Issuers()
    told(issuers, NEW)
    assert not told(issuers, NEW, distrusted=(OLD,))
    assert issuers.why_cut("ab:cd") == ""


def test_a_root_without_a_name_is_called_by_its_id() -> None:
    issuers = Issuers()
    issuers.trust(OLD.pem, (), NONE)
    assert issuers.trust(NEW.pem, (), frozenset({OLD.id}))
    assert issuers.why_cut(OLD.issuer) == f"Root {OLD.id} ({OLD.id}) is distrusted"


def test_what_is_remembered_is_bounded_and_what_is_trusted_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (MAX_REMEMBERED_ROOTS, MAX_INTERMEDIATES, MAX_SIGNERS) == (256, 1024, 8)
    monkeypatch.setattr("meshnode.proxy.issuers.MAX_REMEMBERED_ROOTS", 2)
    monkeypatch.setattr("meshnode.proxy.issuers.MAX_INTERMEDIATES", 2)
    issuers = Issuers()
    told(issuers, OLD)
    told(issuers, NEW)
    told(issuers, OTHER)
    assert [root.name for root in issuers._roots.values()] == ["New", "Other"]
    told(issuers, OLD, NEW, OTHER)
    assert len(issuers._roots) == 3, "all that is trusted"
    between = [OLD.sign() for _ in range(3)]
    for each in between:
        issuers.learn(leaf_of(each, OLD))
    assert [issuers.vouched(each.issuer) for each in between] == [False, True, True]
    for _ in range(MAX_SIGNERS + 1):
        issuers.learn(leaf_of(new_root("x").sign(between[2].key)))
    assert len(issuers._signers[between[2].issuer]) == MAX_SIGNERS


def test_certificates_that_sign_each_other_are_no_way_up() -> None:
    issuers = Issuers()
    told(issuers, OLD)
    one = NEW.sign()
    other = one.sign()
    issuers.learn(leaf_of(one, other.sign(one.key), other))
    assert not issuers.vouched(one.issuer)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_a_chain_that_can_not_be_read_teaches_nothing(chain: list[bytes]) -> None:
    issuers = Issuers()
    issuers.learn(chain)
    assert issuers._signers == {}


def test_a_leaf_names_the_key_that_signed_it_or_none() -> None:
    assert issuer_of(OLD.sign().certificate) == OLD.issuer
    now = datetime.now(UTC)
    silent = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(OLD.certificate.subject)
        .public_key(NEW.key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now)
        .sign(OLD.key, hashes.SHA256())
    )
    assert issuer_of(silent) == ""
