"""Typing: each kind takes what it should, and a mistake is named with its path, its place and the fix."""

from __future__ import annotations

import json

import pytest

from meshnode.agent.config.key import Refused
from meshnode.agent.config.keys import SHAPES
from meshnode.agent.config.schema import MAX_WHOLE, MIN_WHOLE, Fragment, read_settings
from meshnode.hcl.json_text import parse_json
from meshnode.hcl.parse import parse_hcl
from meshnode.local import parse


def read(text: str) -> Fragment:
    fragment, problems = read_settings(parse_hcl(text, "x.hcl"))
    assert [str(problem) for problem in problems] == []
    return fragment


def complaints(value: object) -> list[str]:
    return [str(problem) for problem in read_settings(parse_json(json.dumps(value), "x.json"))[1]]


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ('node_name = "a"', "node_name", "a"),
        ("server = true", "server", True),
        ("bootstrap_expect = 3", "bootstrap_expect", 3),
        ("bootstrap_expect = 3.0", "bootstrap_expect", 3),
        ("limits { rpc_rate = 5 }", "limits.rpc_rate", 5.0),
        ('retry_interval = "1m30s"', "retry_interval", 90.0),
        ("ports { https = 10443 }", "ports.https", 10443),
        ("ports { http = 0 }", "ports.http", -1),
        ("ports { http = -7 }", "ports.http", -1),
        ("ports { http = 65535 }", "ports.http", 65535),
        ("ports { http = 1 }\nports { http = 2 }", "ports.http", 2),
        ('retry_join = ["a", "b"]', "retry_join", ("a", "b")),
        ('node_meta { a = "b" }', "node_meta", {"a": "b"}),
        ('node_meta { a = "b" }\nnode_meta { c = "d" }', "node_meta", {"a": "b", "c": "d"}),
        ('log_level = "warning"', "log_level", "WARN"),
        ('log_level = "Debug"', "log_level", "DEBUG"),
        ('syslog_facility = "local3"', "syslog_facility", "LOCAL3"),
        ('connect { ca_config { leaf_cert_ttl = "1h" } }', "connect.ca_config", {"leaf_cert_ttl": "1h"}),
        ("checks = []", "checks", ()),
    ],
)
def test_a_value_of_the_right_kind_is_typed(text: str, path: str, value: object) -> None:
    assert read(text)[path].value == value


def test_null_is_as_if_it_were_not_there() -> None:
    assert read('{"node_name": null, "ports": null, "node_meta": {"a": null}}').keys() == {"node_meta"}


def test_single_definitions_join_the_list_of_their_kind() -> None:
    fragment = read(
        'service { name = "a" }\nservice { name = "b" }\nservices = [{ name = "c" }]\ncheck { ttl = "10s" }'
    )
    assert [service["name"] for service in fragment["services"].value] == ["a", "b", "c"]
    assert fragment["checks"].value == ({"ttl": 10.0},)


def test_definitions_are_read_to_their_depth() -> None:
    (service,) = read(
        'service { name = "a" port = 80 weights { passing = 3 } check { args = ["x"] }\n'
        '  connect { sidecar_service { proxy { upstreams = [{ destination_name = "b" }] } } } }'
    )["services"].value
    assert service["weights"] == {"passing": 3}
    assert service["check"] == {"args": ("x",)}
    assert service["connect"]["sidecar_service"]["proxy"]["upstreams"] == [{"destination_name": "b"}]


