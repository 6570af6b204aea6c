"""The DNS interface as values: the bytes of a query in, the bytes of an answer or an effect out. Sans-IO.

* ``records`` what a message is made of; ``message`` bytes to values and back, with compression and its bounds
* ``names`` what a name under the domain asks for, and the names that answers point at; ``config`` the settings
* ``view`` what may be read at once, and the lookups; ``effects`` what has to be asked of somebody else
* ``contents`` nodes and instances as records; ``template`` a finished answer, whose records move with each use
* ``answer`` the door: ``Resolver.handle(query, source, tcp)``

An answer from memory is given at once, without a task; anything else is a generator that waits for an effect.
Sockets are in ``runtime.dns_server``, other DNS servers in ``runtime.dns_recursors``.
Sources: RFC 1034, 1035, 2308, 2782, 3596, 6891, 7766, 7871, and Consul's documentation of its DNS interface.
"""

__all__: list[str] = []
