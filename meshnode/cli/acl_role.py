"""``acl role create``, ``read``, ``update``, ``delete`` and ``list``: policies under one name (Consul 1.5)."""

from __future__ import annotations

from typing import Any

from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.acl_call import AclCall
from meshnode.cli.acl_lookup import LinkFlags, NameFlags, merged
from meshnode.cli.acl_print import AclOutput, role_entry, role_text
from meshnode.cli.api import path_segment

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
    call = AclCall(flags, args, output)
    parsed = call.parsed
    if not parsed[name]:
        raise FlagError("Missing require '-name' flag")
    if not links.given(parsed):
        raise FlagError(
            "Cannot create a role without specifying -policy-name, -policy-id, or -service-identity at least once"
        )
    role = {"Name": parsed[name], "Description": parsed[description]} | links.read(call)
    made = call.put("/v1/acl/role", role, failing="Failed to create new role")
    output.show(parsed, made, role_text)


def _read(args: list[str]) -> None:
    flags = FlagSet(
        "acl role read", "Usage: consul acl role read [options] -id ID | -name NAME", "Prints a role."
    )
    names = NameFlags.of(flags, "role")
    output = AclOutput(flags, "role")
    call = AclCall(flags, args, output)
    role_id = names.read(call)
    role = call.get(f"/v1/acl/role/{path_segment(role_id)}", failing=f'Error reading role "{role_id}"')
    output.show(call.parsed, role, role_text)


def _update(args: list[str]) -> None:
    flags = FlagSet(
        "acl role update",
        "Usage: consul acl role update [options] -id ID",
        "Changes what is given of a role, and adds the links given to those it has; with -no-merge, everything else "
        "is emptied.",
    )
    names = NameFlags.of(flags, "role")
    description = flags.string("description", "What it is for.", placeholder="text")
    no_merge = flags.boolean("no-merge", "Replace every field but the ID.")
    links = LinkFlags.of(flags, "role")
    output = AclOutput(flags, "role")
    call = AclCall(flags, args, output)
    parsed = call.parsed
    if not parsed[names.id]:
        raise FlagError("Cannot update a role without specifying the -id parameter")
    role_id = names.read(call)
    path = f"/v1/acl/role/{path_segment(role_id)}"
    role: dict[str, Any] = {"ID": role_id, "Name": "", "Description": ""}
    if not parsed[no_merge]:
        role = call.get(path, failing="Error when retrieving current role")
    for field, flag in (("Name", names.name), ("Description", description)):
        if parsed.given(flag):
            role[field] = parsed[flag]
    for field, found in links.read(call).items():
        role[field] = merged(role.get(field), found)
    changed = call.put(path, role, failing=f'Error updating role "{role_id}"')
    output.show(parsed, changed, role_text, "Role updated successfully")


def _delete(args: list[str]) -> None:
    flags = FlagSet(
        "acl role delete", "Usage: consul acl role delete [options] -id ID | -name NAME", "Deletes a role."
    )
    names = NameFlags.of(flags, "role")
    call = AclCall(flags, args)
    role_id = names.read(call)
    call.delete(f"/v1/acl/role/{path_segment(role_id)}", failing=f'Error deleting role "{role_id}"')
    print(f'Role "{role_id}" deleted successfully')


def _list(args: list[str]) -> None:
    flags = FlagSet("acl role list", "Usage: consul acl role list [options]", "Lists every role.")
    output = AclOutput(flags, "role")
    call = AclCall(flags, args, output)
    roles = call.get("/v1/acl/roles", failing="Failed to retrieve the role list")
    output.show_all(call.parsed, roles, role_entry, between="\n")
