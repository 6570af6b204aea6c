from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.gossip_parts import first_key
from meshnode.agent.plan import gossip_plan
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.runtime.keyring_file import load_keyring, open_keyring, save_keyring

ID = "b54fe110-7af5-cafc-d1fb-afc8ba432b1c"
LAN, WAN = b"l" * 16, b"w" * 16


def keys_of(config: Any, path: Path, *, wan: bool) -> tuple[bytes, ...]:
    """What the pool begins with when ``encrypt`` is ``LAN`` and its keyring is at ``path``."""
    made = gossip_plan(config(server=True), ID, wan=wan, names_by_id=dict)
    plan = replace(made, keyring_path=path, encrypt=LAN)
    ring = open_keyring(plan.keyring_path, first_key(plan))
    assert ring is not None
    return tuple(ring.keys)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "serf").mkdir(0o700)
    return tmp_path / "serf" / "keyring"


def test_a_keyring_counts_whatever_encrypt_says_which_for_the_lan_is_told(
    config: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_keyring(path, [WAN])
    assert keys_of(config, path, wan=True) == (WAN,)
    assert caplog.messages == []
    assert keys_of(config, path, wan=False) == (WAN,)
    assert gossip_key_fingerprint(LAN) in caplog.text


def test_without_a_keyring_the_wan_begins_with_the_key_of_the_lan(config: Any, path: Path) -> None:
    assert keys_of(config, path, wan=True) == (LAN,)
    assert load_keyring(path) == [LAN]
