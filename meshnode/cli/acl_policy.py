"""``acl policy create``, ``read``, ``update``, ``delete`` and ``list``."""

from __future__ import annotations

from typing import Any

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import Flag, FlagError, FlagSet, Parsed
from meshnode.cli.acl_call import AclCall
from meshnode.cli.acl_lookup import NameFlags
from meshnode.cli.acl_print import AclOutput, policy_entry, policy_text
from meshnode.cli.acl_translate_rules import translated_rules_of
from meshnode.cli.api import path_segment
from meshnode.cli.data_argument import read_argument

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Run the command named by ``args[1]``."""
    commands = {"create": _create, "read": _read, "update": _update, "delete": _delete, "list": _list}
    commands[args[1]](args[2:])
    return 0


def _create(args: list[str]) -> None:
    flags = FlagSet(
        "acl policy create",
        "Usage: consul acl policy create [options] -name NAME",
        "Makes a policy of rules, and prints it.",
    )
    name = flags.string("name", "Name of the policy.", placeholder="name")
    description, rules, datacenters = _content_flags(flags)
    legacy = flags.string(
        "from-token",
        "Token of the old kind whose rules to take: its accessor ID, @FILE or - for standard input.",
        placeholder="id",
    )
    is_secret = flags.boolean("token-secret", "What -from-token names is the secret ID of the token.")
    output = AclOutput(flags, "policy")
    call = AclCall(flags, args, output)
    parsed = call.parsed
    if not parsed[name]:
        raise FlagError("Missing require '-name' flag")
    if parsed[legacy] and parsed[rules]:
        raise FlagError("Cannot specify both -rules and -from-token: give one")
    policy: dict[str, Any] = {"Name": parsed[name], "Description": parsed[description]}
    if parsed[legacy]:
        token = read_argument(parsed[legacy]).decode("latin-1").strip()
        found = translated_rules_of(call.client_flags, parsed, token, is_secret=parsed[is_secret])
        policy["Rules"] = found.decode(errors="replace")
    else:
        policy["Rules"] = _rules(parsed, rules)
    if parsed[datacenters]:
        policy["Datacenters"] = parsed[datacenters]
    made = call.put("/v1/acl/policy", policy, failing="Failed to create new policy")
    output.show(parsed, made, policy_text)


def _read(args: list[str]) -> None:
    flags = FlagSet(
        "acl policy read", "Usage: consul acl policy read [options] -id ID | -name NAME", "Prints a policy."
    )
    names = NameFlags.of(flags, "policy")
    output = AclOutput(flags, "policy")
    call = AclCall(flags, args, output)
    policy_id = names.read(call)
    policy = call.get(
        f"/v1/acl/policy/{path_segment(policy_id)}", failing=f'Error reading policy "{policy_id}"'
    )
    output.show(call.parsed, policy, policy_text)


def _update(args: list[str]) -> None:
    flags = FlagSet(
        "acl policy update",
        "Usage: consul acl policy update [options] -id ID | -name NAME",
        "Changes what is given of a policy and keeps the rest; with -no-merge, the rest is emptied. Given -id, -name "
        "is its new name.",
    )
    names = NameFlags.of(flags, "policy")
    description, rules, datacenters = _content_flags(flags)
    no_merge = flags.boolean("no-merge", "Replace every field but the ID.")
    output = AclOutput(flags, "policy")
    call = AclCall(flags, args, output)
    parsed = call.parsed
    given_rules = _rules(parsed, rules)
    policy_id = names.read(call)
    path = f"/v1/acl/policy/{path_segment(policy_id)}"
    policy: dict[str, Any] = {"Name": "", "Description": "", "Rules": "", "Datacenters": None}
    if not parsed[no_merge]:
        known = call.get(path, failing=f'Error reading policy "{policy_id}"')
        policy = {field: known.get(field) for field in policy}
    fields: dict[str, tuple[Flag[Any], Any]] = {
        "Name": (names.name, parsed[names.name]),
        "Description": (description, parsed[description]),
        "Rules": (rules, given_rules),
        "Datacenters": (datacenters, parsed[datacenters]),
    }
    policy |= {field: value for field, (flag, value) in fields.items() if parsed.given(flag)}
    changed = call.put(path, policy | {"ID": policy_id}, failing=f'Error updating policy "{policy_id}"')
    output.show(parsed, changed, policy_text, "Policy updated successfully")


def _delete(args: list[str]) -> None:
    flags = FlagSet(
        "acl policy delete",
        "Usage: consul acl policy delete [options] -id ID | -name NAME",
        "Deletes a policy.",
    )
    names = NameFlags.of(flags, "policy")
    call = AclCall(flags, args)
    policy_id = names.read(call)
    call.delete(f"/v1/acl/policy/{path_segment(policy_id)}", failing=f'Error deleting policy "{policy_id}"')
    print(f'Policy "{policy_id}" deleted successfully')


def _list(args: list[str]) -> None:
    flags = FlagSet(
        "acl policy list", "Usage: consul acl policy list [options]", "Lists every policy, without the rules."
    )
    output = AclOutput(flags, "policy")
    call = AclCall(flags, args, output)
    policies = call.get("/v1/acl/policies", failing="Failed to retrieve the policy list")
    output.show_all(call.parsed, policies, policy_entry, between="\n")


def _content_flags(flags: FlagSet) -> tuple[Flag[str], Flag[str], Flag[tuple[str, ...]]]:
    return (
        flags.string("description", "What it is for.", placeholder="text"),
        flags.string(
            "rules", "The rules: the text itself, @FILE or - for standard input.", placeholder="rules"
        ),
        flags.strings(
            "valid-datacenter", "Datacenter that it is valid in; left out, all.", placeholder="name"
        ),
    )


def _rules(parsed: Parsed, flag: Flag[str]) -> str:
    try:
        return read_argument(parsed[flag]).decode()
    except UnicodeDecodeError:
        raise ConfigError("-rules: what is given is not UTF-8 text") from None
