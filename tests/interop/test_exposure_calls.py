"""Whom real agents call: both keys about calls in every combination, before every kind of server."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from meshnode.prove.exposure import Called, call_claims
from meshnode.testing.credentials import Credentials
from tests.support.mesh_agent import Mesh, MeshAgent, wait
from tests.support.programs import needs

pytestmark = [needs("curl"), pytest.mark.timeout(120)]
#: Seconds after which a call that was never answered is taken for refused, and those that an answer may take.
PATIENCE, DEADLINE = 4.0, 40.0
KEYS = ("verify_outgoing", "verify_server_hostname")
SETTINGS = {
    "neither": (False, False),
    "outgoing": (True, False),
    "both": (True, True),
    "hostname": (False, True),
}
NO_TLS: Mapping[str, Any] = dict.fromkeys(
    ("ca_file", "cert_file", "key_file", "verify_incoming", *KEYS, "ports")
)


def server(mesh: Mesh, kind: Called, folder: Path) -> dict[str, Any]:
    """What is special about the configuration of such a server."""
    host = f"{mesh.network}.1"
    if kind is Called.CLEAR:
        return dict(NO_TLS)
    if kind is Called.UNNAMED:
        certificate, key = mesh.certificate("client", host)
        return {"cert_file": certificate, "key_file": key, "verify_server_hostname": False}
    if kind is Called.FOREIGN:
        (folder / "foreign").mkdir()
        others = Credentials(folder / "foreign")
        certificate, key = map(str, others.issue("server", "server", "dc1", host))
        return {"ca_file": str(others.ca_file), "cert_file": certificate, "key_file": key}
    return {}


def answered(agent: MeshAgent, *, expected: bool) -> tuple[bool, str]:
    """Whether a server answers the agent, and what the agent said last."""
    last = ""

    def asked() -> bool:
        nonlocal last
        status, last = agent.api("/v1/kv/secret", "PUT", b"word")
        return status == 200

    try:
        wait(asked, "an answer", DEADLINE if expected else PATIENCE)
    except AssertionError:
        return False, last
    return True, last


@pytest.mark.parametrize("kind", Called)
def test_an_agent_tells_its_calls_to_those_servers_only_that_it_claims(tmp_path: Path, kind: Called) -> None:
    with Mesh.new(tmp_path) as mesh:
        mesh.add("server1", 1, server=True, bootstrap_expect=1, **server(mesh, kind, tmp_path)).launch()
        for number, (name, values) in enumerate(SETTINGS.items(), 2):
            config = dict(zip(KEYS, values, strict=True))
            mesh.add(name, number, retry_join=[f"{mesh.network}.1"], **config).launch()
        mesh.wait_alive("server1", *SETTINGS)
        wait(lambda: mesh["server1"].get("/v1/status/leader"), "the server leads")
        claimed = {
            name: call_claims(verify_outgoing=outgoing, verify_server_hostname=hostname)[kind]
            for name, (outgoing, hostname) in SETTINGS.items()
        }
        with ThreadPoolExecutor(len(SETTINGS)) as pool:
            asked = {
                name: pool.submit(answered, mesh[name], expected=claim) for name, claim in claimed.items()
            }
            seen = {name: future.result() for name, future in asked.items()}
    assert {name: came for name, (came, _) in seen.items()} == claimed, seen
    for name, (came, text) in seen.items():
        assert came or "rpc error making call" in text or "No known Consul servers" in text, (name, text)
