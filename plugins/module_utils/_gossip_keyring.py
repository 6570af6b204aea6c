# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gossip keyring in the store: ordered keys, the first seals, all of them open."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from ansible_collections.meshnode.lab.plugins.module_utils._secrets import (
    SecretStore,
    SecretStoreError,
    read_gossip_keyring,
)

KEYRING_FILE = "gossip.json"
MAX_KEYS = 16


@dataclass(frozen=True)
class Key:
    """One key with its name that may be shown."""

    fingerprint: str
    created: str
    size: int
    text: str = field(repr=False)


@dataclass(frozen=True)
class Wish:
    """What a task asks for; keys are named by their fingerprints."""

    new_key: bool = False
    primary: str | None = None
    remove: tuple[str, ...] = ()


def decide(found: tuple[Key, ...], wish: Wish, make: Callable[[], Key]) -> tuple[Key, ...]:
    """The keyring as it is to be. ``new_key`` adds one behind the primary unless one is waiting there already."""
    if not found:
        if wish.new_key or wish.primary:
            raise SecretStoreError("there is no gossip key yet: use state=present first")
        return (make(),)
    wanted = found
    if wish.new_key and len(found) == 1:
        wanted = (*found, make())
    if wish.primary is not None:
        chosen = [key for key in wanted if key.fingerprint == wish.primary]
        if not chosen:
            known = ", ".join(key.fingerprint for key in wanted)
            raise SecretStoreError(f"no gossip key has the fingerprint {wish.primary}: there is {known}")
        wanted = (chosen[0], *(key for key in wanted if key is not chosen[0]))
    if wanted[0].fingerprint in wish.remove:
        raise SecretStoreError(
            f"gossip key {wanted[0].fingerprint} is the primary key: use another one first"
        )
    wanted = tuple(key for key in wanted if key.fingerprint not in wish.remove)
    if len(wanted) > MAX_KEYS:
        raise SecretStoreError(f"a keyring of {len(wanted)} keys is too long: at most {MAX_KEYS}")
    return wanted


def make_key(size: int, at: datetime, entropy: Callable[[int], bytes]) -> Key:
    """A new key of ``size`` bytes."""
    from meshnode.base.gossip_key import generate_gossip_key

    return describe_key(generate_gossip_key(entropy, size), at.replace(microsecond=0).isoformat())


def describe_key(text: str, created: str, where: str = "") -> Key:
    """The key in ``text`` with its fingerprint; raises :class:`meshnode.base.errors.ConfigError`."""
    from meshnode.base.gossip_key import gossip_key_fingerprint, parse_gossip_key

    key = parse_gossip_key(text, where)
    return Key(gossip_key_fingerprint(key), created, len(key), text.strip())


def read_keys(store: SecretStore) -> tuple[Key, ...]:
    """The keyring in ``store``; empty when none was made."""
    keyring = read_gossip_keyring(store)
    if keyring is None:
        return ()
    where = f"{store.path}/{KEYRING_FILE}"
    return tuple(describe_key(text, created, where) for text, created in zip(keyring.keys, keyring.created))


def ensure_keyring(
    store: SecretStore, wish: Wish, make: Callable[[], Key], *, check_mode: bool
) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Make the keyring as ``wish`` has it; returns it before and after. In check mode a key that would be made is
    shown as not made yet."""
    if check_mode:
        found = read_keys(store)
        return found, tuple(
            key if key in found else replace(key, fingerprint="(new)", text="")
            for key in decide(found, wish, make)
        )
    with store.lock():
        found = read_keys(store)
        wanted = decide(found, wish, make)
        if not found:
            store.write_once(KEYRING_FILE, _serialize(wanted))
        elif wanted != found:
            store.replace(KEYRING_FILE, _serialize(wanted))
    return found, wanted


def _serialize(keys: tuple[Key, ...]) -> str:
    entries = [{"key": key.text, "created": key.created, "size": key.size} for key in keys]
    return json.dumps({"version": 1, "keys": entries}, indent=2) + "\n"
