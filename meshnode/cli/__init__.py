"""The command line: one file per command; each parses, calls the agent's HTTP API, prints. Imports are lazy."""

__all__: list[str] = []
