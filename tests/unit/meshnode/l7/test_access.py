from __future__ import annotations

from dataclasses import replace

from meshnode.l7.access import Exchange, access_line

DONE = Exchange(
    listener="public", connection=7, peer="1.2.3.4:5", source="spiffe://web", method="GET", authority="api",
    path="/a?token=secret", version="HTTP/2", status=200, received=1, sent=2, seconds=0.5,
)  # fmt: skip


def test_a_line_says_who_what_and_how_it_ended_and_no_query() -> None:
    line = access_line(DONE)
    assert line == "public #7 spiffe://web from 1.2.3.4:5: GET api/a HTTP/2 -> 200; in 1 out 2 bytes, 0.500 s"


def test_a_line_names_the_rule_and_the_reason() -> None:
    denied = replace(DONE, status=403, rule="id-1", because="no", request_id="r")
    assert access_line(denied).endswith("-> 403; in 1 out 2 bytes, 0.500 s, request r, rule id-1: no")


def test_a_line_names_the_entry_of_what_the_rules_refused() -> None:
    denied = replace(DONE, status=403, rule="id-1", because="no", refused="denied", refusal=8)
    assert access_line(denied).startswith("public #7 ")
    assert access_line(denied).endswith("0.500 s, refused as #8, rule id-1: no")


def test_a_long_path_is_cut_and_no_answer_is_a_dash() -> None:
    line = access_line(replace(DONE, path="/" + "a" * 500, status=0))
    assert len(line) < 320
    assert "... HTTP/2 -> -;" in line
