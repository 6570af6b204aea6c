"""The only place of asyncio, sockets, TLS contexts, clocks and processes: shells around the cores.
"""

__all__: list[str] = []
