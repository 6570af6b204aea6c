"""``connect ca get-config`` and ``set-config``: the settings of the service mesh's certificate authority."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.output import go_json

__all__ = ["run"]

PATH: Final = "/v1/connect/ca/configuration"


def run(args: list[str]) -> int:
    """Run ``ca get-config`` or ``ca set-config``."""
    return _get(args[2:]) if args[1] == "get-config" else _set(args[2:])


def _get(args: list[str]) -> int:
    flags = FlagSet(
        "connect ca get-config",
        "Usage: consul connect ca get-config [options]",
        "Prints the settings of the certificate authority as JSON, without secrets.",
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    client = client_flags.client(parsed, "Error querying CA configuration")
    print(go_json(client.get_json(PATH, client_flags.query(parsed)), "\t"))
    return 0


def _set(args: list[str]) -> int:
    flags = FlagSet(
        "connect ca set-config",
        "Usage: consul connect ca set-config -config-file FILE [options]",
        'Replaces the settings of the certificate authority by those in FILE: {"Provider": "consul", "Config": {...}}. '
        "Another private key or root begins a rotation: the new root is signed by the old one, and signs once the "
        "nodes that are up trust it. With -dry-run the steps are printed, and nothing changes.",
    )
    file = flags.string("config-file", "JSON file with Provider and Config.", placeholder="file")
    dry_run = flags.boolean("dry-run", "Print what would be done, a line a step, and do nothing.")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    if not parsed[file]:
        raise FlagError("The -config-file flag is required")
    config = _read(parsed[file])
    client = client_flags.client(parsed, "Error setting CA configuration")
    query = client_flags.write_query(parsed)
    if parsed[dry_run]:
        steps = client.send_json("PUT", PATH, config, query | {"dry-run": ""})["Plan"]
        print("\n".join(steps) if steps else "The root stays as it is.")
        return 0
    client.call("PUT", PATH, query, json.dumps(config).encode())
    print("Configuration updated!")
    return 0


def _read(path: str) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Error reading config file {path!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"Error reading config file {path!r}: it is not UTF-8") from None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        # The file may hold a private key, so no part of it is quoted.
        raise ConfigError(f"Error parsing config file {path!r}: it is not JSON") from None
    if not isinstance(config, dict):
        raise ConfigError(f"Error parsing config file {path!r}: write an object with Provider and Config")
    return config
