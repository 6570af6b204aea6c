"""Health checks as they run: one file for each kind, and the runner that starts, paces and stops them all.

``runner``       which checks run, when, and how many at once; what they find goes through their thresholds
``clock``        the time that paces them, so that a test can hand in its own
``script``, ``docker``, ``http``, ``h2ping``, ``tcp``, ``udp``, ``grpc``, ``certificate``   one run each
``ttl``, ``alias``   the two that wait for others instead of asking
``dial``, ``http_client``, ``tls_words``   connections, HTTP/1.1 over them, and why TLS failed

In: values of ``local.check_type``. Out: statuses and texts, to the callback given at the start. What results mean is
decided in ``local.check_status`` and its neighbours.
"""

__all__: list[str] = []
