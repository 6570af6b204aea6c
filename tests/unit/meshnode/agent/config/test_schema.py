"""Typing: each kind takes what it should, and a mistake is named with its path, its place and the fix."""

from __future__ import annotations

import json

import pytest

from meshnode.agent.config.schema import Fragment, read_settings
from meshnode.hcl.json_text import parse_json
from meshnode.hcl.parse import parse_hcl


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
