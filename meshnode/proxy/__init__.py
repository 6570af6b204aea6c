"""The sidecar proxy's decisions: who is on the other end, may they, where to go, what is open. Pure.

In: DER certificates, decisions, instances, configurations, instants. Out: identities or refusals with their reason,
orders of attempts, lists of what to cut and what to restart. ``meshnode.runtime.proxy`` has the sockets.

``authorize``       from a peer's certificate to an identity or a refusal
``issuers``         who vouches for a peer that is connected, once a root is distrusted
``client_hello``    what a TLS client offers to resume with, before the handshake
``decision_cache``  what intentions said of a source, for how long it holds, and what holds when nobody answers
``ledger``          live connections, and which of them a new decision forbids
``balance``         which instance to try, in which order; memory of those that failed
``config``          what a proxy listens on and leads to; what a change of it restarts
``definition``      that, read from flags, from a service's registration, from a file
``instances``       whom to dial, in what health and prepared queries answer
``report``          what is told to the agent, of one process or of several
"""

__all__: list[str] = []
