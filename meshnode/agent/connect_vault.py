"""Vault as the certificate authority of Connect: the root and an intermediate are keys that never leave it.

What is in Vault, by the documentation of its PKI engine: in the mount ``RootPKIPath`` a root, the one that is there or
a new one; in ``IntermediatePKIPath`` an intermediate that the root signed, and the role that leaves are signed with.
Roots and intermediates are named by their issuers' ids, as several may be in one mount; a Vault before 1.11 has one
in each, the default. Everything that Vault answers is verified before it is used: it has to come from the root that
the mesh trusts. Mounts, and keys that are not used any more, are left to whoever runs Vault.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from cryptography import x509

from meshnode.agent.connect_provider import root_row
from meshnode.agent.vault_client import VaultClient, VaultError
from meshnode.base.certificates import is_issued_by
from meshnode.base.duration import format_duration
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.spiffe import AuthorityId
from meshnode.connect.model import CaRoot, RootKey
from meshnode.connect.provider import NewRoot, SignedLeaf
from meshnode.connect.vault import VaultKey
from meshnode.pki import connect_ca, keys
from meshnode.pki.connect_intermediate import parse_intermediate_request
from meshnode.pki.leaf import MAX_COMMON_NAME_LENGTH

__all__ = ["ROLE", "VaultCa"]

_log = logging.getLogger("meshnode.connect")
#: The role that leaves are signed with; Consul's name for it.
ROLE: Final = "leaf-cert"
_ROLE: Final = {
    "allow_any_name": True,
    "enforce_hostnames": False,
    "cn_validations": ["disabled"],
    "require_cn": False,
    "use_csr_common_name": False,
    "use_csr_sans": True,
    "allowed_uri_sans": ["spiffe://*"],
    "allow_ip_sans": False,
    "key_type": "any",
    "key_usage": ["DigitalSignature", "KeyEncipherment"],
    "client_flag": True,
    "server_flag": True,
    "basic_constraints_valid_for_non_ca": True,
    "no_store": True,
    "max_ttl": "8760h",
}
#: Seconds: ten years and one, as Consul asks for.
ROOT_LIFE: Final = 87_600 * 3600.0
INTERMEDIATE_LIFE: Final = 8_760 * 3600.0
#: Seconds that a certificate ends before its issuer: Vault refuses what would end after it, by its own clock.
MARGIN: Final = 60.0
#: An intermediate is replaced when this part of its life is left, or ``RENEW_LIFETIMES`` of a leaf's life if that is
#: more; but never in the first half of its life.
RENEW_FRACTION: Final = 0.25
RENEW_LIFETIMES: Final = 4.0
#: Seconds that a token must be good for after it was renewed: two looks at it.
MIN_TOKEN_LIFE: Final = 60.0


class VaultCa:
    """A :class:`~meshnode.connect.provider.CaProvider`.

    ``root`` and ``key`` are the root that it signs for, ``None`` to make the first one. ``known`` are ids of roots that
    the mesh has, so that :meth:`new_root` makes another. ``wall`` is unix seconds, ``leaf_ttl`` seconds.
    """

    def __init__(
        self,
        client: VaultClient,
        *,
        root: CaRoot | None = None,
        key: VaultKey | None = None,
        known: Collection[str] = (),
        key_type: str = "ec-p256",
        leaf_ttl: float,
        trust_domain: str,
        wall: Callable[[], float],
    ) -> None:
        self._client = client
        self._settings = client.settings
        self._root = root
        self._key = key
        self._known = known
        self._key_type = key_type
        self._leaf_ttl = leaf_ttl
        self._trust_domain = trust_domain
        self._wall = wall

    # Roots

    async def new_root(self, name: str, trust_domain: str) -> NewRoot:
        """The root that the mount has if the mesh doesn't know it yet, else a new one; with its intermediate."""
        for mount, life in (
            (self._settings.root_path, ROOT_LIFE),
            (self._settings.intermediate_path, INTERMEDIATE_LIFE),
        ):
            await self._mount(mount, life)
        pem, issuer = await self._present_root(), ""
        if not pem:
            pem, issuer = await self._generate_root(name, trust_domain)
        root = root_row(keys.parse_certificate(pem, self._at(self._settings.root_path)))
        if root.id in self._known:
            raise MeshError(
                f"{self._at(self._settings.root_path)} gave the root again that Connect has, as a Vault before "
                "1.11 does: write another RootPKIPath to change to a new root"
            )
        key = await self._intermediate(root, issuer, trust_domain)
        await self._write_role()
        return NewRoot(root, RootKey(root.id, elsewhere=key.elsewhere()))

    async def _mount(self, path: str, life: float) -> None:
        """Make the mount if there is none. Raises :class:`ConfigError` when it is of another kind."""
        try:
            kind = (await self._client.read(f"sys/mounts/{path}")).get("type")
        except VaultError as error:
            if error.status not in (400, 404, 405):
                raise
            await self._make_mount(path, life)
            return
        if kind != "pki":
            raise ConfigError(
                f"{self._at(path)} is a mount of the kind {str(kind)[:40]!r}, not pki: write the path of another one"
            )

    async def _make_mount(self, path: str, life: float) -> None:
        config = {"max_lease_ttl": f"{life:.0f}s"}
        try:
            await self._client.write(
                f"sys/mounts/{path}", type="pki", description="CA of Connect", config=config
            )
        except VaultError as error:
            # An old Vault can't be asked for one mount.
            if "already in use" not in str(error):
                raise
            return
        _log.info("Vault has a new mount for Connect, %s", path)

    async def _present_root(self) -> str:
        """PEM of the mount's root; empty when there is none, it is over, or the mesh has it already."""
        path = self._settings.root_path
        try:
            pem = await self._client.read_text(f"{path}/ca/pem")
        except VaultError as error:
            if error.status not in (400, 404):
                raise
            return ""
        if "BEGIN CERTIFICATE" not in pem:
            return ""
        certificate = keys.parse_certificate(pem, self._at(path))
        if not is_issued_by(certificate, certificate):
            raise ConfigError(
                f"{self._at(path)} has a CA that is no root, as another one signed it: "
                "write the path of a mount with a root, or of an empty one"
            )
        is_over = certificate.not_valid_after_utc.timestamp() <= self._wall()
        return "" if is_over or root_row(certificate).id in self._known else pem

    async def _generate_root(self, name: str, trust_domain: str) -> tuple[str, str]:
        """PEM and issuer."""
        path = self._settings.root_path
        made = await self._client.write(
            f"{path}/root/generate/internal", **self._subject(name, trust_domain), ttl=f"{ROOT_LIFE:.0f}s"
        )
        if not made:
            raise MeshError(f"{self._at(path)} made no root, as it has one: write another RootPKIPath")
        return self._field(made, "certificate", path), str(made.get("issuer_id") or "")

    def _subject(self, name: str, trust_domain: str) -> dict[str, Any]:
        kind, _, size = self._key_type.partition("-")
        return {
            "common_name": name,
            "uri_sans": str(AuthorityId(trust_domain)),
            "exclude_cn_from_sans": True,
            "key_type": kind,
            "key_bits": int(size.removeprefix("p")),
        }

    # The intermediate

    async def _intermediate(self, root: CaRoot, root_issuer: str, trust_domain: str) -> VaultKey:
        """A new one, signed by the root. Raises :class:`MeshError` when it could not sign leaves for long enough."""
        path, root_path, now = self._settings.intermediate_path, self._settings.root_path, self._wall()
        asked = await self._client.write(
            f"{path}/intermediate/generate/internal",
            **self._subject(f"{root.name} Intermediate", trust_domain),
        )
        pem = await self._signed(root, root_issuer, self._field(asked, "csr", path))
        certificate = keys.parse_certificate(pem, self._at(root_path))
        life = certificate.not_valid_after_utc.timestamp() - now
        if life < 2 * self._leaf_ttl:
            raise ConfigError(
                f"LeafCertTTL: {format_duration(self._leaf_ttl)} is too long, as {self._at(root_path)} signs an "
                f"intermediate for {format_duration(float(int(life)))}: raise max_lease_ttl of the mount"
            )
        done = await self._client.write(f"{path}/intermediate/set-signed", certificate=pem)
        issuers = done.get("imported_issuers") or done.get("existing_issuers") or [""]
        return VaultKey(self._settings, root_issuer, str(issuers[0]), pem)

    async def _signed(self, root: CaRoot, root_issuer: str, request_pem: str) -> str:
        """PEM of an intermediate for that request, signed by the root."""
        root_path = self._settings.root_path
        signed = await self._client.write(
            f"{_issuer_path(root_path, root_issuer)}/sign-intermediate",
            csr=request_pem,
            use_csr_values=True,
            format="pem",
            ttl=f"{max(1.0, min(INTERMEDIATE_LIFE, root.not_after - self._wall() - MARGIN)):.0f}s",
        )
        pem = self._field(signed, "certificate", root_path).strip() + "\n"
        certificate = keys.parse_certificate(pem, self._at(root_path))
        if not is_issued_by(certificate, keys.parse_certificate(root.root_cert)):
            raise MeshError(
                f"{self._at(root_path)} signs with another root than {root.name}, which Connect trusts: "
                "make that one the default issuer of the mount, or write another RootPKIPath"
            )
        return pem

    async def sign_intermediate(self, request_pem: str, *, trust_domain: str) -> str:
        """By the root's ``sign-intermediate``; Vault takes names and key from the request, which is checked before."""
        parse_intermediate_request(request_pem, trust_domain)
        root, key = self._own()
        return await self._signed(root, key.root_issuer, request_pem)

    async def _write_role(self) -> None:
        await self._client.write(f"{self._settings.intermediate_path}/roles/{ROLE}", **_ROLE)

    # The CA

    async def cross_sign(self, root: CaRoot) -> str:
        """By Vault's ``sign-self-issued``, for which a policy must give ``sudo``."""
        own, key = self._own()
        path = self._settings.root_path
        signed = await self._client.write(
            f"{_issuer_path(path, key.root_issuer)}/sign-self-issued", certificate=root.root_cert
        )
        pem = self._field(signed, "certificate", path)
        certificate = keys.parse_certificate(pem, self._at(path))
        if not is_issued_by(certificate, keys.parse_certificate(own.root_cert)):
            raise MeshError(f"{self._at(path)} signs with another root than {own.name}")
        return pem.strip() + "\n"

    async def sign(self, request_pem: str, *, trust_domain: str, datacenter: str, ttl: float) -> SignedLeaf:
        """With the intermediate."""
        _, key = self._own()
        request = connect_ca.parse_leaf_request(request_pem)
        identity = connect_ca.service_of(request, trust_domain, datacenter)
        issuer = keys.parse_certificate(key.intermediate)
        left = issuer.not_valid_after_utc.timestamp() - self._wall() - MARGIN
        if left < 1:
            raise MeshError(
                f"the intermediate of {self._at(self._settings.intermediate_path)} is over: it is replaced "
                "as soon as Vault answers to the leader"
            )
        body = {
            "csr": request_pem,
            # As the built-in CA does: the name that counts is the URI.
            "common_name": identity.service if len(identity.service) <= MAX_COMMON_NAME_LENGTH else "",
            "exclude_cn_from_sans": True,
            "format": "pem",
            "ttl": f"{max(1, int(min(ttl, left)))}s",
        }
        path = f"{_leaf_path(self._settings.intermediate_path, key.intermediate_issuer)}/sign/{ROLE}"
        try:
            signed = await self._client.write(path, **body)
        except VaultError as error:
            if "unknown role" not in str(error):
                raise
            await self._write_role()
            signed = await self._client.write(path, **body)
        pem = self._field(signed, "certificate", path).strip() + "\n"
        leaf = keys.parse_certificate(pem, self._at(path))
        self._check_leaf(leaf, issuer, request, str(identity))
        number = leaf.serial_number
        return SignedLeaf(
            pem,
            connect_ca.colon_hex(number.to_bytes((number.bit_length() + 7) // 8, "big")),
            identity.service,
            str(identity),
            leaf.not_valid_before_utc.timestamp(),
            leaf.not_valid_after_utc.timestamp(),
            (key.intermediate.strip() + "\n",),
        )

    def _check_leaf(
        self, leaf: x509.Certificate, issuer: x509.Certificate, request: connect_ca.LeafRequest, uri: str
    ) -> None:
        where = self._at(self._settings.intermediate_path)
        if not is_issued_by(leaf, issuer):
            raise MeshError(
                f"{where} signs with another intermediate than Connect's: write the settings of the CA again"
            )
        try:
            names = [*leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
        except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            names = []
        if leaf.public_key() != request.public_key or names != [x509.UniformResourceIdentifier(uri)]:
            raise MeshError(f"{where} signed something else than {uri}: look at its role {ROLE}")

    async def upkeep(self) -> RootKey | None:
        """Renew the token, and replace the intermediate before its end."""
        _, key = self._own()
        await self._renew_token()
        certificate = keys.parse_certificate(key.intermediate)
        ends = certificate.not_valid_after_utc.timestamp()
        life = ends - certificate.not_valid_before_utc.timestamp()
        if ends - self._wall() > min(max(life * RENEW_FRACTION, self._leaf_ttl * RENEW_LIFETIMES), life / 2):
            return None
        return await self.renewed()

    async def renewed(self) -> RootKey:
        """The row of the same root with a new intermediate, made with the settings of the client."""
        root, key = self._own()
        await self._mount(self._settings.intermediate_path, INTERMEDIATE_LIFE)
        renewed = await self._intermediate(root, key.root_issuer, self._trust_domain)
        await self._write_role()
        _log.info("Connect has a new intermediate in Vault, signed by %s", root.name)
        return RootKey(root.id, elsewhere=renewed.elsewhere())

    async def look(self) -> None:
        """Ask whether Vault is there and takes the token, which is renewed if that is due; raises if not."""
        await self._renew_token()

    async def move(self) -> RootKey:
        """The row of the same root for the client's settings, if they reach it."""
        root, key = self._own()
        await self._renew_token()
        old, new = key.settings, self._settings
        if new.is_reached_as(old) and new.intermediate_path == old.intermediate_path:
            return RootKey(root.id, elsewhere=replace(key, settings=new).elsewhere())
        # It may be another Vault: only a new intermediate shows whether it has the root.
        return await self.renewed()

    async def _renew_token(self) -> None:
        """Raises :class:`VaultError` when its end is near and it can't be renewed."""
        found = await self._client.read("auth/token/lookup-self")
        left, whole = _seconds(found.get("ttl")), _seconds(found.get("creation_ttl"))
        # A root token, or one without an end.
        if not left and not found.get("expire_time"):
            return
        if left > max(whole / 2, 2 * MIN_TOKEN_LIFE):
            return
        if found.get("renewable"):
            renewed = await self._client.write("auth/token/renew-self")
            left = _seconds(renewed.get("lease_duration"))
        if left < MIN_TOKEN_LIFE:
            raise VaultError(
                f"the token for Vault at {self._settings.address} ends in {left:g} seconds and can't be renewed for "
                "longer: write the settings of the CA with another one, best a periodic one"
            )

    def _own(self) -> tuple[CaRoot, VaultKey]:
        if self._root is None or self._key is None:
            raise MeshError("the CA has no root in Vault yet: it can sign nothing")
        return self._root, self._key

    def _at(self, path: str) -> str:
        return f"Vault at {self._settings.address}, {path},"

    def _field(self, answer: Mapping[str, Any], name: str, path: str) -> str:
        value = answer.get(name)
        if not isinstance(value, str) or not value:
            raise VaultError(f"{self._at(path)} answered without {name}: is it Vault?")
        return value


def _issuer_path(mount: str, issuer: str) -> str:
    """Of a root: for its ``sign-intermediate`` and ``sign-self-issued``."""
    return f"{mount}/issuer/{issuer}" if issuer else f"{mount}/root"


def _leaf_path(mount: str, issuer: str) -> str:
    """Of an intermediate: for its ``sign``."""
    return f"{mount}/issuer/{issuer}" if issuer else mount


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
