"""``acl translate-rules``: rules of the old ACLs in the syntax of the new ones. A server translates them."""

from __future__ import annotations

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet, Parsed
from meshnode.cli.acl_lookup import whole_id
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.data_argument import read_argument
from meshnode.cli.output import write_line

__all__ = ["run", "translated_rules_of"]


def run(args: list[str]) -> int:
    """Print the translated rules."""
    flags = FlagSet(
        "acl translate-rules",
        "Usage: consul acl translate-rules [options] TRANSLATE",
        "Translates rules: the text itself, @FILE or - for standard input. Instead of rules, a token can be given "
        "that has them.",
    )
    by_accessor = flags.boolean("token-accessor", "The argument is the accessor ID of a token.")
    by_secret = flags.boolean("token-secret", "The argument is the secret ID of a token.")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args[1:])
    if not parsed.positionals:
        raise FlagError("Error! Missing TRANSLATE argument")
    if len(parsed.positionals) > 1:
        raise FlagError(f"Error! Too many arguments: expected 1 got {len(parsed.positionals)}")
    if parsed[by_accessor] and parsed[by_secret]:
        raise FlagError("Error! -token-accessor and -token-secret don't go together: give one")
    data = read_argument(parsed.positionals[0])
    if parsed[by_accessor] or parsed[by_secret]:
        text = data.decode("latin-1").strip()
        write_line(translated_rules_of(client_flags, parsed, text, is_secret=parsed[by_secret]))
    else:
        write_line(_translated(client_flags, parsed, data))
    return 0


def translated_rules_of(client_flags: ClientFlags, parsed: Parsed, token: str, *, is_secret: bool) -> bytes:
    """The rules of a token of the old kind, named by its secret or its accessor ID, in the new syntax."""
    query = client_flags.query(parsed)
    if is_secret:
        reader = client_flags.client(parsed, "Error reading token", token=token)
        rules = reader.get_json("/v1/acl/token/self", query).get("Rules")
        if not rules:
            raise MeshError("Token is not a legacy token with rules")
        return _translated(client_flags, parsed, rules.encode())
    accessor = whole_id(client_flags.client(parsed, "Error determining token ID"), "token", token, query)
    client = client_flags.client(parsed, "Error translating rules")
    return client.call("GET", f"/v1/acl/rules/translate/{path_segment(accessor)}", query).rstrip(b"\n")


def _translated(client_flags: ClientFlags, parsed: Parsed, rules: bytes) -> bytes:
    client = client_flags.client(parsed, "Error translating rules")
    return client.call("POST", "/v1/acl/rules/translate", client_flags.query(parsed), rules).rstrip(b"\n")
