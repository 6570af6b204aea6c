"""Serf protocol 5 on top of memberlist: intents, user events, queries, keyring operations, coordinates.

In: the same verbs as memberlist's, passed through, and ``user_event``, ``query``, ``leave`` and their like.
Out: effects; ``Notify`` carries the events of :mod:`meshnode.gossip.serf.events`.
"""

__all__: list[str] = []
