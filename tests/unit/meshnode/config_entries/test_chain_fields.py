"""The JSON of a chain: the samples of the documents."""

from __future__ import annotations

from meshnode.config_entries.chain import Overrides, compile_chain
from meshnode.config_entries.chain_fields import chain_fields
from tests.support.config_entries import http, table

DOMAIN = "47e25151-6212-ba25-8b7e-81adbbbab461.consul"


def test_failover_to_other_datacenters() -> None:
    entries = table('kind = "service-resolver"\nname = "web"\nconnect_timeout = "15s"\n'
                    'failover = { "*" = { datacenters = ["dc3", "dc4"] } }')  # fmt: skip

    def target(datacenter: str) -> dict[str, object]:
        sni = f"web.default.{datacenter}.internal.{DOMAIN}"
        return {
            "ID": f"web.default.{datacenter}", "Service": "web", "Namespace": "default", "Datacenter": datacenter,
            "MeshGateway": {}, "Subset": {}, "SNI": sni, "Name": sni,
        }  # fmt: skip

    assert chain_fields(compile_chain(entries, "web", "dc1", trust_domain=DOMAIN)) == {
        "ServiceName": "web",
        "Namespace": "default",
        "Datacenter": "dc1",
        "Protocol": "tcp",
        "StartNode": "resolver:web.default.dc1",
        "Nodes": {
            "resolver:web.default.dc1": {
                "Type": "resolver",
                "Name": "web.default.dc1",
                "Resolver": {
                    "ConnectTimeout": "15s",
                    "Target": "web.default.dc1",
                    "Failover": {"Targets": ["web.default.dc3", "web.default.dc4"]},
                },
            }
        },
        "Targets": {f"web.default.{dc}": target(dc) for dc in ("dc1", "dc3", "dc4")},
    }


def test_overrides_are_shown_with_their_hash() -> None:
    entries = table('kind = "service-resolver"\nname = "web"\nredirect { datacenter = "dc2" }')
    overrides = Overrides("grpc", 7.0, "remote")
    fields = chain_fields(compile_chain(entries, "web", "dc1", overrides=overrides))
    assert (len(fields["CustomizationHash"]), fields["Protocol"]) == (8, "grpc")
    assert fields["Nodes"] == {
        "resolver:web.default.dc2": {
            "Type": "resolver",
            "Name": "web.default.dc2",
            "Resolver": {"ConnectTimeout": "7s", "Target": "web.default.dc2"},
        }
    }
    assert fields["Targets"]["web.default.dc2"]["MeshGateway"] == {"Mode": "remote"}


def test_routers_splitters_and_what_stands_beside_them() -> None:
    entries = table(
        *http("web", "admin"),
        'kind = "service-router"\nname = "web"\nroutes = [{ match { http { path_prefix = "/admin" } } '
        'destination { service = "admin" prefix_rewrite = "/" request_timeout = "15s" } }]',
        'kind = "service-splitter"\nname = "web"\nsplits = [{ weight = 99.5 }, { weight = 0.5 service_subset = "c" }]',
        'kind = "service-resolver"\nname = "web"\nrequest_timeout = "2s"\nload_balancer { policy = "random" }\n'
        'subsets = { c = { only_passing = true } }',
        'kind = "service-defaults"\nname = "ext"\nexternal_sni = "a.b"',
    )  # fmt: skip
    fields = chain_fields(compile_chain(entries, "web", "dc1"))
    assert fields["StartNode"] == "router:web"
    routes = fields["Nodes"]["router:web"]["Routes"]
    assert routes[0] == {
        "Definition": {
            "Match": {"HTTP": {"PathPrefix": "/admin"}},
            "Destination": {"Service": "admin", "PrefixRewrite": "/", "RequestTimeout": "15s"},
        },
        "NextNode": "resolver:admin.default.dc1",
    }
    assert routes[1]["Definition"] == {
        "Match": {"HTTP": {"PathPrefix": "/"}},
        "Destination": {"Service": "web"},
    }
    split = fields["Nodes"]["splitter:web"]["Splits"][1]
    assert (split["Weight"], split["NextNode"]) == (0.5, "resolver:c.web.default.dc1")
    resolver = fields["Nodes"]["resolver:c.web.default.dc1"]["Resolver"]
    assert (resolver["RequestTimeout"], resolver["LoadBalancer"]) == ("2s", {"Policy": "random"})
    assert fields["Targets"]["c.web.default.dc1"]["Subset"] == {"OnlyPassing": True}
    assert fields["Targets"]["c.web.default.dc1"]["ServiceSubset"] == "c"
    outside = chain_fields(compile_chain(entries, "ext", "dc1"))
    assert outside["Targets"]["ext.default.dc1"]["External"] is True
    assert outside["Default"] is outside["Nodes"]["resolver:ext.default.dc1"]["Resolver"]["Default"] is True
    assert "Default" not in fields
