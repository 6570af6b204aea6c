"""The HTTP API as values: a request in, a response or effects out. Sans-IO.

A handler is a plain function of (context, request). It returns a Response, a StreamResponse, or a generator that
yields effects (what it needs done) and is sent their outcomes, so it reads like blocking code.

* ``message`` requests and responses; ``effects`` what handlers ask for; ``view`` what they may read at once
* ``routes`` the table of all routes; ``router`` finds one and guards it; ``api`` is the door: ``Api.handle(request)``
* ``agent_routes status_routes event_routes operator_routes`` the handlers
* ``blocking`` index and wait; ``content_hash`` the same by a hash; ``render`` JSON, gzip, response heads
* ``exposition`` metrics as JSON and Prometheus text
* ``user_events`` the last 256 user events; ``redact`` request lines without secrets; ``errors`` status codes

Sockets, TLS and HTTP parsing are in ``runtime.http_server``.
"""

__all__: list[str] = []
