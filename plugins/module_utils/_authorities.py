# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which generations of the private CA there are, which one signs, which ones are trusted; and how that changes.

``decide`` is the whole policy, and pure. The functions after it read and write the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError

if TYPE_CHECKING:
    from meshnode.pki.authority import Authority

STATE_FILE = "ca/state.json"
#: Part of the root's life below which every run warns: time enough to rotate without haste.
WARNING_FRACTION = 0.1


@dataclass(frozen=True)
class Generations:
    """Every generation in the store, the one that signs, and those whose certificates are trusted."""

    known: tuple[int, ...]
    current: int
    trusted: tuple[int, ...]

    def bundle_order(self) -> tuple[int, ...]:
        """The trusted generations, the signing one first, then the newest: the order of a trust bundle."""
        others = sorted((g for g in self.trusted if g != self.current), reverse=True)
        return (self.current, *others)

    def describe(self) -> dict[str, Any]:
        """Plain values, for a diff."""
        return {"generations": list(self.known), "current": self.current, "trusted": list(self.trusted)}


@dataclass(frozen=True)
class Wish:
    """What a task asks for; ``None`` leaves as it is."""

    new_generation: bool = False
    current: int | None = None
    trusted: tuple[int, ...] | None = None


def decide(found: Generations | None, wish: Wish) -> Generations:
    """The generations as they are to be. Deciding on the result again gives the same, so a broken run can be repeated.

    Raises :class:`SecretStoreError` when the wish contradicts itself or names what isn't there.
    """
    if found is None:
        if wish.new_generation:
            raise SecretStoreError("there is no CA to follow yet: use state=present first")
        found = Generations((1,), 1, (1,))
    elif wish.new_generation:
        newest = max(found.known)
        following = newest if newest > found.current else newest + 1
        found = replace(
            found,
            known=tuple(sorted({*found.known, following})),
            trusted=tuple(sorted({*found.trusted, following})),
        )
    wanted = replace(
        found,
        current=found.current if wish.current is None else wish.current,
        trusted=found.trusted if wish.trusted is None else tuple(sorted(set(wish.trusted))),
    )
    missing = sorted({wanted.current, *wanted.trusted} - set(wanted.known))
    if missing:
        raise SecretStoreError(
            f"CA generation {missing[0]} does not exist: there is {_numbers(wanted.known)}"
        )
    if wanted.current not in wanted.trusted:
        raise SecretStoreError(
            f"CA generation {wanted.current} signs but is not among the trusted ({_numbers(wanted.trusted)}): "
            "every certificate would be refused; trust it first"
        )
    return wanted


def read_generations(store: SecretStore) -> Generations | None:
    """What is in ``store``; ``None`` when it has no CA yet."""
    known = tuple(sorted(int(name) for name in store.list("ca") if name.isdecimal()))
    if not known:
        return None
    text = store.read(STATE_FILE)
    if text is None:
        return Generations(known, max(known), known)
    try:
        state = json.loads(text)
        found = Generations(known, int(state["current"]), tuple(sorted(int(g) for g in state["trusted"])))
    except (ValueError, KeyError, TypeError):
        raise SecretStoreError(f"{store.path}/{STATE_FILE} is damaged: restore it from a backup") from None
    if {found.current, *found.trusted} - set(known):
        raise SecretStoreError(f"{store.path}/{STATE_FILE} names a generation that is not in {store.path}/ca")
    return found


def ensure_generations(
    store: SecretStore, wish: Wish, create: Callable[[int], Authority], *, check_mode: bool
) -> tuple[Generations | None, Generations]:
    """Make the store as ``wish`` has it; returns the generations before and after. Check mode writes nothing."""
    if check_mode:
        found = read_generations(store)
        return found, decide(found, wish)
    with store.lock():
        found = read_generations(store)
        wanted = decide(found, wish)
        for generation in wanted.known:
            if found is None or generation not in found.known:
                made = create(generation)
                files = {"ca.key": made.key_pem, "ca.crt": made.certificate_pem}
                store.write_folder_once(f"ca/{generation}", files)
        state = json.dumps({"current": wanted.current, "trusted": list(wanted.trusted)}, indent=2) + "\n"
        if store.read(STATE_FILE) != state:
            store.replace(STATE_FILE, state)
    return found, wanted


def read_certificate(store: SecretStore, generation: int) -> str:
    """PEM of the root of ``generation``."""
    text = store.read(f"ca/{generation}/ca.crt")
    if text is None:
        raise SecretStoreError(f"{store.path}/ca/{generation}/ca.crt is missing: restore it from a backup")
    return text


def load_authority(store: SecretStore, generation: int) -> Authority:
    """The authority of ``generation``, with its key."""
    from meshnode.pki.authority import Authority

    where = f"{store.path}/ca/{generation}/ca.key"
    key = store.read(f"ca/{generation}/ca.key")
    if key is None:
        raise SecretStoreError(f"{where} is missing: restore it from a backup, or make a new generation")
    return Authority.parse(read_certificate(store, generation), key, where=where)


def read_bundle(store: SecretStore, generations: Generations) -> str:
    """PEM of every trusted root, the signing one first."""
    from meshnode.pki.bundle import join_bundle

    return join_bundle(read_certificate(store, generation) for generation in generations.bundle_order())


def given_authority(certificates_pem: str, key_pem: str) -> tuple[Authority, str]:
    """An authority that variables brought, and the bundle of it and of every further certificate with it."""
    from meshnode.pki.authority import Authority
    from meshnode.pki.bundle import join_bundle, split_bundle

    certificates = split_bundle(certificates_pem)
    return Authority.parse(certificates[0], key_pem, where="ca_key_pem"), join_bundle(certificates)


def expiry_warning(authority_pem: str, at: datetime) -> str | None:
    """A sentence when the root is near its end or past it, else ``None``."""
    from meshnode.pki.keys import parse_certificate

    certificate = parse_certificate(authority_pem)
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if ends - at > (ends - starts) * WARNING_FRACTION:
        return None
    return (
        f"the CA {certificate.subject.rfc4514_string()} ends at {ends.isoformat()}: "
        "rotate it (meshnode.lab.mesh_ca with state=new_generation) before that"
    )


def _numbers(generations: Sequence[int]) -> str:
    return ", ".join(map(str, generations))