def test_camel_case_spellings_of_consul_are_translated_and_the_key_itself_wins() -> None:
    (check,) = read('check { ScriptArgs = ["a"] ServiceID = "x" service_id = "y" TLSSkipVerify = true }')[
        "checks"
    ].value
    assert check == {"args": ("a",), "service_id": "y", "tls_skip_verify": True}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"verify_incomming": True},
         "invalid config key verify_incomming (in x.json:1:2): did you mean verify_incoming?"),
        ({"https": 10443}, "invalid config key https (in x.json:1:2): did you mean ports.https?"),
        ({"ports": {"htps": 1}}, "invalid config key ports.htps (in x.json:1:12): did you mean ports.https?"),
        ({"zzzzzzzz": 1}, "invalid config key zzzzzzzz (in x.json:1:2)"),
        ({"checks": [{}, {"intervall": "1s"}]},
         "invalid config key checks[1].intervall (in x.json:1:18): did you mean checks[1].interval?"),
        ({"service": {"check": {"htp": "x"}}},
         "invalid config key service.check.htp (in x.json:1:24): did you mean service.check.http?"),
        ({"ports": {"https": "abc"}}, 'x.json:1:21: ports.https: expected a number, got "abc"'),
        ({"ports": {"https": "8501"}},
         'x.json:1:21: ports.https: expected a number, got "8501": write 8501 without quotes'),
        ({"ports": {"https": 65536}}, "x.json:1:21: ports.https: invalid port: 65536: the highest is 65535"),
        ({"ports": {"https": True}}, "x.json:1:21: ports.https: expected a number, got true"),
        ({"ports": 5}, "x.json:1:11: ports: expected an object, got 5"),
        ({"server": "true"}, 'x.json:1:12: server: expected true or false, got "true": write true without quotes'),
        ({"server": 1}, "x.json:1:12: server: expected true or false, got 1"),
        ({"bootstrap_expect": 1.5}, "x.json:1:22: bootstrap_expect: expected a whole number, got 1.5"),
        ({"node_name": 5}, 'x.json:1:15: node_name: expected a string, got 5: write "5"'),
        ({"node_name": ["a"]}, "x.json:1:15: node_name: expected a string, got a list"),
        ({"retry_interval": 30}, 'x.json:1:20: retry_interval: expected a duration such as "10s", got 30: write "30s"'),
        ({"retry_interval": "30"}, 'x.json:1:20: retry_interval: "30" is not a duration'),
        ({"retry_join": "a"}, 'x.json:1:16: retry_join: expected a list of strings, got "a": write ["a"]'),
        ({"retry_join": ["a", 5]}, 'x.json:1:22: retry_join[1]: expected a string, got 5: write "5"'),
        ({"node_meta": {"a": 1}}, 'x.json:1:21: node_meta.a: expected a string, got 1: write "1"'),
        ({"node_meta": "a"}, 'x.json:1:15: node_meta: expected an object, got "a"'),
        ({"services": ["a"]}, 'x.json:1:15: services: expected an object, got "a"'),
        ({"limits": {"rpc_rate": "1"}}, 'x.json:1:25: limits.rpc_rate: expected a number, got "1"'),
        ({"log_level": "loud"},
         'x.json:1:15: log_level: "loud" can\'t be used: write one of TRACE, DEBUG, INFO, WARN, ERR'),
        ({"protocol": 9}, "x.json:1:14: protocol: 9 can't be used: write one of 2, 3"),
        ([1], "x.json:1:1: expected an object of keys, got a list"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_path_place_and_fix(value: object, message: str) -> None:
    (said,) = complaints(value)
    assert said.startswith(message)


def test_every_mistake_of_a_source_is_reported() -> None:
    assert len(complaints({"a": 1, "server": 1, "ports": {"b": 1, "http": "x"}, "checks": [{"c": 1}]})) == 5


def test_a_secret_of_the_wrong_kind_is_not_shown() -> None:
    (said,) = complaints({"encrypt": ["pUqJrVyVRj5jsiYEkM/tFQ=="]})
    assert said == "x.json:1:13: encrypt: expected a string, got something else"


@pytest.mark.parametrize("number", [MAX_WHOLE, MIN_WHOLE, 0])
def test_a_whole_number_may_have_64_bits(number: int) -> None:
    fragment = read(f"bootstrap_expect = {number}\nconnect {{ ca_config {{ a = [{{ b = {number} }}] }} }}")
    assert fragment["bootstrap_expect"].value == number
    assert fragment["connect.ca_config"].value == {"a": [{"b": number}]}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            {"retry_max": MAX_WHOLE + 1},
            "retry_max: 9223372036854775808 has more than 64 bits: the highest is 9223",
        ),
        (
            {"retry_max": MIN_WHOLE - 1},
            "retry_max: -9223372036854775809 has more than 64 bits: the lowest is -922",
        ),
        ({"retry_max": 1e300}, "retry_max: 1e+300 has more than 64 bits: the highest is 9223372036854775807"),
        (
            {"check": {"output_max_size": 2**70}},
            "check.output_max_size: 1180591620717411303424 has more than 64 b",
        ),
        (
            {"service": {"name": "a", "weights": {"passing": 2**64}}},
            "service.weights.passing: 18446744073709551616 has more than 64 bits",
        ),
        (
            {"connect": {"ca_config": {"a": [1, {"b": 2**63}]}}},
            "connect.ca_config.a[1].b: 9223372036854775808 has",
        ),
        (
            {"ports": {"http": 2**70}},
            "ports.http: invalid port: 1180591620717411303424: the highest is 65535",
        ),
    ],
)
def test_a_whole_number_of_more_than_64_bits_is_refused_with_place_and_bound(
    value: dict[str, object], words: str
) -> None:
    (problem,) = complaints(value)
    assert problem.startswith("x.json:1:")
    assert words in problem


@pytest.mark.parametrize(
    "definition",
    [
        {"check": {"name": "c", "os_service": "sshd", "interval": "1s"}},
        {"services": [{"name": "s", "checks": [{"os_service": "sshd", "interval": "1s"}]}]},
    ],
)
def test_a_field_of_a_definition_that_cannot_be_used_is_refused_with_its_place_and_reason(
    definition: dict[str, object],
) -> None:
    (problem,) = complaints(definition)
    place = "check.os_service" if "check" in definition else "services[0].checks[0].os_service"
    assert problem.startswith("x.json:1:")
    assert problem.partition(" ")[2].startswith(
        f"{place}: services of the operating system are not asked: use args"
    )


def test_the_table_and_the_definitions_of_the_api_refuse_the_same_fields_with_the_same_words() -> None:
    refused = {
        row.name.replace("_", ""): row.status.reason
        for row in SHAPES["check"]
        if isinstance(row.status, Refused)
    }
    assert refused == {name.lower(): reason for name, reason in parse._REFUSED_CHECK_FIELDS.items()}
