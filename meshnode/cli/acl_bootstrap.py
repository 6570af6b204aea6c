"""``acl bootstrap``: the first token, which may do everything. It can be made once."""

from __future__ import annotations

from meshnode.base.goflags import FlagSet
from meshnode.cli.acl_print import token_text
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.output import FormatFlag, print_json

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Make the token and print it."""
    flags = FlagSet(
        "acl bootstrap",
        "Usage: consul acl bootstrap [options]",
        "Makes the first management token and prints it. It works once; keep what it prints.",
    )
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args[1:])
    parsed.reject_positionals()
    as_json = output.is_json(parsed)
    token = client_flags.client(parsed, "Failed ACL bootstrapping").send_json(
        "PUT", "/v1/acl/bootstrap", None, client_flags.write_query(parsed)
    )
    if as_json:
        print_json(token)
    else:
        print(token_text(token))
    return 0
