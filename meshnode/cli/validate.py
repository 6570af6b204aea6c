"""``validate``: would an agent start with these files? TLS files, addresses and every key are checked."""

from __future__ import annotations

import sys
from typing import Final

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagError, FlagSet

__all__ = ["run"]

USAGE: Final = "Usage: meshnode validate [options] FILE_OR_DIRECTORY..."
DESCRIPTION: Final = """
Performs a thorough sanity test on configuration files: each file and directory is read as the agent reads it, and all
of them together must make a configuration that an agent starts with. Exits with 0 if they do, and with 1 if not.
"""


def run(args: list[str]) -> int:
    """Check the files and directories named in ``args``; returns the exit code."""
    flags = FlagSet("validate", USAGE, DESCRIPTION)
    config_format = flags.string("config-format", "Format of every file, hcl or json, whatever it is called.")
    quiet = flags.boolean("quiet", "Print nothing when the configuration is valid.")
    parsed = flags.parse(args)
    if not parsed.positionals:
        raise FlagError("Must specify at least one config file or directory")
    if parsed[config_format] not in ("", "hcl", "json"):
        raise FlagError(f'-config-format: "{parsed[config_format]}" is not a format: write hcl or json')
    from meshnode.agent.config import load_files  # here: help needs none of it

    try:
        loaded = load_files(parsed.positionals, parsed[config_format])
    except ConfigError as error:
        print(f"Config validation failed: {error}", file=sys.stderr)
        return 1
    for warning in loaded.warnings:
        print(warning, file=sys.stderr)
    if not parsed[quiet]:
        print("Configuration is valid!")
    return 0
