"""Serf protocol 5 on top of memberlist: intents, user events, queries, keyring operations, coordinates.

``serf``         the node: verbs of the application, inputs passed through to memberlist
``delegate``     the half that memberlist calls; ``query_flow`` asks and answers; ``own_joins`` rejoins and reconnects
``members``      who is here (``member``: the table of statuses, ``intents``: news that came early)
``messages``     the wire, with ``payloads`` of internal queries, ``tags``, ``filters`` (``pattern``), ``wire``
``coordinate``   Vivaldi; ``snapshot``: lines for a restart; ``events``: what is reported upwards

In: the same verbs as memberlist's, passed through, and ``user_event``, ``query``, ``leave`` and their like.
Out: effects; ``Notify`` carries the events of :mod:`meshnode.gossip.serf.events`.
"""

__all__: list[str] = []
