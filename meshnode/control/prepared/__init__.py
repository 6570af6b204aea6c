"""Prepared queries: named, stored questions for healthy instances of a service.

``model``: the query; ``validate``: what is refused; ``template``: queries for all names with a prefix; ``store``: the
table; ``select``: which instances answer; ``failover``: which datacenters are asked next.
"""

__all__: list[str] = []
