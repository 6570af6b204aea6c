"""Locks and semaphores over the KV store, by the protocol that Consul documents, as machines without I/O.

``calls``      what a machine asks of its shell (a call to the HTTP API, a pause) and what it gets back
``session``    the session that a lock hangs on: open it, keep it, close it
``mutex``      one holder: ``<prefix>/.lock`` is acquired by a session
``semaphore``  several holders, counted in the body of ``<prefix>/.lock``

In: replies with the time. Out: calls and pauses, and an outcome. The shell is the ``lock`` command, or a program.
"""

__all__: list[str] = []
