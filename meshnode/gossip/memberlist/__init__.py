"""SWIM membership with Lifeguard, on memberlist's wire protocol (versions 2 to 5).

In: datagrams, stream bytes, timers. Out: effects. Application data (Serf's) passes through a ``Delegate``.

``memberlist``  the machine and its public verbs; dispatches to
``membership``  claims about nodes: transitions, refutation, suspicion, conflicts, merging a peer's state
``probe``       failure detection, and answering the probes of others
``exchange``    streams: push/pull, joins, pings and user messages by TCP
``outbox``      what leaves: effects, news riding along, sealing, counters
``packet``      label, seal, CRC, compression, compound; ``stream`` the same for TCP; ``lzw``, ``keyring`` below them
``codec``       messages (``messages``) to msgpack and back
``member``      the rule of what supersedes what; ``roster``, ``suspicion``, ``awareness``, ``broadcast``, ``schedule``
``config``      profiles; ``delegate`` the seam; ``events`` what is notified; ``timers`` what is armed
"""

__all__: list[str] = []
