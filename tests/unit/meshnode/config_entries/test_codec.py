"""Dataclasses from JSON and back: spellings, types, bounds, suggestions; a round trip over every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.config_entries.codec import (
    MAX_DEPTH,
    MAX_ITEMS,
    NO_TIME,
    Duration,
    fold,
    json_name,
    read,
    write,
)
from meshnode.config_entries.model import KINDS, Spec


@dataclass(frozen=True, slots=True)
class Inner:
    ca_file: str = ""
    weight: float = field(default=0.0, metadata={"always": True})


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    count: int = 0
    pause: Duration = NO_TIME
    inner: Inner = Inner()
    perhaps: Inner | None = None
    many: tuple[Inner, ...] = ()
    words: tuple[str, ...] = ()
    pairs: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, Inner] = field(default_factory=dict)
    free: Mapping[str, Any] = field(default_factory=dict)
    on: bool = False


def parsed(value: Mapping[str, Any]) -> tuple[Outer, list[str]]:
    problems: list[str] = []
    return read(Outer, value, "", problems), problems


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("service_subset", "ServiceSubset"), ("ca_file", "CAFile"), ("http", "HTTP"),
        ("tls_min_version", "TLSMinVersion"),
        ("source_ip", "SourceIP"), ("external_sni", "ExternalSNI"), ("legacy_id", "LegacyID"), ("ttl", "TTL"),
        ("envoy_cluster_json", "EnvoyClusterJSON"), ("enforcing_consecutive_5xx", "EnforcingConsecutive5xx"),
    ],
)  # fmt: skip
def test_a_field_has_the_name_of_consuls_struct(attribute: str, name: str) -> None:
    assert json_name(attribute) == name
    assert fold(attribute) == fold(name)


@pytest.mark.parametrize("name", ["CAFile", "ca_file", "cafile", "CaFile", "caFile"])
def test_case_and_underscores_do_not_count(name: str) -> None:
    value, problems = parsed({"inner": {name: "/x"}})
    assert (value.inner.ca_file, problems) == ("/x", [])


def test_what_is_left_out_or_null_has_its_default() -> None:
    assert parsed({"Count": None, "Inner": None, "Words": None}) == (Outer(""), [])


def test_a_single_block_of_hcl_is_a_list_and_a_list_of_one_is_a_block() -> None:
    value, problems = parsed(
        {"Many": {"Weight": 1}, "Inner": [{"Weight": 2}], "Named": [{"a": [{"weight": 3}]}]}
    )
    assert problems == []
    assert (value.many, value.inner, value.named) == (
        (Inner(weight=1),),
        Inner(weight=2),
        {"a": Inner(weight=3)},
    )


def test_blocks_with_labels_are_one_map_unless_a_label_comes_twice() -> None:
    value, problems = parsed(
        {"Named": [{"a": {"Weight": 1}}, {"b": {"Weight": 2}}], "Free": [{"x": 1}, {"y": 2}]}
    )
    assert problems == []
    assert (value.named, value.free) == ({"a": Inner(weight=1), "b": Inner(weight=2)}, {"x": 1, "y": 2})
    assert parsed({"Named": [{"a": {}}, {"a": {}}]})[1] == ["Named: expected object, got list"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"Nmae": 1}, 'invalid config key "Nmae": did you mean Name?'),
        ({"Zzzzzzz": 1}, 'invalid config key "Zzzzzzz"'),
        ({"Many": [{}, {"Wieght": 1}]}, 'invalid config key "Many[1].Wieght": did you mean Weight?'),
        ({"Name": "a", "name": "b"}, "name is written twice: Name is the same"),
        ({"Name": 1}, "Name: expected string, got number"),
        ({"Count": "1"}, "Count: expected number, got string"),
        ({"Count": True}, "Count: expected number, got boolean"),
        ({"Count": 1.5}, "Count: expected a whole number of at most 64 bits"),
        ({"Count": 2**63}, "Count: the number is too large"),
        ({"Inner": {"Weight": float("nan")}}, "Inner.Weight: the number is too large"),
        ({"On": "true"}, "On: expected boolean, got string"),
        ({"Pause": "ten"}, 'Pause: "ten" is not a duration'),
        ({"Pause": True}, "Pause: expected duration"),
        ({"Inner": "x"}, "Inner: expected object, got string"),
        ({"Inner": [{}, {}]}, "Inner: expected object, got list"),
        ({"Perhaps": 1}, "Perhaps: expected object, got number"),
        ({"Many": "x"}, "Many: expected list, got string"),
        ({"Many": ["x"]}, "Many[0]: expected object, got string"),
        ({"Words": {"a": 1}}, "Words: expected list, got object"),
        ({"Words": [1]}, "Words[0]: expected string, got number"),
        ({"Pairs": {"a": 1}}, "Pairs[a]: expected string, got number"),
        ({"Pairs": 1}, "Pairs: expected object, got number"),
        ({"Free": []}, "Free: expected object, got list"),
        ({"Free": {"a": b"x"}}, "Free: holds what is no JSON"),
        ({"Free": {"a": float("inf")}}, "Free: has a number that is none"),
        ({"Free": {"a": 2**64}}, "Free: has a number of more than 64 bits"),
        ({"Namespace": "ns1"}, "Namespace: namespaces are of Consul Enterprise"),
        ({"Inner": {"Partition": "p"}}, "Inner.Partition: admin partitions are of Consul Enterprise"),
        ({"Inner": {"JWT": {}}}, "Inner.JWT: tokens in requests (JWT, of Consul 1.16) are not checked: leave it out"),
        ({"Many": [{"Peer": "p"}]}, "Many[0].Peer: this release has no cluster peering"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_its_path(value: dict[str, Any], problem: str) -> None:
    problems = parsed(value)[1]
    assert len(problems) == 1
    assert problems[0].startswith(problem)


@pytest.mark.parametrize(
    "value", [{"Namespace": "default"}, {"partition": ""}, {"Peer": ""}, {"Namespace": None}]
)
def test_the_harmless_values_of_what_is_not_here_are_taken(value: dict[str, Any]) -> None:
    assert parsed(value) == (Outer(""), [])


def test_every_problem_is_told() -> None:
    assert len(parsed({"a": 1, "Count": "x", "Many": [{"Weight": "x"}]})[1]) == 3


@pytest.mark.parametrize("over", [0, 1])
def test_lists_maps_and_free_json_are_bounded(over: int) -> None:
    nested: Any = 1
    for _ in range(MAX_DEPTH - 1 + over):
        nested = [nested]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"Words": ["x"] * (MAX_ITEMS + over)}, f"Words has {MAX_ITEMS + 1} items: at most {MAX_ITEMS}"),
        (
            {"Pairs": {f"k{i}": "" for i in range(MAX_ITEMS + over)}},
            f"Pairs has {MAX_ITEMS + 1} members: at most",
        ),
        ({"Free": {"a": [0] * (MAX_ITEMS + over)}}, f"Free: has more than {MAX_ITEMS} members"),
        ({"Free": {"a": nested}}, f"Free: is nested more than {MAX_DEPTH} deep"),
    ]
    for value, problem in cases:
        problems = parsed(value)[1]
        assert bool(problems) == bool(over)
        assert not over or problems[0].startswith(problem)


def test_durations_are_texts_or_nanoseconds_and_written_as_go_does() -> None:
    assert parsed({"Pause": "1m30s"})[0].pause == 90.0
    assert parsed({"Pause": 1_500_000_000})[0].pause == 1.5
    assert parsed({"Pause": ""})[0].pause == 0.0
    assert write(Outer("", pause=Duration(90.0))) == {"Pause": "1m30s"}


def test_zero_values_are_left_out_unless_they_are_always_written() -> None:
    assert write(Outer("")) == {}
    assert write(Inner()) == {"Weight": 0}
    assert write(Outer("a", perhaps=Inner(), many=(Inner(weight=0.5),))) == {
        "Name": "a", "Perhaps": {"Weight": 0}, "Many": [{"Weight": 0.5}],
    }  # fmt: skip


def test_maps_are_written_in_order_of_their_names() -> None:
    value, _ = parsed({"Free": {"b": {"z": 1, "a": (2,)}, "a": 1}, "Pairs": {"y": "", "x": ""}})
    written = write(value)
    assert list(written["Free"]) == ["a", "b"]
    assert written["Free"]["b"] == {"a": [2], "z": 1}
    assert list(written["Pairs"]) == ["x", "y"]


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9**20) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_any_json_is_a_value_or_a_problem_and_what_is_read_is_written_back(
    kind: str, data: st.DataObject
) -> None:
    of: type[Spec] = KINDS[kind]
    names = [json_name(name) for name in of.__dataclass_fields__]
    problems: list[str] = []
    value = read(of, data.draw(st.dictionaries(st.sampled_from(names), _json, max_size=4)), "", problems)
    again: list[str] = []
    if not problems:
        assert read(of, write(value), "", again) == value
        assert again == []
