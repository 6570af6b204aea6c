"""The sidecar proxy's sockets: mutual TLS on the mesh's side, plain bytes on the application's.

In: a :class:`~meshnode.proxy.config.ProxyConfig`, and what implements ``interfaces``. Out: proxied connections, a
ledger of them, log lines that say why.

``interfaces``  what the agent has to give: certificates, decisions, instances
``sidecar``     one proxy: listeners started, changed and stopped; connections cut
``workers``     several processes that share the listeners, and one parent
``process``     either of them, following a configuration; ``static`` is what a proxy without an agent has
``contexts``    TLS contexts from PEM text, replaced while connections go on
``inbound``     from the mesh to the application; ``outbound`` the other way; ``dial`` connects
``attempt``     one try to reach one instance; ``warm`` connections that wait for an application
``flow``        an established connection's bytes (and why this design)
``decider``     who may connect: asked once for all who wait, from memory when nobody answers
``enforcer``    what follows when decisions change; ``following`` is how changes and certificates are followed
``http_inbound``  a sidecar's HTTP: a decision for each request; ``http_listener`` the same without a mesh
``http_relay``  one request on its way; ``http_stream``, ``http_link`` and the link of each side carry it
``http_pool``   connections to the application; ``http_tls`` TLS between a socket and HTTP
``chains``      which chain OpenSSL verified; ``refusal_log`` tells who was not let in
``reactor``     readiness of sockets; ``deadlines`` what must happen in time; ``host`` what all connections share
"""

__all__: list[str] = []
