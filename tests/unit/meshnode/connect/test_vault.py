"""How Vault is reached, as people write it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.connect.settings import CaSettings, parse_ca_settings, shown_settings
from meshnode.connect.vault import VaultKey, VaultSettings, parse_vault_key, parse_vault_settings

GIVEN = {
    "Address": "https://vault.example.com:8200/",
    "Token": "s.SECRET",
    "RootPKIPath": "/connect-root/",
    "IntermediatePKIPath": "team/connect_inter",
}
FULL = {
    **GIVEN,
    "Namespace": "ns1/",
    "CAFile": "/ca.pem",
    "CAPath": "/cas",
    "CertFile": "/c.pem",
    "KeyFile": "/k.pem",
    "TLSServerName": "vault.internal",
    "TLSSkipVerify": False,
}


def parsed(**changes: Any) -> VaultSettings:
    return parse_vault_settings({**FULL, **changes})


def test_all_settings_are_read_and_paths_have_no_slashes_around_them() -> None:
    assert parsed() == VaultSettings(
        "https://vault.example.com:8200",
        "s.SECRET",
        "connect-root",
        "team/connect_inter",
        "ns1",
        "/ca.pem",
        "/cas",
        "/c.pem",
        "/k.pem",
        "vault.internal",
    )
    assert parse_vault_settings(GIVEN).ca_file == ""


@pytest.mark.parametrize("address", ["http://127.0.0.1:8200", "http://[::1]:8200", "https://vault"])
def test_addresses_are_urls_with_or_without_a_port(address: str) -> None:
    assert parsed(Address=address).address == address


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Address": ""}, "Address is needed with the provider vault"),
        ({"Token": None}, "Token is needed"),
        ({"RootPKIPath": " "}, "RootPKIPath is needed"),
        ({"IntermediatePKIPath": ""}, "IntermediatePKIPath is needed"),
        ({"Address": "vault:8200"}, "write it as https://vault.example.com:8200"),
        ({"Address": "ftp://vault"}, '"ftp://vault" can\'t be used'),
        ({"Address": "https://vault/v1"}, "can't be used"),
        ({"Address": "https://vault?x=1"}, "can't be used"),
        ({"Address": "https://vault:99999"}, "can't be used"),
        ({"Address": "https://[::1"}, "can't be used"),
        ({"Address": "https://me:SECRET@vault"}, "must not have a user or a password"),
        ({"Address": 1}, "Address must be text"),
        ({"Token": "s.SECRET\r\nX-Other: 1"}, "Token has characters"),
        ({"Token": "SECRET" * 1000}, "Token must be text of at most 4096"),
        ({"RootPKIPath": "a/../sys"}, 'RootPKIPath: "a/../sys" can\'t be used'),
        ({"RootPKIPath": "a?b"}, "RootPKIPath"),
        ({"RootPKIPath": "/"}, 'RootPKIPath: "/" can\'t be used'),
        ({"Namespace": "//"}, 'Namespace: "//" can\'t be used'),
        ({"IntermediatePKIPath": "a//b"}, "IntermediatePKIPath"),
        ({"IntermediatePKIPath": "connect-root"}, "need a mount each"),
        ({"Namespace": "a b"}, "Namespace"),
        ({"KeyFile": ""}, "CertFile and KeyFile need each other"),
        ({"TLSSkipVerify": True}, "whoever is in between would get the token"),
        ({"TLSSkipVerify": "true"}, "TLSSkipVerify can't be used"),
    ],
)
def test_a_mistake_is_named_and_no_secret_is_quoted(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parsed(**changes)
    assert reason in str(refused.value)
    assert "SECRET" not in str(refused.value)


@given(st.text(max_size=40))
def test_whatever_is_written_as_a_path_ends_in_one_that_is_safe_in_a_url_or_in_an_error(path: str) -> None:
    try:
        found = parsed(RootPKIPath=path).root_path
    except ConfigError:
        return
    assert found
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/")
    assert not {"", ".", ".."} & {*found.split("/")}


def test_the_token_is_sent_to_another_place_only_when_it_is_written_again() -> None:
    one = parsed()
    assert one.is_reached_as(replace(one, token="other", root_path="a", intermediate_path="b"))
    for name in ("address", "namespace", "ca_file", "ca_path", "cert_file", "key_file", "tls_server_name"):
        assert not one.is_reached_as(replace(one, **{name: "other"})), name


def test_what_is_remembered_of_a_key_comes_back_and_damage_is_an_error() -> None:
    key = VaultKey(parsed(), "root-id", "inter-id", "PEM")
    assert parse_vault_key(key.elsewhere()) == key
    assert "SECRET" not in repr(key)
    for name in key.elsewhere():
        with pytest.raises(RemoteProtocolError, match=name):
            parse_vault_key({each: value for each, value in key.elsewhere().items() if each != name})


def settings(**config: Any) -> CaSettings:
    return parse_ca_settings("vault", {**GIVEN, **config})


def test_the_settings_of_files_and_of_the_api_are_the_same() -> None:
    written = {
        "address": GIVEN["Address"],
        "token": "s.SECRET",
        "root_pki_path": "connect-root",
        "intermediate_pki_path": "team/connect_inter",
        "leaf_cert_ttl": "1h",
        "private_key_type": "rsa",
        "tls_skip_verify": False,
    }
    found = parse_ca_settings("vault", written)
    assert found.vault == settings().vault
    assert (found.provider, found.leaf_cert_ttl, found.key_type) == ("vault", 3600.0, "rsa-2048")


def test_the_token_is_shown_nowhere() -> None:
    found = settings(CAFile="/ca.pem")
    config = found.config("id")
    assert shown_settings(config)["Token"] == "hidden"
    assert shown_settings(config)["CAFile"] == "/ca.pem"
    assert "SECRET" not in repr(found) + repr(config) + repr(shown_settings(config))


@pytest.mark.parametrize(
    ("provider", "config", "reason"),
    [
        ("vault", {"PrivateKey": "x"}, "PrivateKey is no setting of the provider vault"),
        ("vault", {"root_pki_pth": "x"}, "did you mean root_pki_path?"),
        ("vault", {"tls_skip_verfy": True}, "did you mean tls_skip_verify?"),
        ("consul", {"Token": "x"}, "Token is no setting of the built-in CA"),
        ("aws-pca", {}, 'Provider: "aws-pca" can\'t be used: write "consul" or "vault"'),
    ],
)
def test_each_provider_has_its_own_settings(provider: str, config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_ca_settings(provider, {**(GIVEN if provider == "vault" else {}), **config})
    assert reason in str(refused.value)


def test_a_secret_of_the_other_provider_is_hidden_too_however_it_is_written() -> None:
    found = parse_ca_settings("consul", {"token": "s.SECRET"}, strict=False)
    assert found.shown["Token"] == "hidden"
    assert "SECRET" not in str(found.shown)
