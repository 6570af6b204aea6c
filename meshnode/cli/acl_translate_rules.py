"""``acl translate-rules``: rules of the old ACLs in the syntax of the new ones. A server translates them."""

from __future__ import annotations

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.data_argument import read_argument
from meshnode.cli.output import write_line

__all__ = ["run"]


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
    query = client_flags.query(parsed)
    data = read_argument(parsed.positionals[0])
    client = client_flags.client(parsed, "Error translating rules")
    if parsed[by_accessor]:
        accessor = data.decode(errors="replace").strip()
        write_line(
            client.call("GET", f"/v1/acl/rules/translate/{path_segment(accessor)}", query).rstrip(b"\n")
        )
        return 0
    if parsed[by_secret]:
        secret = data.decode("latin-1").strip()
        reader = client_flags.client(parsed, "Error reading token", token=secret)
        rules = reader.get_json("/v1/acl/token/self", query).get("Rules")
        if not rules:
            raise MeshError("Token is not a legacy token with rules")
        data = rules.encode()
    write_line(client.call("POST", "/v1/acl/rules/translate", query, data).rstrip(b"\n"))
    return 0
