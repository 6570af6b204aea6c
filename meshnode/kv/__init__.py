"""Keys, values, locks and sessions. Part of the replicated state; pure, one writer.

``store``      entries, prefix lists, check-and-set, the raw acquire and release
``graveyard``  where deleted keys leave their index, so that lists don't go backwards
``sessions``   who may hold locks, what ends a session, lock delays
``txn``        up to 64 operations, all or none

In: operations, with the index and the time that they have in the log. Out: plain values, and the watch keys that a
write touched. Source: Consul 1.2.3, agent/consul/state.
"""

__all__: list[str] = []
