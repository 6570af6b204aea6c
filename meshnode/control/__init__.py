"""What a server does on each call: (state, call) in, (state, result) out. Pure."""

__all__: list[str] = []
