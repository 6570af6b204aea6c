"""The CA's settings as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.connect.model import DEFAULT_LEAF_TTL, DEFAULT_ROTATION_PERIOD
from meshnode.connect.settings import (
    HIDDEN,
    MAX_LEAF_TTL,
    MAX_SETTINGS,
    MIN_LEAF_TTL,
    parse_ca_settings,
    shown_settings,
)


def test_nothing_given_is_consuls_defaults() -> None:
    settings = parse_ca_settings("", {})
    assert (settings.leaf_cert_ttl, settings.rotation_period) == (DEFAULT_LEAF_TTL, DEFAULT_ROTATION_PERIOD)
    assert settings.shown == {"LeafCertTTL": "72h", "RotationPeriod": "2160h"}
    assert settings.key_type == "ec-p256"


@pytest.mark.parametrize(
    ("written", "seconds", "shown"),
    [
        ("10s", 10.0, "10s"),
        ("90m", 5400.0, "90m"),
        (30_000_000_000, 30.0, "30s"),
        (5_400e9, 5400.0, "1h30m"),
        ("", DEFAULT_LEAF_TTL, "72h"),
    ],
)
def test_durations_are_text_or_nanoseconds(written: Any, seconds: float, shown: str) -> None:
    settings = parse_ca_settings("consul", {"LeafCertTTL": written})
    assert settings.leaf_cert_ttl == seconds
    assert settings.shown["LeafCertTTL"] == shown


@pytest.mark.parametrize("name", ["leaf_cert_ttl", "LeafCertTTL", "leafcertttl"])
def test_names_are_those_of_files_and_of_the_api(name: str) -> None:
    assert parse_ca_settings("consul", {name: "5s"}).leaf_cert_ttl == 5.0


def test_the_shortest_and_the_longest_leaf_are_taken() -> None:
    for seconds in (MIN_LEAF_TTL, MAX_LEAF_TTL):
        assert parse_ca_settings("", {"LeafCertTTL": f"{seconds:.0f}s"}).leaf_cert_ttl == seconds
    assert parse_ca_settings("", {"LeafCertTTL": "43800h"}).leaf_cert_ttl == MAX_LEAF_TTL


def test_secrets_are_never_shown() -> None:
    settings = parse_ca_settings(
        "", {"PrivateKey": "SECRET", "RootCert": "cert", "Token": "T0KEN"}, strict=False
    )
    assert settings.private_key == "SECRET"
    config = settings.config("id")
    assert shown_settings(config)["PrivateKey"] == shown_settings(config)["Token"] == HIDDEN
    assert "SECRET" not in repr(settings) + repr(config) + repr(shown_settings(config))
    assert "T0KEN" not in repr(settings) + repr(config) + repr(shown_settings(config))


@pytest.mark.parametrize(
    ("kind", "bits", "key_type"),
    [("ec", 256, "ec-p256"), ("ec", 384, "ec-p384"), ("rsa", 4096, "rsa-4096"), ("rsa", None, "rsa-2048")],
)
def test_the_kind_of_key_is_chosen(kind: str, bits: int | None, key_type: str) -> None:
    assert parse_ca_settings("", {"PrivateKeyType": kind, "PrivateKeyBits": bits}).key_type == key_type


@pytest.mark.parametrize(
    ("provider", "config", "reason"),
    [
        ("vault", {}, "Address is needed with the provider vault"),
        ("", {"LeafCertTTL": "0.9s"}, "LeafCertTTL: 900ms can't be used"),
        ("", {"LeafCertTTL": "43801h"}, "LeafCertTTL: 43801h0m0s can't be used"),
        ("", {"LeafCertTTL": "soon"}, 'LeafCertTTL: "soon" is not a duration'),
        ("", {"LeafCertTTL": True}, "LeafCertTTL must be a duration"),
        ("", {"RotationPeriod": "0s"}, "RotationPeriod must be more"),
        ("", {"RootCert": "x"}, "RootCert needs PrivateKey"),
        ("", {"PrivateKey": 1}, "PrivateKey must be text"),
        ("", {"PrivateKeyType": "dsa"}, "PrivateKeyType 'dsa'"),
        ("", {"PrivateKeyType": ["ec"]}, "PrivateKeyType must be text"),
        ("", {"RotationPeriod": float("inf")}, "RotationPeriod must be text"),
        ("", {"RotationPeriod": 1e300}, "RotationPeriod must be more"),
        ("", {"LeafCertTTL": float("inf")}, "LeafCertTTL"),
        ("", {"PrivateKeyBits": 2**70}, "PrivateKeyBits must be text"),
        ("", {"leaf_cert_tll": "1h"}, "did you mean leaf_cert_ttl"),
    ],
)
def test_a_mistake_is_named(provider: str, config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_ca_settings(provider, config)
    assert reason in str(refused.value)


@pytest.mark.parametrize("value", [{"a": {}}, [1], 2**64, float("inf"), "x" * 70_000], ids=str)
def test_what_the_log_could_not_read_back_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="Other must be text"):
        parse_ca_settings("", {"Other": value}, strict=False)


def test_the_number_of_settings_is_bounded() -> None:
    parse_ca_settings("", {str(number): 1 for number in range(MAX_SETTINGS)}, strict=False)
    with pytest.raises(ConfigError, match="at most"):
        parse_ca_settings("", {str(number): 1 for number in range(MAX_SETTINGS + 1)}, strict=False)


def test_the_api_keeps_what_nobody_knows_as_consul_does() -> None:
    assert parse_ca_settings("", {"Other": 1}, strict=False).shown["Other"] == 1
