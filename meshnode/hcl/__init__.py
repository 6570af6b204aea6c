"""HCL 1 and JSON as Consul reads them, every value with its place: the agent's configuration, ACL rules, CLI input."""

__all__: list[str] = []
