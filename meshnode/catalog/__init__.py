"""The catalog: which nodes, services and checks there are. Part of the replicated state; pure, one writer.

``model``        the frozen values: node, service, check, and the limits on them
``validate``     what is refused, and the sentence that says why
``tables``       the rows and their secondary indexes, with the index at which each last changed
``store``        the writes: register, deregister, what they cascade to
``queries``      the reads of ``/v1/catalog`` and ``/v1/health``, each with the index that Consul would answer
``health``       aggregate status and the passing filter
``coordinates``  network coordinates of nodes and the distance between them
``wire``         all of these with Consul's field names, for the API and between agents; ``wire_parse`` reads them

In: registrations, with the index that they have in the log. Out: plain values; the watch keys that a write touched;
checks that turned critical or went away, for sessions to hear of. Source: Consul 1.2.3, agent/consul/state.
"""

__all__: list[str] = []
