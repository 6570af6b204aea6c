"""The methods of a server, one file per subject, each with its table ``METHODS``; ``table`` has them all."""

__all__: list[str] = []
