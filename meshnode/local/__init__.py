"""What an agent knows about its own services and checks, and how that gets into the catalog.

In: definitions (of the API, of configuration, of files), results of checks, the catalog's view of this node, time.
Out: services and checks to show, what to run, registrations and deregistrations to send. Nothing here does I/O.
"""

__all__: list[str] = []
