"""``acl role create``, ``read``, ``update``, ``delete`` and ``list``: policies under one name (Consul 1.5)."""

from __future__ import annotations

from typing import Any

from meshnode.base.goflags import Flag, FlagError, FlagSet, Parsed
from meshnode.cli.acl_lookup import LinkFlags, by_name, merged, whole_id
from meshnode.cli.acl_print import AclOutput, role_entry, role_text
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Run the command named by ``args[1]``."""
    commands = {"create": _create, "read": _read, "update": _update, "delete": _delete, "list": _list}
    commands[args[1]](args[2:])
    return 0


def _create(args: list[str]) -> None:
    flags = FlagSet(
        "acl role create",
        "Usage: consul acl role create [options] -name NAME",
        "Makes a role with the rights of the policies and services given, and prints it.",
    )
    name = flags.string("name", "Name of the role.", placeholder="name")
    description = flags.string("description", "What it is for.", placeholder="text")
    links = LinkFlags.of(flags, "role")
    output = AclOutput(flags, "role")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    output.check(parsed)
    if not parsed[name]:
        raise FlagError("Missing require '-name' flag")
    if not links.given(parsed):
        raise FlagError(
            "Cannot create a role without specifying -policy-name, -policy-id, or -service-identity at least once"
        )
    role = {"Name": parsed[name], "Description": parsed[description]} | links.read(parsed, client_flags)
    made = client_flags.client(parsed, "Failed to create new role").send_json(
        "PUT", "/v1/acl/role", role, client_flags.write_query(parsed)
    )
    output.show(parsed, made, role_text)


def _read(args: list[str]) -> None:
    flags = FlagSet(
        "acl role read", "Usage: consul acl role read [options] -id ID | -name NAME", "Prints a role."
    )
    names = _id_flags(flags)
    output = AclOutput(flags, "role")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    output.check(parsed)
    role_id = _role_id(parsed, names, client_flags)
    role = client_flags.client(parsed, f'Error reading role "{role_id}"').get_json(
        f"/v1/acl/role/{path_segment(role_id)}", client_flags.query(parsed)
    )
    output.show(parsed, role, role_text)


def _update(args: list[str]) -> None:
    flags = FlagSet(
        "acl role update",
        "Usage: consul acl role update [options] -id ID",
        "Changes what is given of a role, and adds the links given to those it has; with -no-merge, everything else "
        "is emptied.",
    )
    role_id_flag, name = _id_flags(flags)
    description = flags.string("description", "What it is for.", placeholder="text")
    no_merge = flags.boolean("no-merge", "Replace every field but the ID.")
    links = LinkFlags.of(flags, "role")
    output = AclOutput(flags, "role")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    output.check(parsed)
    if not parsed[role_id_flag]:
        raise FlagError("Cannot update a role without specifying the -id parameter")
    role_id = _role_id(parsed, (role_id_flag, name), client_flags)
    path = f"/v1/acl/role/{path_segment(role_id)}"
    role: dict[str, Any] = {"ID": role_id, "Name": "", "Description": ""}
    if not parsed[no_merge]:
        role = client_flags.client(parsed, "Error when retrieving current role").get_json(
            path, client_flags.query(parsed)
        )
    for field, flag in (("Name", name), ("Description", description)):
        if parsed.given(flag):
            role[field] = parsed[flag]
    for field, found in links.read(parsed, client_flags).items():
        role[field] = merged(role.get(field), found)
    changed = client_flags.client(parsed, f'Error updating role "{role_id}"').send_json(
        "PUT", path, role, client_flags.write_query(parsed)
    )
    output.show(parsed, changed, role_text, "Role updated successfully")


def _delete(args: list[str]) -> None:
    flags = FlagSet(
        "acl role delete", "Usage: consul acl role delete [options] -id ID | -name NAME", "Deletes a role."
    )
    names = _id_flags(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    role_id = _role_id(parsed, names, client_flags)
    client_flags.client(parsed, f'Error deleting role "{role_id}"').call(
        "DELETE", f"/v1/acl/role/{path_segment(role_id)}", client_flags.write_query(parsed)
    )
    print(f'Role "{role_id}" deleted successfully')


def _list(args: list[str]) -> None:
    flags = FlagSet("acl role list", "Usage: consul acl role list [options]", "Lists every role.")
    output = AclOutput(flags, "role")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    output.check(parsed)
    roles = client_flags.client(parsed, "Failed to retrieve the role list").get_json(
        "/v1/acl/roles", client_flags.query(parsed)
    )
    output.show_all(parsed, roles, role_entry, between="\n")


def _id_flags(flags: FlagSet) -> tuple[Flag[str], Flag[str]]:
    return (
        flags.string("id", "ID of the role, or its beginning.", placeholder="id"),
        flags.string("name", "Name of the role.", placeholder="name"),
    )


def _role_id(parsed: Parsed, names: tuple[Flag[str], Flag[str]], client_flags: ClientFlags) -> str:
    by_id, name = parsed[names[0]], parsed[names[1]]
    if not by_id and not name:
        raise FlagError("Must specify either the -id or -name parameters")
    client, query = client_flags.client(parsed, "Error determining role ID"), client_flags.query(parsed)
    return whole_id(client, "role", by_id, query) if by_id else by_name(client, "role", name, query)
