"""Config entries: what a whole cluster is told about its services. In: JSON or HCL; out: values, faults, a chain.

``model``: the entry and its kinds, whose fields are in ``defaults``, ``routing``, ``gateways`` and ``sources``;
``codec``: objects into dataclasses and back, by their annotations; ``parse``: an entry in either spelling;
``validate``, ``validate_routing`` and ``validate_gateways``: what one entry may not be; ``protocol``: what a service
speaks; ``chain``: router, splitter and resolver into one graph, ``chain_fields`` and ``chain_parse``: as JSON and back;
``graph``: what entries may not be together; ``table``: entries to read from; ``store``: those of the replicated state.
Source: Consul 1.10, documentation of configuration entries and of the discovery chain.
"""

__all__: list[str] = []
