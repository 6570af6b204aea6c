from __future__ import annotations

import base64
import os
import subprocess

import pytest

from meshnode.base.errors import ConfigError
from meshnode.base.gossip_key import generate_gossip_key, gossip_key_fingerprint, parse_gossip_key
from meshnode.gossip.memberlist.keyring import Keyring


@pytest.mark.parametrize(("size", "characters"), [(16, 24), (24, 32), (32, 44)])
def test_key_of_each_size_survives_its_text_form(size: int, characters: int) -> None:
    text = generate_gossip_key(os.urandom, size)
    assert len(text) == characters
    assert len(parse_gossip_key(f" {text}\n")) == size


def test_key_is_what_the_entropy_says() -> None:
    assert generate_gossip_key(bytes, 16) == "AAAAAAAAAAAAAAAAAAAAAA=="


def test_default_is_the_size_of_consul_1_2_3() -> None:
    assert len(parse_gossip_key(generate_gossip_key(os.urandom))) == 16


@pytest.mark.parametrize("size", [0, 15, 17, 64])
def test_sizes_that_aes_lacks_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"16, 24 or 32 bytes, not {size}"):
        generate_gossip_key(os.urandom, size)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("no key, a sentence", "18 characters. is not base64"),
        ("c2VjcmV0c2VjcmV0c2VjcmV0", "decodes to 18 bytes"),
        ("A" * 65, "is not base64"),
        ("AAAA-AAAA_AAAAAAAAAAAA==", "is not base64"),
    ],
)
def test_bad_key_is_refused_without_being_shown(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        parse_gossip_key(text, where="/etc/meshnode.d/encrypt.json")
    assert refused.value.key == "encrypt"
    assert str(refused.value).startswith("/etc/meshnode.d/encrypt.json: ")
    assert not text.strip() or text.strip() not in str(refused.value)


def test_fingerprint_can_be_made_with_coreutils() -> None:
    key = os.urandom(32)
    command = f"echo {base64.b64encode(key).decode()} | base64 -d | sha256sum | cut -c1-8"
    printed = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.strip()
    assert gossip_key_fingerprint(key) == printed


def test_fingerprint_is_the_one_that_the_keyring_shows() -> None:
    assert Keyring([b"k" * 16]).fingerprints == (gossip_key_fingerprint(b"k" * 16),)
