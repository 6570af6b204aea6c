"""Tokens, policies and roles as the ``acl`` commands print them, in the form of Consul 1.4."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from meshnode.base.goflags import FlagSet, Parsed
from meshnode.cli.output import FormatFlag, print_json

__all__ = ["AclOutput", "Row", "go_time", "policy_entry", "policy_text", "role_entry", "role_text", "token_entry",
           "token_text"]  # fmt: skip

#: One token, policy or role as the API has it.
Row: TypeAlias = dict[str, Any]
#: RFC 3339 with any number of digits after the second, which is what Go writes.
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


class AclOutput:
    """Adds ``-meta`` and ``-format`` to a set, and prints by them."""

    def __init__(self, flags: FlagSet, what: str) -> None:
        self._meta = flags.boolean("meta", f"Show the hash and the indexes of each {what}.")
        self._format = FormatFlag(flags)

    def check(self, parsed: Parsed) -> None:
        """Raise :class:`~meshnode.base.errors.ConfigError` for a bad format, before anything is changed."""
        self._format.is_json(parsed)

    def show(self, parsed: Parsed, row: Row, text: Callable[..., str], title: str = "") -> None:
        """Print one row, as JSON or by ``text`` below a ``title``."""
        if self._format.is_json(parsed):
            print_json(row)
            return
        if title:
            print(title)
        print(text(row, meta=parsed[self._meta]))

    def show_all(
        self, parsed: Parsed, rows: list[Row] | None, text: Callable[..., str], between: str
    ) -> None:
        """Print every row; ``between`` stands between two of them. No rows print nothing, as JSON ``[]``."""
        if self._format.is_json(parsed):
            print_json(rows or [])
        elif rows:
            print(between.join(text(row, meta=parsed[self._meta]) for row in rows))


def token_text(token: Row, *, meta: bool = False) -> str:
    """A whole token, its secret included: for commands whose output that is."""
    lines = [
        f"AccessorID:   {token.get('AccessorID', '')}",
        # Before 1.4, the only ID of a token was its secret.
        f"SecretID:     {token.get('SecretID') or token.get('ID', '')}",
        *_token_head(token),
        *_meta(token, meta=meta),
        *_token_links(token),
    ]
    return "\n".join([*lines, "Rules:", token["Rules"]] if token.get("Rules") else lines)


def token_entry(token: Row, *, meta: bool = False) -> str:
    """A token in a list: without its secret."""
    return "\n".join(
        [
            f"AccessorID:   {token.get('AccessorID', '')}",
            *_token_head(token),
            f"Legacy:       {_boolean(token.get('Legacy'))}",
            *_meta(token, meta=meta),
            *_token_links(token),
        ]
    )


def policy_text(policy: Row, *, meta: bool = False) -> str:
    """A whole policy."""
    head = [
        f"ID:           {policy['ID']}",
        f"Name:         {policy['Name']}",
        *_policy_head(policy, meta=meta),
    ]
    return "\n".join([*head, "Rules:", policy.get("Rules") or ""])


def policy_entry(policy: Row, *, meta: bool = False) -> str:
    """A policy in a list: without its rules."""
    lines = [f"ID:           {policy['ID']}", *_policy_head(policy, meta=meta)]
    return "\n".join([f"{policy['Name']}:", *_indented(lines)])


def role_text(role: Row, *, meta: bool = False) -> str:
    """A whole role."""
    return "\n".join(
        [f"ID:           {role['ID']}", f"Name:         {role['Name']}", *_role_rest(role, meta=meta)]
    )


def role_entry(role: Row, *, meta: bool = False) -> str:
    """A role in a list."""
    lines = [f"ID:           {role['ID']}", *_role_rest(role, meta=meta)]
    return "\n".join([f"{role['Name']}:", *_indented(lines)])


def go_time(text: str) -> str:
    """A time of the API as Go prints it: ``2018-10-22 11:21:39.5 +0000 UTC``; other texts as they are."""
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    fraction = (match[3] or "").rstrip("0").rstrip(".")
    offset = match[4].replace(":", "")
    return f"{match[1]} {match[2]}{fraction} " + ("+0000 UTC" if offset == "Z" else f"{offset} {offset}")


def _token_head(token: Row) -> list[str]:
    lines = [
        f"Description:  {token.get('Description', '')}",
        f"Local:        {_boolean(token.get('Local'))}",
        f"Create Time:  {go_time(token.get('CreateTime') or '')}",
    ]
    if token.get("ExpirationTime"):
        lines.append(f"Expiration Time:  {go_time(token['ExpirationTime'])}")
    return lines


def _token_links(token: Row) -> list[str]:
    return ["Policies:", *_links(token, "Policies"), *_titled("Roles:", _links(token, "Roles")),
            *_titled("Service Identities:", _identities(token))]  # fmt: skip


def _policy_head(policy: Row, *, meta: bool) -> list[str]:
    return [
        f"Description:  {policy.get('Description', '')}",
        f"Datacenters:  {', '.join(policy.get('Datacenters') or ())}",
        *_meta(policy, meta=meta),
    ]


def _role_rest(role: Row, *, meta: bool) -> list[str]:
    return [
        f"Description:  {role.get('Description', '')}",
        *_meta(role, meta=meta),
        *_titled("Policies:", _links(role, "Policies")),
        *_titled("Service Identities:", _identities(role)),
    ]


def _links(row: Row, kind: str) -> list[str]:
    return [f"   {link.get('ID', '')} - {link.get('Name', '')}" for link in row.get(kind) or ()]


def _identities(row: Row) -> list[str]:
    return [
        f"   {identity['ServiceName']} (Datacenters: {', '.join(identity.get('Datacenters') or ()) or 'all'})"
        for identity in row.get("ServiceIdentities") or ()
    ]


def _titled(title: str, lines: list[str]) -> list[str]:
    return [title, *lines] if lines else []


def _indented(lines: list[str]) -> list[str]:
    return [f"   {line}" for line in lines]


def _meta(row: Row, *, meta: bool) -> list[str]:
    if not meta:
        return []
    return [
        f"Hash:         {b64decode(row.get('Hash') or '').hex()}",
        f"Create Index: {row.get('CreateIndex', 0)}",
        f"Modify Index: {row.get('ModifyIndex', 0)}",
    ]


def _boolean(value: Any) -> str:
    return "true" if value else "false"
