"""The four TLS modes, carried out: certificates from files, and either Envoy or the built-in proxy in front.

In: the listeners of ``meshnode.tls_modes``. Out: bytes between clients and upstreams, and a log.

``material``      certificates, keys and CAs as they are on the disk now, checked; TLS contexts of them
``engine``        what both data planes are to whoever runs them
``watch``         notices that files were replaced, and hands over what they hold when it can be used
``passthrough``   TLS that nobody opens, led by the name that the client asks for
``builtin``       the built-in data plane: one listener for each of the configuration
``envoy``         Envoy as a child: its version, its bootstrap, its secrets, its end
"""

__all__: list[str] = []
