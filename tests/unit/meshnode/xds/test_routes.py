from __future__ import annotations

from typing import Any

import pytest

from meshnode.config_entries.chain import compile_chain
from meshnode.config_entries.defaults import HeaderModifiers
from meshnode.config_entries.model import ConfigEntry
from meshnode.xds.clusters import leg_assignments, leg_clusters
from meshnode.xds.legs import Leg, leg_of, plain_chain
from meshnode.xds.listeners import upstream_listener
from meshnode.xds.routes import Host, leg_routes, route_table
from meshnode.xds.schema import unpacked
from tests.support.config_entries import http, table
from tests.support.xds import DOMAIN, instance, upstream

HTTP = http("db", "a", "b")


def leg(*entries: ConfigEntry | str, **settings: Any) -> Leg:
    chain = compile_chain(table(*entries), "db", "dc1", trust_domain=DOMAIN)
    one = upstream(**settings)
    return leg_of(one, {one.name: chain}, "dc1")


def routes(body: str) -> list[Any]:
    return leg_routes(leg(*HTTP, f'kind = "service-router"\nname = "db"\nroutes = [{{ {body} }}]'))


def first(body: str) -> Any:
    return routes(body)[0]


@pytest.mark.parametrize(
    ("conditions", "kind", "value"),
    [
        ("", "prefix", "/"),
        ('path_prefix = "/a"', "prefix", "/a"),
        ('path_exact = "/a"', "path", "/a"),
        ('path_regex = "/a.*"', "safe_regex", "/a.*"),
    ],
)
def test_a_path_is_matched_in_one_of_three_ways(conditions: str, kind: str, value: str) -> None:
    match = first(f"match {{ http {{ {conditions} }} }}").match
    assert match.WhichOneof("path_specifier") == kind
    assert value in str(getattr(match, kind))


@pytest.mark.parametrize(
    ("condition", "inverted", "as_empty", "text"),
    [
        ('exact = "1"', False, False, 'exact: "1"'),
        ('prefix = "1"', False, False, 'prefix: "1"'),
        ('suffix = "1"', False, False, 'suffix: "1"'),
        ('regex = "1"', False, False, 'regex: "1"'),
        ("present = true", False, False, "present_match: true"),
        ("present = true\ninvert = true", True, False, "present_match: true"),
        ('exact = "1"\ninvert = true', True, True, 'exact: "1"'),
    ],
)
def test_a_header_that_is_missing_meets_an_inverted_condition(
    condition: str, inverted: bool, as_empty: bool, text: str
) -> None:
    match = first(f'match {{ http {{ header = [{{ name = "X-A"\n{condition} }}] }} }}').match
    (header,) = match.headers
    assert header.name == "x-a"
    assert (header.invert_match, header.treat_missing_header_as_empty) == (inverted, as_empty)
    assert text in str(header)


def test_query_and_methods_are_conditions_too() -> None:
    match = first(
        'match { http { methods = ["get", "PUT"]\nquery_param = [{ name = "a"\npresent = true }, '
        '{ name = "b"\nexact = "1" }, { name = "c"\nregex = "x+" }] } }'
    ).match
    assert [each.name for each in match.query_parameters] == ["a", "b", "c"]
    assert match.query_parameters[0].present_match
    assert match.query_parameters[2].string_match.safe_regex.regex == "x+"
    assert match.headers[0].string_match.safe_regex.regex == "(?i:GET|PUT)"


def test_the_last_route_takes_every_request_to_the_service_itself() -> None:
    found = routes('match { http { path_prefix = "/a" } }\ndestination { service = "a" }')
    assert [one.route.cluster for one in found] == [
        "a.default.dc1:127.0.0.1:9191",
        "db.default.dc1:127.0.0.1:9191",
    ]
    assert found[-1].match.prefix == "/"


