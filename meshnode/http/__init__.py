"""The HTTP API as values: a request in, a response or effects out. Sans-IO.

A handler is a function that returns a Response, or a generator that yields what it needs done and is sent the
outcome. Sockets, TLS and HTTP parsing are in ``runtime.http_server``.
"""

__all__: list[str] = []
