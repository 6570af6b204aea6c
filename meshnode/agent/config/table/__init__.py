"""The rows of the key table, a file for each subject; :mod:`meshnode.agent.config.keys` joins them.

A key that is not built yet has ``Refused(reason)`` as its status. To build it: take the status away, and give the
value a field in :mod:`meshnode.agent.config.model`; a test holds the two together.
"""

__all__: list[str] = []
