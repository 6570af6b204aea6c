"""Gossip: who is in the cluster, and how news spreads. Sans-IO: no socket, clock, thread or file.

``memberlist``  SWIM with Lifeguard: packets, probes, suspicion, push/pull, sealing (memberlist protocol 2-5)
``serf``        on top of it: join and leave intents, user events, queries, keys, coordinates (Serf protocol 5)
``effects``     what a core asks its shell to do

In: packets, stream bytes, timers and verbs, each with ``now`` (monotonic seconds). Out: a list of effects.
The shell that performs them is :mod:`meshnode.runtime.gossip_shell`; the simulator in ``tests/sim`` is another.
"""

__all__: list[str] = []
