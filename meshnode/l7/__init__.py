"""HTTP for the proxy as values: what arrived, what goes on, what is refused. Pure.

``runtime/proxy/http_*`` has the sockets. In: bytes of a connection, heads of requests and responses, decisions about a
source, instants. Out: events, bytes to send, heads as they go on, refusals with a status and a sentence.

``model``      heads, events, bounds, the refusal
``fields``     header fields: which may be there, which end here, which are added
``target``     where a request is for: its target, its authority, its path as decisions are made on it
``gate``       bytes of HTTP/1.1 requests, read only where no two readers differ on where they end
``http1_server`` and ``http1_client``: connections of HTTP/1.1; ``http1_response`` reads answers (httptools)
``http2``      connections of HTTP/2, both sides (h2)
``names``      whether a certificate is valid for a name
``goaway``     what h2 makes too much of; ``flood``      how often a peer may do what costs us more than it
``forward``    a head as it goes on to the next connection; answers of our own
``rules``      intentions about requests, and what they say of one
``timeouts``   how long a connection and an exchange may take; ``access`` the line in the log
"""

__all__: list[str] = []
