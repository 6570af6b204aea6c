"""What an agent knows about its own services and checks, and how that gets into the catalog. Nothing here does I/O.

``definitions``, ``parse``, ``fields``, ``proxy``   services and checks as somebody wrote them, and how that is read
``proxy_plan``, ``sidecar``, ``managed``   the proxies that come with services: definitions of their own, with ports
``persisted``    the same as records of files
``state``, ``entries``   the local state: what there is, what waits to be sent, what has been removed
``sync``, ``wire``   anti-entropy: what differs from the catalog, and the calls of servers that make it equal
``check_type``, ``check_status``, ``check_alias``, ``check_certificate``   how checks are run, and what results mean

In: definitions, results of checks, the catalog's view of this node, time. Out: services and checks to show, what to
run, registrations and deregistrations to send.
"""

__all__: list[str] = []
