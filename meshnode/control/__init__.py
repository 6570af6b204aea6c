"""What a server does on each call: (state, call) in, (state, result) out. Pure.

``log``         the replicated log as values and one interface
``command``     every command that the log may hold, and its bytes (``shape``: dataclasses as msgpack)
``machine``     the replicated state: applies commands, answers reads (``snapshot``: the whole of it as bytes)
``watch``       which blocking queries a write wakes
``servers``     the servers of a datacenter, read from gossip
``status``      ``Status.*``: who leads
``user_event``  Consul's user events
"""

__all__: list[str] = []
