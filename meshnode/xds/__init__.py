"""xDS: what Envoy is told, as values. No sockets and no clocks in here.

In: the state of one proxy, and Envoy's requests. Out: resources with versions, and responses in a safe order.

``schema``      Envoy's messages, from descriptors of its published API
``settings``    what a proxy's own configuration says about Envoy; ``access_log`` carries a part of it out
``state``       everything that the configuration of a sidecar, or of a gateway, is made of
``service_defaults``  what entries say about a service's own listener and its upstreams
``legs``        ways into the mesh: a discovery chain, and how connections to it are made
``matching``    conditions on requests, for rules and for routes
``rbac``        intentions as Envoy's rules, network and HTTP
``tls``         TLS contexts and secrets
``clusters``    where connections go: CDS and EDS; ``addresses`` they have
``routes``      which request goes where: RDS
``managers``    what is done with the bytes of a connection
``listeners``   where connections come in: LDS
``gateways``    ingress and terminating ones, whole
``compile``     a state as a snapshot of versioned resources
``delivery``    what of a snapshot may be sent now: make before break
``session``     one ADS stream, state of the world or delta: versions, nonces, ACK and NACK
``bootstrap``   the file that Envoy starts with
"""

__all__: list[str] = []
