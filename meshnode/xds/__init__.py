"""xDS: what Envoy is told, as values. No sockets and no clocks in here.

In: the state of one proxy, and Envoy's requests. Out: resources with versions, and responses in a safe order.

``schema``      Envoy's messages, from descriptors of its published API
``state``       everything that one proxy's configuration is made of
``rbac``        intentions as Envoy's rules, network and HTTP
``tls``         TLS contexts and secrets
``clusters``    where connections go: CDS and EDS
``listeners``   where they come in: LDS and RDS
``compile``     a state as a snapshot of versioned resources
``delivery``    what of a snapshot may be sent now: make before break
``session``     one ADS stream, state of the world or delta: versions, nonces, ACK and NACK
``bootstrap``   the file that Envoy starts with
"""

__all__: list[str] = []
