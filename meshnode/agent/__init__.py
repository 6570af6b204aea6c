"""Composition root: loads the configuration, builds the parts, connects them, starts and stops them."""

__all__: list[str] = []
