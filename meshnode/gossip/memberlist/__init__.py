"""SWIM membership with Lifeguard, on memberlist's wire protocol (versions 2 to 5).

In: datagrams, stream bytes, timers. Out: effects. Application data (Serf's) passes through a ``Delegate``.
"""

__all__: list[str] = []
