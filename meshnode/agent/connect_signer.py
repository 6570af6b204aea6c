"""Which certificate authority does what: who holds a root's key signs for it, the settings say who makes the next."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from meshnode.agent import on_demand
from meshnode.agent.connect_provider import BuiltInCa, given_root
from meshnode.base.errors import ConfigError, MeshError
from meshnode.connect import rotation
from meshnode.connect.model import DEFAULT_LEAF_TTL, VAULT, CaConfig, CaRoot, CaState, RootKey
from meshnode.connect.provider import CaProvider, NewRoot
from meshnode.connect.settings import HIDDEN, CaSettings
from meshnode.connect.validity import check_given
from meshnode.connect.vault import VaultKey, VaultSettings, parse_vault_key

if TYPE_CHECKING:
    from meshnode.agent.connect_vault import VaultCa
    from meshnode.agent.vault_client import VaultClient

__all__ = ["Signers", "is_other_root", "is_same_root", "newest_key", "with_key", "with_token"]

_log = logging.getLogger("meshnode.connect")
_NUMBER: Final = re.compile(r"Consul CA (\d{1,9})")

#: Connections to Vault that are kept: a change from one to another needs two.
MAX_CLIENTS: Final = 4


def newest_key(ca: CaState) -> RootKey | None:
    """The key of the root that signs, or will when the rotation switches. Settings of the CA are about this one."""
    root_id = ca.rotation.new if ca.rotation is not None else ca.active.id if ca.active is not None else ""
    return ca.row_of(root_id)


def with_token(settings: CaSettings, ca: CaState) -> CaSettings:
    """The settings with the token that is in force, if theirs is hidden.

    Raises :class:`ConfigError` when there is none, or it would go to another Vault than the one it was given for.
    """
    if settings.vault is None or settings.vault.token != HIDDEN:
        return settings
    known = _vault_key(newest_key(ca))
    if known is None:
        raise ConfigError("Token: write the token itself: there is none yet")
    if not known.settings.is_reached_as(settings.vault):
        raise ConfigError(
            "Token: write the token itself: the one that is in force is for Vault at "
            f"{known.settings.address} with the settings that were there, and is sent nowhere else"
        )
    return replace(settings, vault=replace(settings.vault, token=known.settings.token))


def with_key(ca: CaState, changed: RootKey) -> tuple[RootKey, ...]:
    """The keys with that row in place of the one of the same root."""
    return tuple(changed if row.root_id == changed.root_id else row for row in ca.keys)


def is_other_root(ca: CaState, settings: CaSettings) -> bool:
    """Whether the settings may name another root than the newest one."""
    old, known = ca.config, _settings_of(newest_key(ca))
    if old is None or old.provider != settings.provider:
        return True
    if settings.vault is not None:
        new = (settings.vault.namespace, settings.vault.root_path, settings.key_type)
        return known is None or new != (known.namespace, known.root_path, old.key_type)
    if settings.private_key == HIDDEN:
        return False
    if settings.private_key:
        return True
    was_given = bool(old.settings.get("PrivateKey"))
    return was_given or old.key_type != settings.key_type


def is_same_root(root: CaRoot, active: CaRoot, settings: CaSettings) -> bool:
    """Whether that is the root that signs already: for a key alone, a root of the same key."""
    by_key = bool(settings.private_key) and not settings.root_cert
    return root.id == active.id or (by_key and root.signing_key_id == active.signing_key_id)


class Signers:
    """``wall`` is unix seconds, ``entropy`` a cryptographic generator."""

    def __init__(self, wall: Callable[[], float], entropy: Callable[[int], bytes]) -> None:
        self._wall = wall
        self._entropy = entropy
        self._clients: dict[VaultSettings, VaultClient] = {}

    def active(self, ca: CaState) -> CaProvider:
        """Who signs now. Raises :class:`MeshError` when it can't be asked."""
        return self.of_key(ca, ca.row_of(ca.active.id) if ca.active is not None else None)

    def of_key(self, ca: CaState, row: RootKey | None) -> CaProvider:
        """Who holds that key."""
        key = _vault_key(row)
        if row is None or key is None:
            return BuiltInCa(ca, self._wall, self._entropy)
        return self._vault(ca, ca.config, key.settings, row, key)

    def maker(self, ca: CaState, config: CaConfig, settings: CaSettings | None) -> BuiltInCa | VaultCa:
        """Who makes the next root by ``config``: where Vault is say the ``settings``, else the newest root's key."""
        if config.provider != VAULT:
            return BuiltInCa(ca, self._wall, self._entropy, config.key_type)
        given = settings.vault if settings is not None else None
        if given is None:
            known = _vault_key(newest_key(ca))
            if known is None:
                raise ConfigError("the settings of Vault are lost: write the settings of the CA again")
            given = known.settings
        return self._vault(ca, config, given)

    def mover(self, ca: CaState, settings: VaultSettings) -> VaultCa:
        """Who signs for the newest root, whose key is in Vault, when that is reached by other ``settings``."""
        row = newest_key(ca)
        return self._vault(ca, ca.config, settings, row, _vault_key(row))

    async def root(self, ca: CaState, config: CaConfig, settings: CaSettings | None) -> NewRoot:
        """The root that ``settings`` give, else a new one. Raises :class:`ConfigError` for one that can't sign now."""
        if settings is not None and settings.root_cert:
            given = given_root(settings.root_cert, settings.private_key)
            check_given(given.root, self._wall())
            return given
        key = settings.private_key if settings is not None and settings.private_key != HIDDEN else ""
        maker = self.maker(ca, config, settings)
        if key and isinstance(maker, BuiltInCa):
            return await asyncio.to_thread(maker.root_for, _next_name(ca), config.trust_domain, key)
        return await maker.new_root(_next_name(ca), config.trust_domain)

    async def next_root(self, ca: CaState, settings: CaSettings | None, *, dry_run: bool = False) -> NewRoot:
        """A root and its key, with the certificate by the present root if that can still sign.

        In a dry run nothing is made in Vault: a root that nobody keeps stands for the one that would be.
        """
        assert ca.config is not None
        old = rotation.require_settled(ca)
        if dry_run and ca.config.provider == VAULT:
            await self.maker(ca, ca.config, settings).look()
            stand_in = BuiltInCa(ca, self._wall, self._entropy)
            made = await stand_in.new_root(_next_name(ca), ca.config.trust_domain)
        else:
            made = await self.root(ca, ca.config, settings)
        if not old.is_valid(self._wall()):
            _log.warning("the new root is not signed by the old one, %s, as that is not valid now", old.name)
            return made
        try:
            signed = await self.active(ca).cross_sign(made.root)
        except MeshError as error:
            _log.warning("the new root is not signed by the old one: %s", error)
            return made
        return replace(made, root=replace(made.root, intermediates=(signed,)))

    async def moved(self, ca: CaState, settings: CaSettings, *, dry_run: bool) -> tuple[RootKey, ...]:
        """The keys when the same root is to be reached by ``settings``."""
        known = _settings_of(newest_key(ca))
        if settings.vault is None or known is None or settings.vault == known:
            return ca.keys
        mover = self.mover(ca, settings.vault)
        if dry_run:
            await mover.look()
            return ca.keys
        return with_key(ca, await mover.move())

    def _vault(
        self,
        ca: CaState,
        config: CaConfig | None,
        settings: VaultSettings,
        row: RootKey | None = None,
        key: VaultKey | None = None,
    ) -> VaultCa:
        return on_demand.connect_vault.VaultCa(
            self._client(settings),
            root=ca.root(row.root_id) if row is not None else None,
            key=key,
            known={root.id for root in ca.roots},
            key_type=config.key_type if config is not None else "ec-p256",
            leaf_ttl=config.leaf_cert_ttl if config is not None else DEFAULT_LEAF_TTL,
            trust_domain=config.trust_domain if config is not None else "",
            wall=self._wall,
        )

    def _client(self, settings: VaultSettings) -> VaultClient:
        client = self._clients.get(settings)
        if client is None:
            if len(self._clients) >= MAX_CLIENTS:
                self._clients.clear()
            client = self._clients[settings] = on_demand.vault_client.VaultClient(settings)
        return client


def _vault_key(row: RootKey | None) -> VaultKey | None:
    return parse_vault_key(row.elsewhere) if row is not None and row.elsewhere else None


def _settings_of(row: RootKey | None) -> VaultSettings | None:
    """How the Vault with that key is reached; ``None`` when it isn't in Vault."""
    key = _vault_key(row)
    return key.settings if key is not None else None


def _next_name(ca: CaState) -> str:
    """Generations differ in name, else a chain could be built to the wrong one."""
    numbers = [int(found[1]) for root in ca.roots if (found := _NUMBER.fullmatch(root.name))]
    return f"Consul CA {max(numbers, default=0) + 1}"
