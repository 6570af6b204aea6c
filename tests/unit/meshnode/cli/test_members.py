from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

SERVER = {"role": "consul", "dc": "dc1", "vsn": "2", "build": "1.2.3:abc", "segment": ""}
CLIENT = {"role": "node", "dc": "dc1", "vsn": "2", "build": "1.2.3:abc", "segment": ""}


def member(name: str, addr: str, status: int = 1, tags: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "Name": name,
        "Addr": addr,
        "Port": 8301,
        "Tags": SERVER if tags is None else tags,
        "Status": status,
    }


@pytest.fixture
def pool(agent: StubAgent) -> StubAgent:
    agent.answer(
        "GET /v1/agent/members",
        [
            member("zeta", "10.0.0.9", 4, CLIENT),
            member("beta", "10.0.0.2"),
            member("alpha-long", "fd00::1", 3),
            member("odd", "10.0.0.3", 2, {}),
        ],
    )
    return agent


def test_the_table_is_sorted_by_segment_then_name_and_padded(pool: StubAgent, run: Any) -> None:
    assert run("members").out == (
        "Node        Address         Status   Type     Build  Protocol  DC   Segment\n"
        "alpha-long  [fd00::1]:8301  left     server   1.2.3  2         dc1  <all>\n"
        "beta        10.0.0.2:8301   alive    server   1.2.3  2         dc1  <all>\n"
        "odd         10.0.0.3:8301   leaving  unknown  < 0.3                 <default>\n"
        "zeta        10.0.0.9:8301   failed   client   1.2.3  2         dc1  <default>\n"
    )
    assert pool.last.query == {"segment": "_all"}


def test_detailed_lists_the_tags_sorted(pool: StubAgent, run: Any) -> None:
    lines = run("members", "-detailed", "-status=^failed$").out.splitlines()
    assert lines == [
        "Node  Address        Status  Tags",
        "zeta  10.0.0.9:8301  failed  build=1.2.3:abc,dc=dc1,role=node,segment=,vsn=2",
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("alive", ["beta"]), ("l", ["alpha-long", "beta", "odd", "zeta"]), ("^le", ["alpha-long", "odd"])],
)
def test_status_is_a_regular_expression(pool: StubAgent, run: Any, pattern: str, names: list[str]) -> None:
    done = run("members", "-format=json", "-status", pattern)
    assert [record["Node"] for record in json.loads(done.out)] == names


def test_json_has_the_columns_and_the_tags(pool: StubAgent, run: Any) -> None:
    record = json.loads(run("members", "-format", "json", "-status=alive").out)[0]
    assert record == {
        "Node": "beta", "Address": "10.0.0.2:8301", "Status": "alive", "Type": "server", "Build": "1.2.3",
        "Protocol": "2", "DC": "dc1", "Segment": "<all>", "Tags": SERVER,
    }  # fmt: skip


def test_wan_and_segment_are_asked_for(pool: StubAgent, run: Any) -> None:
    run("members", "-wan", "-segment=alpha")
    assert pool.last.query == {"segment": "alpha", "wan": "1"}


@pytest.mark.parametrize("extra", [[], ["-format=json"], ["-detailed"]])
def test_no_match_prints_nothing_and_is_2(pool: StubAgent, run: Any, extra: list[str]) -> None:
    done = run("members", "-status=none-such", *extra)
    assert (done.code, done.out, done.err) == (2, "", "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-status=("], "-status: '(' is not a regular expression"),
        (["-format=xml"], "-format: 'xml' is not a format: write pretty or json"),
        (["-sttaus=x"], "flag provided but not defined: -sttaus"),
        (["-status"], "flag needs an argument: -status"),
        (["-wan=perhaps"], "not a boolean"),
        (["word"], "members takes no arguments, got 'word'"),
        (["-http-addr=nonsense://x"], "-http-addr: 'nonsense://x' is not an address"),
    ],
)
def test_bad_arguments_are_one_sentence(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("members", *args)
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert agent.asked == []


def test_a_refusal_begins_as_consuls_does(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/agent/members", b"Permission denied", status=403)
    done = run("members")
    assert done.err == "Error retrieving members: Unexpected response code: 403 (Permission denied)\n"
