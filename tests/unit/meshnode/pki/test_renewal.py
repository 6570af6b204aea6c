from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from meshnode.pki import keys
from meshnode.pki.authority import Authority, authority_name
from meshnode.pki.leaf import Profile, SubjectNames, node_profile
from meshnode.pki.renewal import Cause, needs_reissue
from meshnode.pki.request import parse_request
from tests.unit.meshnode.pki.certificates import AT, authority, entropy, profile, request

LIFE = timedelta(days=365) + timedelta(minutes=1)
END = AT + timedelta(days=365)


def issued(wanted: Profile | None = None, ca: Authority | None = None, number: int = 1) -> str:
    wanted = wanted or profile()
    asked = request(wanted.common_name, number)
    return (ca or authority()).sign(asked, wanted, at=AT, entropy=os.urandom)


def cause(
    existing: str | None, wanted: Profile | None = None, at: datetime = AT, generation: int = 1
) -> Cause | None:
    wanted = wanted or profile()
    asked = parse_request(request(wanted.common_name))
    reason = needs_reissue(existing, asked, wanted, authority(generation).certificate, at)
    assert reason is None or str(reason)
    return reason.cause if reason else None


def test_certificate_that_serves_is_kept() -> None:
    assert cause(issued()) is None


def impostor() -> Authority:
    """Same name, another key: what a copied inventory or a restored backup looks like."""
    return Authority.create(authority_name("dc1", 1), at=AT, entropy=entropy)


client_only = replace(profile(), usages=frozenset({"client_auth"}))

TABLE = [
    ("none", lambda: None, Cause.MISSING),
    ("blank", lambda: " \n", Cause.MISSING),
    ("no PEM", lambda: "hello", Cause.UNPARSABLE),
    ("cut short", lambda: issued()[:200], Cause.UNPARSABLE),
    ("for another key", lambda: issued(number=2), Cause.KEY_MISMATCH),
    ("by another generation", lambda: issued(ca=authority(2)), Cause.ISSUER_CHANGED),
    ("by an authority of the same name", lambda: issued(ca=impostor()), Cause.NOT_SIGNED_BY_ISSUER),
    (
        "with too few names",
        lambda: issued(replace(profile(), names=SubjectNames(("s1",)))),
        Cause.NAMES_CHANGED,
    ),
    ("with too many names", lambda: issued(profile(ip=("10.1.0.11", "10.9.9.9"))), Cause.NAMES_CHANGED),
    ("for another use", lambda: issued(client_only), Cause.WRONG_USAGE),
]


@pytest.mark.parametrize(("existing", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_each_defect_has_its_cause(existing: object, expected: Cause) -> None:
    assert cause(existing()) == expected  # type: ignore[operator]


def test_node_that_was_renamed_needs_another_subject() -> None:
    wanted = profile(node="s2")
    reason = needs_reissue(issued(), parse_request(request("s2")), wanted, authority().certificate, AT)
    assert reason
    assert (reason.cause, str(reason)) == (Cause.SUBJECT_CHANGED, "its subject is CN=s1, wanted is CN=s2")


def test_change_of_names_is_spelled_out() -> None:
    wanted = node_profile("server", datacenter="dc1", node="s1", ip=["10.1.0.12"], dns=["s1.example"])
    reason = needs_reissue(issued(), parse_request(request()), wanted, authority().certificate, AT)
    assert str(reason) == "its names change: +10.1.0.12 +s1.example -10.1.0.11"


def test_order_of_names_does_not_matter() -> None:
    names = profile().names
    assert cause(issued(replace(profile(), names=SubjectNames(names.dns[::-1], names.ip[::-1])))) is None


def test_promoted_client_needs_the_names_of_a_server() -> None:
    assert cause(issued(profile("client")), profile("server")) == Cause.NAMES_CHANGED


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (AT - timedelta(minutes=1, seconds=1), Cause.NOT_YET_VALID),
        (AT - timedelta(minutes=1), None),
        (END - LIFE / 3, None),
        (END - LIFE / 3 + timedelta(seconds=1), Cause.EXPIRES_SOON),
        (END - timedelta(seconds=1), Cause.EXPIRES_SOON),
        (END, Cause.EXPIRED),
        (END + timedelta(days=1), Cause.EXPIRED),
    ],
)
def test_life_of_a_certificate_at_its_limits(at: datetime, expected: Cause | None) -> None:
    assert cause(issued(), at=at) == expected


def test_certificate_cut_short_by_its_authority_is_not_renewed_over_and_over() -> None:
    late = AT + timedelta(days=3640)
    pem = authority().sign(request(), profile(), at=late, entropy=os.urandom)
    assert keys.parse_certificate(pem).not_valid_after_utc - late == timedelta(days=10)
    assert cause(pem, at=late) is None


def test_first_reason_is_the_one_that_explains_the_others() -> None:
    everything_wrong = issued(profile("client", ip=()), ca=authority(2), number=2)
    assert cause(everything_wrong, at=END) == Cause.KEY_MISMATCH


def test_every_cause_is_reached_by_this_table() -> None:
    reached = {row[2] for row in TABLE} | {
        Cause.SUBJECT_CHANGED,
        Cause.NOT_YET_VALID,
        Cause.EXPIRED,
        Cause.EXPIRES_SOON,
    }
    assert reached == set(Cause)


def test_certificate_without_extensions_is_judged_not_tripped_over() -> None:
    from cryptography.hazmat.primitives import hashes

    from tests.unit.meshnode.pki.certificates import key

    bare = (
        x509.CertificateBuilder(issuer_name=authority().certificate.subject)
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "s1")]))
        .public_key(key().public_key())
        .serial_number(1)
        .not_valid_before(AT)
        .not_valid_after(END)
        .sign(authority().key, hashes.SHA256())
    )
    assert cause(keys.serialize_certificate(bare)) == Cause.NAMES_CHANGED
