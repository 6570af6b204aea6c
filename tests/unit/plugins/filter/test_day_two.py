"""Rows become lines that may be shown."""

from __future__ import annotations

import base64
import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.meshnode.lab.plugins.filter.day_two import aligned, tls_doors

from tests.unit.plugins.api_agents import ApiAgent


def test_columns_are_under_each_other() -> None:
    assert aligned([["node", "keys"], ["server1", 12]]) == ["node     keys", "server1  12"]
    assert aligned([]) == []


def test_what_could_be_a_key_is_hidden() -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    assert aligned([["a", key]]) == ["a  (hidden)"]


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="give each the same columns"):
        aligned([["a"], ["b", "c"]])


def told(*answered: tuple[str, str, str], differences: tuple[str, ...] = ()) -> str:
    """What ``meshnode exposure -observe -json`` prints: each door in each way, these answered and the others not."""
    ways = {"gossip udp": ["sealed"], "http": ["in clear"], "server rpc": WAYS, "https": WAYS}
    doors = [
        {"door": door, "from": place, "way": way, "claimed": "refused",
         "seen": "answered" if (door, place, way) in answered else "refused"}
        for door, known in ways.items() for place in ("inside", "outside") for way in known
    ]  # fmt: skip
    return json.dumps({"doors": [*doors, NOT_OBSERVED], "differences": list(differences)})


WAYS = ["in clear", "TLS", "mutual TLS"]
NOT_OBSERVED = {
    "door": "server rpc",
    "from": "outside",
    "way": "TLS",
    "claimed": "nobody listens",
    "seen": None,
}
GOSSIP = ("gossip udp", "outside", "sealed")
MUTUAL = ("https", "outside", "mutual TLS")


@pytest.mark.parametrize(("answered", "phase"), [
    ([], "silent"),
    ([GOSSIP], "clear"),
    ([("server rpc", "outside", "in clear"), ("http", "outside", "in clear")], "clear"),
    ([MUTUAL, ("https", "outside", "TLS")], "offered"),
    ([MUTUAL, ("server rpc", "outside", "in clear"), ("server rpc", "outside", "mutual TLS")], "offered"),
    ([MUTUAL, ("server rpc", "outside", "TLS"), ("server rpc", "outside", "mutual TLS")], "offered"),
    ([MUTUAL, ("server rpc", "outside", "mutual TLS")], "required"),
    ([MUTUAL], "required"),
])  # fmt: skip
def test_the_phase_is_what_strangers_get(answered: list[tuple[str, str, str]], phase: str) -> None:
    assert tls_doors(told(*answered))["phase"] == phase


def test_what_is_answered_is_named_once() -> None:
    answered = [("https", place, way) for place in ("inside", "outside") for way in ("TLS", "mutual TLS")]
    found = tls_doors(told(*answered, differences=("https answers",)))
    assert (found["https"], found["rpc"], found["different"]) == ("TLS, mutual TLS", "", "https answers")


@pytest.mark.parametrize(("places", "http"), [
    (("inside", "outside"), "network"), (("inside",), "node"), ((), "off"),
])  # fmt: skip
def test_where_plain_http_is_answered(places: tuple[str, ...], http: str) -> None:
    assert tls_doors(told(*(("http", place, "in clear") for place in places)))["http"] == http


def test_a_node_where_the_command_could_not_be_run_is_silent() -> None:
    assert tls_doors("")["phase"] == "silent"


@pytest.mark.parametrize("text", ["meshnode: not found", "[]", '{"doors": [{}]}', '{"doors": 1}'])
def test_what_is_no_such_answer_is_refused(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="is not what meshnode exposure -observe -json prints"):
        tls_doors(text)


def test_a_real_agent_with_verify_incoming_requires_tls(open_agent: ApiAgent) -> None:
    host, config = open_agent.agent.host, str(open_agent.agent.config_file)
    done = open_agent.agent.cli("exposure", "-observe", "-json", f"-outside={host}", config)
    found = tls_doors(done.stdout)
    assert (found["phase"], found["rpc"], found["https"]) == ("required", "mutual TLS", "mutual TLS")
