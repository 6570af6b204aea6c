"""The discovery chain: the documents' examples, redirects, failover, flattened splitters, and what makes no chain."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.config_entries.chain import (
    CONNECT_TIMEOUT,
    MAX_REDIRECTS,
    MAX_SHARES,
    MAX_SPLITTER_DEPTH,
    Chain,
    ChainError,
    Overrides,
    ResolverNode,
    RouterNode,
    SplitterNode,
    compile_chain,
)
from meshnode.config_entries.model import ConfigEntry
from meshnode.config_entries.parse import parse_entry
from tests.support.config_entries import http, table

DC = "dc1"


def chain(service: str, *entries: ConfigEntry | str, datacenter: str = DC, **overrides: Any) -> Chain:
    return compile_chain(table(*entries), service, datacenter, overrides=Overrides(**overrides))


def resolver(name: str, **fields: Any) -> ConfigEntry:
    return parse_entry({"Kind": "service-resolver", "Name": name, **fields})


def splitter(name: str, **shares: float) -> ConfigEntry:
    """``web=90`` is a share of the service, ``web__v1=10`` of one of its subsets."""
    splits = []
    for place, weight in shares.items():
        service, _, subset = place.partition("__")
        splits.append({"Service": service, "ServiceSubset": subset, "Weight": weight})
    return parse_entry({"Kind": "service-splitter", "Name": name, "Splits": splits})


def router(name: str, *routes: dict[str, Any]) -> ConfigEntry:
    return parse_entry({"Kind": "service-router", "Name": name, "Routes": list(routes)})


def resolved(found: Chain, node: str = "") -> ResolverNode:
    value = found.nodes[node or found.start]
    assert isinstance(value, ResolverNode)
    return value


def shares(found: Chain) -> dict[str, float]:
    """What each resolver gets at the end."""
    value = found.nodes[found.start]
    assert isinstance(value, SplitterNode)
    return {following.removeprefix("resolver:"): split.weight for split, following in value.splits}


def test_without_entries_a_service_is_its_own_instances() -> None:
    found = chain("web")
    assert (found.protocol, found.start) == ("tcp", "resolver:web.default.dc1")
    assert resolved(found) == ResolverNode("web.default.dc1", CONNECT_TIMEOUT, default=True)
    assert [(each.id, each.sni) for each in found.targets.values()] == [
        ("web.default.dc1", "web.default.dc1")
    ]


def test_failover_goes_through_datacenters_in_order() -> None:
    found = chain(
        "web", resolver("web", ConnectTimeout="15s", Failover={"*": {"Datacenters": ["dc3", "dc4"]}})
    )
    node = resolved(found)
    assert (node.connect_timeout, node.default) == (15.0, False)
    assert node.failover == ("web.default.dc3", "web.default.dc4")
    assert sorted(found.targets) == ["web.default.dc1", "web.default.dc3", "web.default.dc4"]


def test_failover_of_a_named_subset_counts_more_than_that_of_all() -> None:
    failover = {
        "v1": {"Service": "spare"},
        "*": {"Targets": [{"Datacenter": "dc2"}, {"Service": "web", "ServiceSubset": "v1"}]},
    }
    entries = [resolver("web", DefaultSubset="v1", Subsets={"v1": {}, "v2": {}}, Failover=failover),
               resolver("other", Redirect={"Service": "web", "ServiceSubset": "v2"})]  # fmt: skip
    assert resolved(chain("web", *entries)).failover == ("spare.default.dc1",)
    assert resolved(chain("other", *entries)).failover == ("v2.web.default.dc2", "v1.web.default.dc1")


def test_a_redirect_replaces_the_service_and_is_applied_once() -> None:
    found = chain("web", resolver("web", Redirect={"Datacenter": "dc2"}))
    assert found.start == "resolver:web.default.dc2"
    found = chain(
        "old",
        resolver("old", Redirect={"Service": "new"}),
        resolver("new", DefaultSubset="v1", Subsets={"v1": {}}),
    )
    assert found.start == "resolver:v1.new.default.dc1"
    assert not resolved(found).default
    assert chain("web", datacenter="dc9").start == "resolver:web.default.dc9"


def test_shares_of_subsets_as_the_documents_have_them() -> None:
    subsets = {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"Filter": "Service.Meta.version == v2"}}
    entries = [
        resolver("web", DefaultSubset="v1", Subsets=subsets),
        splitter("web", __v1=90, __v2=10),
        *http("web"),
    ]
    found = chain("web", *entries, datacenter="dc2")
    assert (found.start, found.protocol, found.datacenter) == ("splitter:web", "http", "dc2")
    assert shares(found) == {"v1.web.default.dc2": 90, "v2.web.default.dc2": 10}
    assert found.targets["v2.web.default.dc2"].subset.filter == "Service.Meta.version == v2"


def test_splitters_inside_splitters_become_one() -> None:
    entries = [splitter("a", a=50, b=50), splitter("b", b=40, c=60), splitter("c", c=50, a__x=50),
               resolver("a", Subsets={"x": {}}), *http("a", "b", "c")]  # fmt: skip
    found = chain("a", *entries)
    assert shares(found) == {
        "a.default.dc1": 50,
        "b.default.dc1": 20,
        "c.default.dc1": 15,
        "x.a.default.dc1": 15,
    }
    assert [name for name in found.nodes if name.startswith("splitter")] == ["splitter:a"]


def test_shares_that_end_alike_are_one_so_that_nesting_does_not_multiply_them() -> None:
    names = [f"s{number}" for number in range(MAX_SPLITTER_DEPTH)]
    entries: list[ConfigEntry] = [*http(*names, "end")]
    for name, following in zip(names, [*names[1:], "end"], strict=True):
        entries += [
            parse_entry({"Kind": "service-splitter", "Name": name, "Splits": [
                {"Weight": 50, "Service": following}, {"Weight": 50, "Service": following, "ServiceSubset": "x"}]}),
            resolver(following, Subsets={"x": {}}),
        ]  # fmt: skip
    found = chain("s0", *entries)
    assert len(shares(found)) == MAX_SPLITTER_DEPTH + 1
    assert shares(found)["x.s1.default.dc1"] == 50


def test_headers_of_nested_shares_are_joined_and_the_inner_ones_count() -> None:
    outer = {
        "Weight": 100,
        "Service": "b",
        "RequestHeaders": {"Set": {"a": "outer", "b": "outer"}, "Remove": ["r"]},
    }
    inner = {"Weight": 100, "RequestHeaders": {"Set": {"a": "inner"}}}
    entries = [parse_entry({"Kind": "service-splitter", "Name": name, "Splits": [split]})
               for name, split in (("a", outer), ("b", inner))]  # fmt: skip
    node = chain("a", *entries, *http("a", "b")).nodes["splitter:a"]
    assert isinstance(node, SplitterNode)
    headers = node.splits[0][0].request_headers
    assert headers is not None
    assert (headers.set, headers.remove) == ({"a": "inner", "b": "outer"}, ("r",))


def test_routes_as_the_documents_have_them() -> None:
    entries: list[ConfigEntry | str] = [
        resolver("web", Subsets={"canary": {"Filter": "Service.Meta.flavor == canary"}}),
        'Kind = "proxy-defaults"\nName = "global"\nConfig { protocol = "http" }',
        router("web",
               {"Match": {"HTTP": {"PathPrefix": "/admin"}}, "Destination": {"Service": "admin", "PrefixRewrite": "/"}},
               {"Match": {"HTTP": {"Header": [{"Name": "x-debug", "Exact": "1"}]}},
                "Destination": {"Service": "web", "ServiceSubset": "canary", "NumRetries": 5}}),
    ]  # fmt: skip
    found = chain("web", *entries)
    node = found.nodes[found.start]
    assert isinstance(node, RouterNode)
    assert [following for _, following in node.routes] == [
        "resolver:admin.default.dc1", "resolver:canary.web.default.dc1", "resolver:web.default.dc1",
    ]  # fmt: skip
    assert resolved(found, "resolver:admin.default.dc1").default
    last = node.routes[-1][0]
    assert last.match is not None
    assert last.match.http is not None
    assert last.match.http.path_prefix == "/"


def test_routes_lead_to_splitters_unless_they_name_a_subset() -> None:
    named = {"Service": "api", "ServiceSubset": "x"}
    entries = [router("web", {"Destination": {"Service": "api"}}, {"Destination": named}),
               splitter("api", api=50, web=50), resolver("api", Subsets={"x": {}}), *http("web", "api")]  # fmt: skip
    node = chain("web", *entries).nodes["router:web"]
    assert isinstance(node, RouterNode)
    assert [following for _, following in node.routes] == [
        "splitter:api", "resolver:x.api.default.dc1", "resolver:web.default.dc1",
    ]  # fmt: skip


def test_a_router_without_routes_is_none() -> None:
    assert chain("web", router("web"), *http("web")).start == "resolver:web.default.dc1"


def test_what_a_proxy_says_otherwise_gives_another_chain() -> None:
    plain = chain("web")
    assert plain.customization == ""
    found = chain("web", protocol="grpc", connect_timeout=7.0, mesh_gateway="remote")
    assert (found.protocol, resolved(found).connect_timeout) == ("grpc", 7.0)
    assert found.targets["web.default.dc1"].mesh_gateway == "remote"
    assert found.customization not in {"", chain("web", protocol="grpc").customization}
    assert chain("web", protocol="tcp", connect_timeout=CONNECT_TIMEOUT).customization == ""


def test_told_that_it_is_tcp_a_chain_has_no_routers_and_splitters() -> None:
    entries = [
        splitter("web", web=50, api=50),
        router("web", {"Destination": {"Service": "api"}}),
        *http("web", "api"),
    ]
    assert chain("web", *entries, protocol="tcp").start == "resolver:web.default.dc1"
    assert chain("web", *entries, protocol="http2").start == "router:web"


def test_defaults_say_through_which_gateway_and_under_which_name() -> None:
    entries = ['Kind = "proxy-defaults"\nMeshGateway { Mode = "local" }',
               'Kind = "service-defaults"\nName = "ext"\nExternalSNI = "a.example"\nMeshGateway { Mode = "none" }',
               ]  # fmt: skip
    compiled = compile_chain(table(*entries), "ext", DC, trust_domain="x.consul")
    target = compiled.targets["ext.default.dc1"]
    assert (target.mesh_gateway, target.external, target.sni) == ("none", True, "a.example")
    assert target.name == "ext.default.dc1.internal.x.consul"
    assert chain("web", *entries).targets["web.default.dc1"].mesh_gateway == "local"


@pytest.mark.parametrize(
    ("entries", "because"),
    [
        ([splitter("web", web=100)], 'discovery chain "web" uses a protocol "tcp" that does not permit advanced'),
        ([router("web", {})], 'discovery chain "web" uses a protocol "tcp" that does not permit advanced routing'),
        ([splitter("web", web=50, b=50), *http("web"), *http("b", protocol="grpc")],
         'discovery chain "web" uses inconsistent protocols; service "b" has "grpc" which is not "http"'),
        ([router("web", {"Destination": {"Service": "b"}}), *http("web")],
         'discovery chain "web" uses inconsistent protocols; service "b" has "tcp" which is not "http"'),
        ([resolver("web", Redirect={"Service": "b"}), *http("b")],
         'discovery chain "web" uses inconsistent protocols; service "b" has "http" which is not "tcp"'),
        ([splitter("web", web__v9=100), *http("web")], 'service "web" does not have a subset named "v9"'),
        ([resolver("web", Redirect={"Service": "b"}), resolver("b", Redirect={"Service": "web"})],
         "detected circular resolver redirect: web -> b -> web"),
        ([splitter("web", web=50, b=50), splitter("b", web=100), *http("web", "b")],
         "detected circular reference: web -> b -> web"),
    ],
)  # fmt: skip
def test_what_makes_no_chain(entries: list[ConfigEntry], because: str) -> None:
    with pytest.raises(ChainError) as refused:
        chain("web", *entries)
    assert str(refused.value).startswith(because)


def redirected(over: int) -> tuple[str, list[ConfigEntry], str]:
    names = [f"r{number}" for number in range(MAX_REDIRECTS + over + 1)]
    entries = [resolver(a, Redirect={"Service": b}) for a, b in pairwise(names)]
    return "r0", entries, f"more than {MAX_REDIRECTS} redirects in a row"


def nested(over: int) -> tuple[str, list[ConfigEntry], str]:
    names = [f"s{number}" for number in range(MAX_SPLITTER_DEPTH + over)]
    entries = [splitter(a, **{b: 100}) for a, b in pairwise([*names, "end"])]
    return "s0", [*entries, *http(*names, "end")], f"nested more than {MAX_SPLITTER_DEPTH} deep"


def shared(over: int) -> tuple[str, list[ConfigEntry], str]:
    parts = {"a": MAX_SHARES // 2, "b": MAX_SHARES // 2 + over}
    entries = [splitter("wide", a=50, b=50), *http("wide", *parts)]
    for name, count in parts.items():
        rest = dict.fromkeys((f"{name}{number}" for number in range(count - 1)), 0.1)
        entries += [splitter(name, **rest, **{f"{name}-last": round(100 - 0.1 * (count - 1), 2)})]
        entries += http(*rest, f"{name}-last")
    return "wide", entries, f"at most {MAX_SHARES}"


@pytest.mark.parametrize("made", [redirected, nested, shared])
def test_redirects_nesting_and_shares_are_bounded(
    made: Callable[[int], tuple[str, list[ConfigEntry], str]],
) -> None:
    start, entries, because = made(1)
    with pytest.raises(ChainError, match=because):
        chain(start, *entries)
    start, entries, _ = made(0)
    assert chain(start, *entries).nodes


_NAMES = st.sampled_from(["a", "b", "c", "d"])


@given(
    st.lists(st.tuples(_NAMES, _NAMES), max_size=4),
    st.lists(st.tuples(_NAMES, _NAMES, _NAMES), max_size=4),
    st.lists(st.tuples(_NAMES, _NAMES), max_size=3),
)
def test_any_entries_make_a_whole_graph_or_a_sentence(
    redirects: list[tuple[str, str]], splits: list[tuple[str, str, str]], routes: list[tuple[str, str]]
) -> None:
    entries = [*http("a", "b", "c", "d")]
    entries += [resolver(a, Redirect={"Service": b}) for a, b in redirects if a != b]
    entries += [splitter(a, **{b: 50, c: 50}) for a, b, c in splits if b != c]
    entries += [router(a, {"Destination": {"Service": b}}) for a, b in routes]
    try:
        found = chain("a", *entries)
    except ChainError:
        return
    seen, waiting = set(), [found.start]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        match found.nodes[name]:
            case RouterNode(_, parts):
                waiting += [following for _, following in parts]
            case SplitterNode(_, parts):
                assert sum(split.weight for split, _ in parts) == pytest.approx(100)
                waiting += [following for _, following in parts]
            case ResolverNode(target=target):
                assert target in found.targets
    assert seen == set(found.nodes)
