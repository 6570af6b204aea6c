"""What the ``acl`` commands take on their command line: IDs cut short, names, and links to policies and roles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import Flag, FlagError, FlagSet, Parsed
from meshnode.cli.acl_call import AclCall
from meshnode.cli.acl_print import Row
from meshnode.cli.api import ApiClient

__all__ = ["ANONYMOUS", "Kind", "LinkFlags", "NameFlags", "merged", "service_identities", "whole_id"]

Kind: TypeAlias = Literal["token", "policy", "role"]
#: The accessor of the token that a caller without one has.
ANONYMOUS: Final = "00000000-0000-0000-0000-000000000002"
_UUID_CHARS: Final = 36
_LISTS: Final[dict[Kind, tuple[str, str]]] = {
    "token": ("/v1/acl/tokens", "AccessorID"),
    "policy": ("/v1/acl/policies", "ID"),
    "role": ("/v1/acl/roles", "ID"),
}


def whole_id(client: ApiClient, kind: Kind, text: str, query: dict[str, str]) -> str:
    """The ID that begins with ``text``; raises :class:`MeshError` when there is none, or more than one."""
    if kind == "token" and text == "anonymous":
        return ANONYMOUS
    if len(text) == _UUID_CHARS:
        return text
    path, field = _LISTS[kind]
    found = [row[field] for row in client.get_json(path, query) or () if row[field].startswith(text)]
    if not found:
        raise MeshError(f"Error determining {kind} ID: No such {kind} ID with prefix: {text}")
    if len(found) > 1:
        raise MeshError(
            f"Error determining {kind} ID: Partial {kind} ID is not unique: "
            f"{len(found)} begin with {text}: write more of it"
        )
    return str(found[0])


def _by_name(client: ApiClient, kind: Kind, name: str, query: dict[str, str]) -> str:
    for row in client.get_json(_LISTS[kind][0], query) or ():
        if row["Name"] == name:
            return str(row["ID"])
    raise MeshError(f"Error determining {kind} ID: No such {kind} with name {name}")


def service_identities(texts: Sequence[str]) -> list[Row]:
    """Read ``NAME`` and ``NAME:DC1,DC2``; raises :class:`ConfigError`."""
    identities = []
    for text in texts:
        name, _, datacenters = text.partition(":")
        if not name or ":" in datacenters:
            raise ConfigError(
                f"-service-identity: {text!r} is none: write NAME or NAME:DATACENTER1,DATACENTER2"
            )
        identity: Row = {"ServiceName": name}
        if datacenters:
            identity["Datacenters"] = [part for part in datacenters.split(",") if part]
        identities.append(identity)
    return identities


def merged(known: list[Row] | None, added: list[Row]) -> list[Row]:
    """Links of ``known``, then those of ``added`` that share neither ID nor name with one of them."""
    result = list(known or ())
    for link in added:
        if not any(
            link.get(field) and link[field] == other.get(field)
            for other in result
            for field in ("ID", "Name", "ServiceName")
        ):
            result.append(link)
    return result


@dataclass(frozen=True, slots=True)
class NameFlags:
    """The flags that name a policy or a role: ``-id``, which may be cut short, and ``-name``."""

    kind: Kind
    id: Flag[str]
    name: Flag[str]

    @classmethod
    def of(cls, flags: FlagSet, kind: Kind) -> NameFlags:
        """Add them to a set."""
        return cls(
            kind,
            flags.string("id", f"ID of the {kind}, or its beginning.", placeholder="id"),
            flags.string("name", f"Name of the {kind}.", placeholder="name"),
        )

    def read(self, call: AclCall) -> str:
        """The whole ID; raises :class:`MeshError` when there is no such policy or role, or more than one."""
        by_id, name = call.parsed[self.id], call.parsed[self.name]
        if not by_id and not name:
            raise FlagError("Must specify either the -id or -name parameters")
        client = call.client(f"Error determining {self.kind} ID")
        if by_id:
            return whole_id(client, self.kind, by_id, call.query)
        return _by_name(client, self.kind, name, call.query)


@dataclass(frozen=True, slots=True)
class LinkFlags:
    """The repeatable flags that link a token or a role to others."""

    policy_ids: Flag[tuple[str, ...]]
    policy_names: Flag[tuple[str, ...]]
    identities: Flag[tuple[str, ...]]
    role_ids: Flag[tuple[str, ...]] | None
    role_names: Flag[tuple[str, ...]] | None

    @classmethod
    def of(cls, flags: FlagSet, what: str) -> LinkFlags:
        """Add them to a set; only a token has roles."""

        def several(name: str, meaning: str, placeholder: str) -> Flag[tuple[str, ...]]:
            return flags.strings(name, meaning, placeholder=placeholder)

        token = what == "token"
        return cls(
            several("policy-id", f"ID of a policy of the {what}, or its beginning.", "id"),
            several("policy-name", f"Name of a policy of the {what}.", "name"),
            several("service-identity", "Service whose rights it has: NAME or NAME:DC1,DC2.", "name"),
            several("role-id", "ID of a role of the token, or its beginning.", "id") if token else None,
            several("role-name", "Name of a role of the token.", "name") if token else None,
        )

    def given(self, parsed: Parsed) -> bool:
        """Whether any of them is on the command line."""
        flags = (self.policy_ids, self.policy_names, self.identities, self.role_ids, self.role_names)
        return any(flag is not None and parsed.given(flag) for flag in flags)

    def read(self, call: AclCall) -> dict[str, list[Any]]:
        """The links by the name of their field; empty ones are left out."""
        identities: tuple[str, ...] = call.parsed[self.identities]
        links = {
            "Policies": self._links(call, "policy", self.policy_ids, self.policy_names),
            "Roles": self._links(call, "role", self.role_ids, self.role_names),
            "ServiceIdentities": service_identities(identities),
        }
        return {field: found for field, found in links.items() if found}

    def _links(
        self,
        call: AclCall,
        kind: Kind,
        ids: Flag[tuple[str, ...]] | None,
        names: Flag[tuple[str, ...]] | None,
    ) -> list[Row]:
        if ids is None or names is None:
            return []
        client = call.client(f"Error resolving {kind} ID")
        links = [{"Name": name} for name in call.parsed[names]]
        return links + [{"ID": whole_id(client, kind, text, call.query)} for text in call.parsed[ids]]
