"""TLS at the edge of a service, in four modes: what a configuration says, as checked values. No files are read here.

In: JSON or HCL text. Out: listeners, each with its mode, the certificate that clients see, and where it leads. They are
carried out by Envoy (``xds/tls_modes``) or by the built-in proxy (``runtime/proxy/tls_modes``).

``model``   modes, certificates, upstreams, listeners, and which of them fit together
``parse``   the configuration's text as these values; each error names the place, the key and the fix
"""

__all__: list[str] = []
