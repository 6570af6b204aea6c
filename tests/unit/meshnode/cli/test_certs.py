"""``certs``: a table for people, an exit code for monitoring."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_stub import StubAgent

LEAF = {
    "Kind": "leaf", "Name": "web", "Issuer": "CN=Consul CA 1", "Serial": "ab:cd",
    "NotAfter": "2026-01-01T00:00:00+00:00", "DaysLeft": 2.5, "Served": {"public": "ab:cd"},
}  # fmt: skip


def test_each_certificate_is_a_line(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/agent/certs", [LEAF, LEAF | {"Kind": "root", "Name": "Consul CA 1", "Served": {}}])
    done = run("certs")
    assert done.out == (
        "Kind  Name         Serial  Days left  Presented by\n"
        "leaf  web          ab:cd   2.50       public\n"
        "root  Consul CA 1  ab:cd   2.50       -\n"
    )
    assert done.code == 0


@pytest.mark.parametrize(
    ("change", "flags", "code"),
    [
        ({}, ["-min-days=2"], 0),
        ({}, ["-min-days=3"], 2),
        ({"DaysLeft": 0}, [], 2),
        ({"Served": {"public": "ef"}}, [], 2),
        ({"Error": "can't be read"}, [], 2),
    ],
)
def test_a_certificate_that_is_due_is_an_exit_code(
    agent: StubAgent, run: Any, change: dict[str, Any], flags: list[str], code: int
) -> None:
    agent.answer("GET /v1/agent/certs", [LEAF | change])
    assert run("certs", *flags).code == code


def test_a_listener_with_another_certificate_is_marked(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/agent/certs", [LEAF | {"Served": {"public": "ef"}}])
    assert "public (ANOTHER ONE: ef)" in run("certs").out


def test_a_node_without_certificates_says_so_and_json_is_json(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/agent/certs", [])
    assert run("certs").out == "This node has no certificates.\n"
    assert run("certs", "-format=json").out == "[]\n"
