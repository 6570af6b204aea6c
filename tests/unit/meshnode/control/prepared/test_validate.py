"""What a prepared query may not be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshnode.control.prepared.model import DnsOptions, Failover, PreparedQuery, ServiceQuery, Template
from meshnode.control.prepared.template import MAX_NAME_CHARS
from meshnode.control.prepared.validate import HIDDEN, query_fault

GOOD = PreparedQuery("id", ServiceQuery("web"), "q")


def served(**changes: Any) -> PreparedQuery:
    return replace(GOOD, service=replace(GOOD.service, **changes))


@pytest.mark.parametrize(
    "query",
    [
        GOOD,
        replace(GOOD, name="", session="s"),
        replace(GOOD, name="", template=Template("name_prefix_match", "^(.*)$")),
        replace(GOOD, dns=DnsOptions("10s")),
        replace(GOOD, dns=DnsOptions("0s")),
        replace(GOOD, name="x" * MAX_NAME_CHARS),
        served(node_meta={"consul-network-segment": "", "rack": "1"}),
        served(service="${literal}"),
    ],
)
def test_a_good_query_has_no_fault(query: PreparedQuery) -> None:
    assert query_fault(query) == ""


@pytest.mark.parametrize(
    ("query", "because"),
    [
        (replace(GOOD, name=""), "Must be bound to a session"),
        (replace(GOOD, name="x" * (MAX_NAME_CHARS + 1)), f"at most {MAX_NAME_CHARS}"),
        (replace(GOOD, token=HIDDEN), "Bad Token '<hidden>', it looks like"),
        (replace(GOOD, template=Template("glob")), "Bad Template.Type 'glob': leave it empty or write"),
        (replace(GOOD, template=Template("name_prefix_match", "(")), "Bad Regexp"),
        (served(service=""), "Must provide a Service name to query"),
        (served(failover=Failover(-1)), "Bad NearestN '-1', must be >= 0"),
        (served(node_meta={"a b": "x"}), "Invalid NodeMeta filter: .*invalid characters"),
        (served(service_meta={"": "x"}), "Invalid ServiceMeta filter: .*blank"),
        (served(node_meta={"consul-" + "k" * 200: "x"}), "Invalid NodeMeta filter: .*too long"),
        (replace(GOOD, dns=DnsOptions("soon")), "Bad DNS TTL 'soon': .*not a duration"),
        (replace(GOOD, dns=DnsOptions("-1s")), "DNS TTL '-1s', must be >=0"),
    ],
)
def test_a_fault_is_a_sentence_about_the_field(query: PreparedQuery, because: str) -> None:
    with pytest.raises(AssertionError, match=because):
        assert query_fault(query) == ""


def test_a_token_is_not_in_the_text_of_a_query() -> None:
    assert "secret" not in repr(replace(GOOD, token="secret"))
