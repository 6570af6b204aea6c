"""``acl token create``, ``read``, ``update``, ``delete``, ``list`` and ``clone``."""

from __future__ import annotations

from typing import Any

from meshnode.base.duration import format_duration
from meshnode.base.goflags import Flag, FlagError, FlagSet
from meshnode.cli.acl_call import AclCall
from meshnode.cli.acl_lookup import LinkFlags, merged, whole_id
from meshnode.cli.acl_print import AclOutput, token_entry, token_text
from meshnode.cli.api import path_segment

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Run the command named by ``args[1]``."""
    commands = {
        "create": _create,
        "read": _read,
        "update": _update,
        "delete": _delete,
        "list": _list,
        "clone": _clone,
    }
    commands[args[1]](args[2:])
    return 0


def _create(args: list[str]) -> None:
    flags = FlagSet(
        "acl token create",
        "Usage: consul acl token create [options]",
        "Makes a token with the rights of the policies, roles and services given, and prints it.",
    )
    accessor = flags.string(
        "accessor", "Accessor ID of the token; left out, one is made.", placeholder="uuid"
    )
    secret = flags.string(
        "secret",
        "Secret ID of the token; left out, one is made. Others on this machine can see it in the list of processes.",
        placeholder="uuid",
    )
    local = flags.boolean("local", "Make it valid in this datacenter only.")
    description = flags.string("description", "What it is for.", placeholder="text")
    ttl = flags.duration("expires-ttl", "How long it is valid.")
    links = LinkFlags.of(flags, "token")
    output = AclOutput(flags, "token")
    call = AclCall(flags, args, output)
    parsed = call.parsed
    if not links.given(parsed):
        raise FlagError(
            "Cannot create a token without specifying -policy-name, -policy-id, -role-name, -role-id, or "
            "-service-identity at least once"
        )
    token: dict[str, Any] = {"Description": parsed[description], "Local": parsed[local]}
    if parsed[ttl]:
        token["ExpirationTTL"] = format_duration(parsed[ttl])
    token |= {
        name: parsed[flag] for name, flag in (("AccessorID", accessor), ("SecretID", secret)) if parsed[flag]
    }
    token |= links.read(call)
    made = call.put("/v1/acl/token", token, failing="Failed to create new token")
    output.show(parsed, made, token_text)


def _read(args: list[str]) -> None:
    flags = FlagSet(
        "acl token read",
        "Usage: consul acl token read [options] -id TOKENID",
        "Prints a token, its secret included.",
    )
    names = _id_flags(flags)
    own = flags.boolean("self", "The token that this command itself uses.")
    output = AclOutput(flags, "token")
    call = AclCall(flags, args, output)
    accessor = "self" if call.parsed[own] else _accessor(call, names)
    token = call.get(f"/v1/acl/token/{path_segment(accessor)}", failing=_failing("reading", accessor))
    output.show(call.parsed, token, token_text)


def _update(args: list[str]) -> None:
    flags = FlagSet(
        "acl token update",
        "Usage: consul acl token update [options] -id TOKENID",
        "Changes the description of a token, and replaces its links by those given; with -merge-... they are added "
        "to the ones it has.",
    )
    names = _id_flags(flags)
    description = flags.string("description", "What it is for; left out, it stays.", placeholder="text")
    merging = {
        "Policies": flags.boolean("merge-policies", "Keep its policies, and add the ones given."),
        "Roles": flags.boolean("merge-roles", "Keep its roles, and add the ones given."),
        "ServiceIdentities": flags.boolean(
            "merge-service-identities", "Keep its service identities, and add the ones given."
        ),
    }
    upgrade = flags.boolean("upgrade-legacy", "Turn a token of the old kind into one with policies.")
    links = LinkFlags.of(flags, "token")
    output = AclOutput(flags, "token")
    call = AclCall(flags, args, output)
    parsed = call.parsed
    accessor = _accessor(call, names)
    path = f"/v1/acl/token/{path_segment(accessor)}"
    token = call.get(path, failing="Error when retrieving current token")
    if parsed[upgrade]:
        token.pop("Rules", None)
        token["Type"] = ""
    if parsed.given(description):
        token["Description"] = parsed[description]
    wanted = links.read(call)
    for field, merge in merging.items():
        found = wanted.get(field, [])
        token[field] = merged(token.get(field), found) if parsed[merge] else found
    changed = call.put(path, token, failing=f"Failed to update token {accessor}")
    output.show(parsed, changed, token_text, "Token updated successfully.")


def _delete(args: list[str]) -> None:
    flags = FlagSet(
        "acl token delete", "Usage: consul acl token delete [options] -id TOKENID", "Deletes a token."
    )
    names = _id_flags(flags)
    call = AclCall(flags, args)
    accessor = _accessor(call, names)
    call.delete(f"/v1/acl/token/{path_segment(accessor)}", failing=_failing("deleting", accessor))
    print(f'Token "{accessor}" deleted successfully')


def _list(args: list[str]) -> None:
    flags = FlagSet(
        "acl token list", "Usage: consul acl token list [options]", "Lists every token, without the secrets."
    )
    output = AclOutput(flags, "token")
    call = AclCall(flags, args, output)
    tokens = call.get("/v1/acl/tokens", failing="Failed to retrieve the token list")
    # Later agents put secrets into lists; a list is no place for them.
    shown = [{name: token[name] for name in token if name != "SecretID"} for token in tokens or ()]
    output.show_all(call.parsed, shown, token_entry, between="\n\n")


def _clone(args: list[str]) -> None:
    flags = FlagSet(
        "acl token clone",
        "Usage: consul acl token clone [options] -id TOKENID",
        "Makes a token with the rights of another one, and prints it.",
    )
    names = _id_flags(flags)
    description = flags.string(
        "description", "What it is for; left out, as the other one.", placeholder="text"
    )
    output = AclOutput(flags, "token")
    call = AclCall(flags, args, output)
    accessor = _accessor(call, names)
    made = call.put(
        f"/v1/acl/token/{path_segment(accessor)}/clone",
        {"Description": call.parsed[description]},
        failing="Error cloning token",
    )
    output.show(call.parsed, made, token_text, "Token cloned successfully.")


def _id_flags(flags: FlagSet) -> tuple[Flag[str], Flag[str]]:
    meaning = "Accessor ID of the token, its beginning, or anonymous."
    return (
        flags.string("id", meaning, placeholder="id"),
        flags.string("accessor-id", "The same, as later versions of Consul have it.", placeholder="id"),
    )


def _accessor(call: AclCall, names: tuple[Flag[str], Flag[str]]) -> str:
    text = call.parsed[names[0]] or call.parsed[names[1]]
    if not text:
        raise FlagError("Must specify the -id parameter")
    return whole_id(call.client("Error determining token ID"), "token", text, call.query)


def _failing(doing: str, accessor: str) -> str:
    return f'Error {doing} token "{accessor}"'
