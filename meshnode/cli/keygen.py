"""``keygen``: a new gossip key on standard output, for ``encrypt`` in the configuration."""

from __future__ import annotations

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Print base64 of 16 random bytes, as Consul 1.2.3 does, or of ``-size`` 24 or 32."""
    import os

    from meshnode.base.goflags import FlagSet, HelpRequested
    from meshnode.base.gossip_key import generate_gossip_key

    flags = FlagSet(
        "keygen",
        "Usage: meshnode keygen [options]",
        "Generates a new encryption key that can be used to seal the gossip between agents.",
    )
    size = flags.integer("size", "Bytes of the key: 16, 24 or 32.", default=16)
    try:
        parsed = flags.parse(args)
        parsed.reject_positionals()
    except HelpRequested as usage:
        print(usage, end="")
        return 0
    print(generate_gossip_key(os.urandom, parsed[size]))
    return 0
