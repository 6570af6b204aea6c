"""A discovery chain as the JSON of ``/v1/discovery-chain/:service``."""

from __future__ import annotations

from typing import Any

from meshnode.base.duration import format_duration
from meshnode.config_entries.chain import Chain, Node, ResolverNode, RouterNode, SplitterNode, Target
from meshnode.config_entries.codec import write
from meshnode.intentions.model import DEFAULT_NAMESPACE

__all__ = ["chain_fields"]


def chain_fields(chain: Chain) -> dict[str, Any]:
    """Consul's ``CompiledDiscoveryChain``; ``Default`` says that no entry had a part in it."""
    start = chain.nodes[chain.start]
    default = isinstance(start, ResolverNode) and start.default and not chain.customization
    return {
        "ServiceName": chain.service,
        "Namespace": DEFAULT_NAMESPACE,
        "Datacenter": chain.datacenter,
        **({"CustomizationHash": chain.customization} if chain.customization else {}),
        **({"Default": True} if default else {}),
        "Protocol": chain.protocol,
        "StartNode": chain.start,
        "Nodes": {name: _node(name, node) for name, node in chain.nodes.items()},
        "Targets": {name: _target(target) for name, target in chain.targets.items()},
    }


def _node(name: str, node: Node) -> dict[str, Any]:
    kind, _, shown = name.partition(":")
    fields: dict[str, Any] = {"Type": kind, "Name": shown}
    match node:
        case RouterNode(_, routes):
            fields["Routes"] = [
                {"Definition": write(route), "NextNode": following} for route, following in routes
            ]
        case SplitterNode(_, splits):
            fields["Splits"] = [
                {"Definition": write(split), "Weight": write(split)["Weight"], "NextNode": following}
                for split, following in splits
            ]
        case ResolverNode():
            fields["Resolver"] = _resolver(node)
    return fields


def _resolver(node: ResolverNode) -> dict[str, Any]:
    fields: dict[str, Any] = {"ConnectTimeout": format_duration(node.connect_timeout)}
    if node.request_timeout:
        fields["RequestTimeout"] = format_duration(node.request_timeout)
    if node.default:
        fields["Default"] = True
    fields["Target"] = node.target
    if node.failover:
        fields["Failover"] = {"Targets": list(node.failover)}
    if node.load_balancer is not None:
        fields["LoadBalancer"] = write(node.load_balancer)
    return fields


def _target(target: Target) -> dict[str, Any]:
    return {
        "ID": target.id,
        "Service": target.service,
        **({"ServiceSubset": target.service_subset} if target.service_subset else {}),
        "Namespace": DEFAULT_NAMESPACE,
        "Datacenter": target.datacenter,
        "MeshGateway": {"Mode": target.mesh_gateway} if target.mesh_gateway else {},
        "Subset": write(target.subset),
        **({"External": True} if target.external else {}),
        "SNI": target.sni,
        "Name": target.name,
    }
