"""Merging: scalars are replaced, lists appended, maps joined; each value keeps the place it came from."""

from __future__ import annotations

from meshnode.agent.config.merge import Settings, merge
from meshnode.agent.config.schema import read_settings
from meshnode.hcl.parse import parse_hcl


def merged(*texts: str) -> Settings:
    return merge(read_settings(parse_hcl(text, f"{number}.hcl"))[0] for number, text in enumerate(texts))


def test_the_last_scalar_wins_and_says_where_it_stands() -> None:
    settings = merged('node_name = "a"', 'server = true\nnode_name = "b"', "ports { http = 1 }")
    assert settings["node_name"] == "b"
    assert str(settings.origin("node_name")) == "1.hcl:2:13"
    assert (settings["server"], settings["ports.http"], settings["ports.https"]) == (True, 1, -1)


def test_lists_are_appended_and_each_item_says_where_it_stands() -> None:
    settings = merged('retry_join = ["a"]', 'retry_join = ["b", "c"]')
    assert settings["retry_join"] == ("a", "b", "c")
    assert str(settings.problem("retry_join", "no", 0)) == "0.hcl:1:15: no"
    assert str(settings.problem("retry_join", "no", 2)) == "1.hcl:1:20: no"


def test_maps_are_joined_to_their_depth() -> None:
    settings = merged(
        "connect { ca_config { a { b = 1 c = 2 } } }", "connect { ca_config { a { c = 3 } d = 4 } }"
    )
    assert settings["connect.ca_config"] == {"a": {"b": 1, "c": 3}, "d": 4}


def test_what_nobody_set_has_its_default_and_no_place() -> None:
    settings = merged("")
    assert settings["datacenter"] == "dc1"
    assert not settings.is_set("datacenter")
    assert str(settings.problem("datacenter", "no")) == "no"
    assert str(settings.origin("datacenter")) == "built-in default"


def test_an_empty_list_adds_nothing_to_a_refused_one() -> None:
    (refusal,) = merged('segments = [{ name = "a" }]', "segments = []").refusals()
    assert refusal.key == "segments"
    assert merged("segments = []", "segments = []").refusals() == []