def test_times_retries_and_rewrites_are_the_route_s() -> None:
    action = first(
        'match { http { path_prefix = "/a" } }\n'
        'destination { prefix_rewrite = "/"\nrequest_timeout = "1500ms"\nidle_timeout = "7s"\nnum_retries = 4\n'
        'retry_on_connect_failure = true\nretry_on = ["reset", "connect-failure"]\nretry_on_status_codes = [502, 503] }'
    ).route
    assert (action.prefix_rewrite, action.idle_timeout.seconds) == ("/", 7)
    assert (action.timeout.seconds, action.timeout.nanos) == (1, 500_000_000)
    policy = action.retry_policy
    assert policy.retry_on == "reset,connect-failure,retriable-status-codes"
    assert (policy.num_retries.value, list(policy.retriable_status_codes)) == (4, [502, 503])


def test_without_a_word_about_it_a_request_has_all_the_time_and_no_retry() -> None:
    action = leg_routes(leg(*HTTP))[0].route
    assert action.HasField("timeout")
    assert action.timeout.seconds == 0
    assert not action.HasField("retry_policy")
    slow = 'kind = "service-resolver"\nname = "db"\nrequest_timeout = "9s"'
    assert leg_routes(leg(*HTTP, slow))[0].route.timeout.seconds == 9


def test_shares_of_shares_are_kept_to_the_part_of_a_percent() -> None:
    splits = '[{ weight = 99.95, service = "a" }, { weight = 0.05, service = "b" }]'
    (one,) = leg_routes(leg(*HTTP, f'kind = "service-splitter"\nname = "db"\nsplits = {splits}'))
    shares = {each.name.partition(".")[0]: each.weight.value for each in one.route.weighted_clusters.clusters}
    assert shares == {"a": 999_500, "b": 500}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("plain", "plain"),
        ("100%", "100%%"),
        ("100%%", "100%%"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "%DOWNSTREAM_REMOTE_ADDRESS%"),
        ("%REQ(x-a)%:%REQ(x-b):3%", "%REQ(x-a)%:%REQ(x-b):3%"),
        ("a%b", "a%%b"),
    ],
)
def test_the_value_of_a_header_is_text_but_for_envoy_s_variables(value: str, told: str) -> None:
    headers = HeaderModifiers(add={"x-a": value}, set={"x-b": value}, remove=("x-c",))
    table_ = route_table("r", [Host("h", ("*",), leg(*HTTP), headers, headers)])
    host = table_.virtual_hosts[0]
    for added in (host.request_headers_to_add, host.response_headers_to_add):
        assert [(each.header.key, each.header.value, each.append_action) for each in added] == [
            ("x-a", told, 0),
            ("x-b", told, 2),
        ]
    assert list(host.request_headers_to_remove) == ["x-c"]


def balanced(body: str) -> Leg:
    return leg(*HTTP, f'kind = "service-resolver"\nname = "db"\nload_balancer {{ {body} }}')


def clusters(of: Leg) -> list[Any]:
    return leg_clusters(of, {}, trust_domain=DOMAIN, datacenter="dc1")


@pytest.mark.parametrize(
    ("policy", "number"),
    [("random", 3), ("round_robin", 0), ("least_request", 1), ("ring_hash", 2), ("maglev", 5), ("", 1)],
)
def test_the_way_to_choose_an_instance_is_the_resolver_s(policy: str, number: int) -> None:
    assert clusters(balanced(f'policy = "{policy}"'))[0].lb_policy == number


def test_a_ring_has_its_sizes_and_a_choice_is_between_two_at_least() -> None:
    sizes = 'policy = "ring_hash"\nring_hash_config { minimum_ring_size = 8\nmaximum_ring_size = 9 }'
    found = clusters(balanced(sizes))[0].ring_hash_lb_config
    assert (found.minimum_ring_size.value, found.maximum_ring_size.value) == (8, 9)
    one = 'policy = "least_request"\nleast_request_config { choice_count = 1 }'
    assert clusters(balanced(one))[0].least_request_lb_config.choice_count.value == 2


