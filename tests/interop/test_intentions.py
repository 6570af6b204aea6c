"""Intentions on a real agent with -dev: the transcripts of the documents, word for word, and curl beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh_agent import MeshAgent, loopback

BASE = "/v1/connect/intentions"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[MeshAgent]:
    made = MeshAgent("dev", f"{loopback()}.1", tmp_path, {"data_dir": None}, {}, ("-dev",))
    try:
        made.start()
        yield made
    finally:
        made.kill()


def said(agent: MeshAgent, command: str) -> tuple[int, str, str]:
    done = agent.cli(*command.split())
    return done.returncode, done.stdout, done.stderr


def test_the_transcripts_of_the_documents(agent: MeshAgent) -> None:
    # curl http://localhost:8500/v1/connect/intentions, before there is any
    assert agent.api(BASE) == (200, "[]\n")
    assert said(agent, "intention check web socat") == (0, "Allowed\n", "")
    assert said(agent, "intention create -deny web socat") == (0, "Created: web => socat (deny)\n", "")
    assert said(agent, "intention check web socat") == (1, "Denied\n", "")
    assert said(agent, "intention check kiririmode socat") == (0, "Allowed\n", "")
    assert said(agent, "intention match socat") == (0, "web => socat (deny)\n", "")
    assert said(agent, "intention delete web socat") == (0, "Intention deleted.\n", "")
    assert said(agent, "intention check web socat") == (0, "Allowed\n", "")
    assert agent.api(BASE) == (200, "[]\n")


def test_what_is_there_already_is_refused_and_replaced(agent: MeshAgent) -> None:
    assert said(agent, "intention create -deny -meta why=test web socat")[0] == 0
    code, out, err = said(agent, "intention create web socat")
    assert (code, out) == (1, "")
    assert "duplicate intention found: DENY default/web => default/socat (ID: " in err
    assert said(agent, "intention create -replace web socat") == (0, "Updated: web => socat (allow)\n", "")
    (row,) = agent.get(BASE)
    assert (row["Action"], row["Precedence"], row["SourceNS"]) == ("allow", 9, "default")
    assert said(agent, f"intention delete {row['ID']}") == (0, "Intention deleted.\n", "")
    code, out, err = said(agent, f"intention delete {row['ID']}")
    assert (code, out) == (1, "")
    assert f"Cannot modify non-existent intention: '{row['ID']}'" in err


def test_the_explanation_names_the_candidates_and_the_winner(agent: MeshAgent) -> None:
    for command in ("-deny * socat", "web socat"):
        assert said(agent, f"intention create {command}")[0] == 0
    ids = [row["ID"] for row in agent.get(BASE)]
    code, out, _ = said(agent, "intention explain web socat")
    domain = agent.get("/v1/connect/ca/roots")["TrustDomain"]

    def identity(name: str) -> str:
        return f"spiffe://{domain}/ns/default/dc/dc1/svc/{name}"

    assert code == 0
    assert out.splitlines() == [
        "web => socat: allowed",
        f"Reason: Matched intention: ALLOW default/web => default/socat (ID: {ids[0]}, Precedence: 9)",
        "",
        "Intentions that fit, in the order they are looked at:",
        f"-> 9  web => socat (allow)  {ids[0]}  decides",
        f"   8  * => socat (deny)  {ids[1]}  not reached",
        "Where none fits: allowed (ACLs disabled, access is allowed by default)",
        f"Identities: {identity('web')} => {identity('socat')}",
        f"Trust domain: {domain}",
    ]


def test_permissions_decide_about_requests_by_name_over_the_api(agent: MeshAgent) -> None:
    permissions: list[dict[str, Any]] = [
        {"Action": "deny", "HTTP": {"PathPrefix": "/admin"}},
        {"Action": "allow", "HTTP": {"PathPrefix": "/"}},
    ]
    defaults = {"Kind": "service-defaults", "Name": "socat", "Protocol": "http"}
    assert agent.api("/v1/config", "PUT", json.dumps(defaults).encode()) == (200, "true\n")
    path = f"{BASE}/exact?source=web&destination=socat"
    body = json.dumps({"Permissions": permissions}).encode()
    assert agent.api(path, "PUT", body) == (200, "true\n")
    assert agent.get(path)["Permissions"] == permissions
    first = "web => socat, GET {}: {}"
    for asked, word in (
        ("/x", "allowed"),
        ("/admin", "denied"),
        ("/x/..%2fadmin", "denied"),
        ("/%61dmin", "denied"),
    ):
        out = said(agent, f"intention explain web socat -path {asked}")[1]
        assert out.splitlines()[0] == first.format(asked, word)
    assert said(agent, "intention check web socat") == (1, "Denied\n", "")
