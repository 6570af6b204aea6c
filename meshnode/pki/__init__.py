"""Certificates: what to sign, with what in it, and when again. Pure: the clock and entropy are arguments.

In: PEM text, names, an instant ``at``. Out: PEM text and decisions with their reason. Files belong to the callers.

``keys``       private and public keys: which kinds are accepted, PEM, fingerprints
``request``    a certificate signing request: make one, read one that came from elsewhere
``leaf``       profiles: which names and usages a server, a client or an operator gets
``authority``  the private CA: create it, read it, sign a request by a profile
``renewal``    does a node need a new certificate, and why
``bundle``     PEM bundles of several generations of the CA; describing a certificate to a person

A key comes from the generator inside OpenSSL, which takes no injected entropy; serial numbers do.
"""

__all__: list[str] = []
