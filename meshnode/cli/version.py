"""``version``: which release of Consul's interfaces is spoken, and by what."""

from __future__ import annotations

from meshnode import CONSUL_API_VERSION, __version__
from meshnode.base.goflags import FlagSet

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Print the version; takes no arguments and ignores none: extra words are an error."""
    flags = FlagSet(
        "version", "Usage: consul version", "Prints the version of Consul that is spoken, and ours."
    )
    flags.parse(args).reject_positionals()
    print(f"Consul v{CONSUL_API_VERSION}")
    print(
        "Protocol 2 spoken by default, understands 2 to 3 "
        "(agent will automatically use protocol >2 when speaking to compatible agents)"
    )
    print(f"Provided by meshnode v{__version__}")
    return 0