def test_what_is_hashed_is_part_of_the_route() -> None:
    found = balanced(
        'policy = "maglev"\nhash_policies = [{ field = "header"\nfield_value = "x-a"\nterminal = true }, '
        '{ field = "query_parameter"\nfield_value = "q" }, { source_ip = true }, '
        '{ field = "cookie"\nfield_value = "c"\ncookie_config { ttl = "8s"\npath = "/p" } }, '
        '{ field = "cookie"\nfield_value = "d"\ncookie_config { session = true } }, '
        '{ field = "cookie"\nfield_value = "e" }]'
    )
    header, query, source, cookie, session, found_only = leg_routes(found)[0].route.hash_policy
    assert (header.header.header_name, header.terminal) == ("x-a", True)
    assert query.query_parameter.name == "q"
    assert source.connection_properties.source_ip
    assert (cookie.cookie.name, cookie.cookie.ttl.seconds, cookie.cookie.path) == ("c", 8, "/p")
    assert session.cookie.HasField("ttl")
    assert not found_only.cookie.HasField("ttl"), "Envoy makes no cookie of its own"


@pytest.mark.parametrize(
    ("hashed", "by_source"), [("", False), ("hash_policies = [{ source_ip = true }]", True)]
)
def test_connections_are_hashed_by_the_address_that_they_come_from(hashed: str, by_source: bool) -> None:
    entry = f'kind = "service-resolver"\nname = "db"\nload_balancer {{ policy = "maglev"\n{hashed} }}'
    listener = upstream_listener(upstream().bind, leg(entry))
    relay = unpacked(listener.filter_chains[0].filters[0].typed_config)
    assert bool(relay.hash_policy) == by_source
    assert relay.cluster == "db.default.dc1:127.0.0.1:9191"


FAILOVER = (
    'kind = "service-resolver"\nname = "db"\nconnect_timeout = "2s"\nfailover = { "*" = { service = "a" } }'
)


def test_a_place_to_go_on_at_is_a_later_priority_and_may_prove_to_be_itself() -> None:
    found = leg(FAILOVER)
    here, there = (instance(1, "db"),), (instance(2, "a"),)
    (endpoints,) = leg_assignments(found, {"db.default.dc1": here, "a.default.dc1": there})
    assert [each.priority for each in endpoints.endpoints] == [0, 1]
    assert endpoints.policy.overprovisioning_factor.value > 1000
    (endpoints,) = leg_assignments(found, {"a.default.dc1": there})
    assert [each.priority for each in endpoints.endpoints] == [0], "Envoy takes no list with a gap"
    (cluster,) = clusters(found)
    context = unpacked(cluster.transport_socket.typed_config)
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    ends = [each.matcher.exact.rpartition("/")[2] for each in validation.match_typed_subject_alt_names]
    assert ends == ["a", "db"]
    assert context.sni == f"db.default.dc1.internal.{DOMAIN}"


@pytest.mark.parametrize(("own", "seconds"), [(5.0, 2), (3.0, 3)])
def test_the_upstream_s_own_time_to_connect_wins(own: float, seconds: int) -> None:
    (cluster,) = clusters(leg(FAILOVER, connect_timeout=own))
    assert cluster.connect_timeout.seconds == seconds


@pytest.mark.parametrize(
    ("chain", "own", "spoken"),
    [("tcp", "tcp", "tcp"), ("http", "tcp", "http"), ("tcp", "grpc", "grpc")],
)
def test_the_upstream_s_own_protocol_wins(chain: str, own: str, spoken: str) -> None:
    found = leg(*http("db", protocol=chain), protocol=own)
    assert found.protocol == spoken
    assert found.is_http == (spoken != "tcp")
    (cluster,) = clusters(found)
    assert bool(cluster.typed_extension_protocol_options) == (spoken == "grpc")


def test_a_name_that_is_too_long_for_the_handshake_is_left_out() -> None:
    name = "x" * 250
    chain = compile_chain(table(), name, "dc1", trust_domain=DOMAIN)
    (cluster,) = clusters(Leg("", chain, "tcp"))
    assert unpacked(cluster.transport_socket.typed_config).sni == ""
    assert plain_chain("db", "dc1").targets["db.default.dc1"].sni == "db.default.dc1"
