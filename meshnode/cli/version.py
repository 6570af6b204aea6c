"""``version``: which release of Consul's interfaces is spoken, and by what."""

from __future__ import annotations

from meshnode import CONSUL_API_VERSION, __version__

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Print the version; takes no arguments and ignores none: extra words are an error."""
    if args:
        from meshnode.base.errors import ConfigError

        raise ConfigError(f"version takes no arguments, got {' '.join(args)}")
    print(f"Consul v{CONSUL_API_VERSION}")
    print(
        "Protocol 2 spoken by default, understands 2 to 3 "
        "(agent will automatically use protocol >2 when speaking to compatible agents)"
    )
    print(f"Provided by meshnode v{__version__}")
    return 0
