"""``connect {}`` in the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.agent.config.load import Loaded, load
from meshnode.base.errors import ConfigError


def loaded(text: str, *flags: str) -> Loaded:
    return load([*flags, "-bind", "127.0.0.1", "-data-dir", "/nonexistent", "-hcl", text], {})


def test_the_mesh_is_off_unless_it_is_asked_for_and_on_in_dev() -> None:
    assert not loaded("").config.connect.enabled
    assert load(["-dev"], {}).config.connect.enabled
    assert not load(["-dev", "-hcl", "connect { enabled = false }"], {}).config.connect.enabled


def test_the_settings_of_the_ca_reach_the_model_and_are_not_shown() -> None:
    text = 'connect { enabled = true  ca_config { leaf_cert_ttl = "10s"  private_key_type = "rsa" } }'
    connect = loaded(text).config.connect
    assert dict(connect.ca_config) == {"leaf_cert_ttl": "10s", "private_key_type": "rsa"}
    assert "10s" not in repr(connect)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('leaf_cert_ttl = "0s"', "connect.ca_config: LeafCertTTL: 0s can't be used"),
        ('leaf_cert_tll = "1h"', "did you mean leaf_cert_ttl?"),
        ('root_cert = "SECRET"', "RootCert needs PrivateKey"),
        ('private_key = "hidden"', "write the key itself"),
    ],
)
def test_a_mistake_is_found_before_anything_starts(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(f"connect {{ enabled = true  ca_config {{ {text} }} }}")
    assert reason in str(refused.value)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("provider", ["vaults", "aws-pca"])
def test_another_provider_is_refused_with_the_ones_there_are(provider: Any) -> None:
    with pytest.raises(ConfigError, match=r"ca_provider.*write one of consul, vault"):
        loaded(f'connect {{ ca_provider = "{provider}" }}')


def test_settings_of_a_mesh_that_is_off_are_a_warning() -> None:
    warnings = loaded('connect { ca_config { leaf_cert_ttl = "1h" } }').warnings
    assert "connect.ca_config has no effect: connect.enabled is false" in warnings


VAULT = """connect { enabled = true  ca_provider = "vault"  ca_config { address = "%s"  token = "%s"
           root_pki_path = "root"  intermediate_pki_path = "inter" } }"""


def test_vault_is_a_provider_and_its_token_is_not_shown() -> None:
    found = loaded(VAULT % ("https://vault:8200", "s.SECRET"))
    assert found.config.connect.ca_provider == "vault"
    assert found.config.connect.ca_config["root_pki_path"] == "root"
    assert "s.SECRET" not in repr(found.config)
    assert not [warning for warning in found.warnings if "connect" in warning]


@pytest.mark.parametrize(
    ("address", "warned"),
    [("http://vault:8200", True), ("http://127.0.0.1:8200", False), ("http://localhost:8200", False)],
)
def test_a_token_that_crosses_the_network_in_clear_is_a_warning(address: str, warned: bool) -> None:
    warnings = loaded(VAULT % (address, "s.SECRET")).warnings
    assert any("goes to http://vault:8200 without encryption" in warning for warning in warnings) == warned


def test_a_token_must_be_written_in_a_file() -> None:
    with pytest.raises(ConfigError, match="token: write the token itself"):
        loaded(VAULT % ("https://vault:8200", "hidden"))
