"""C(mesh_tls_info) against an agent with TLS on both of its ports, and what is none."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._tls_info import look
from ansible_collections.meshnode.lab.plugins.modules import mesh_tls_info

from tests.support.programs import needs
from tests.unit.plugins.api_agents import ApiAgent
from tests.unit.plugins.module_run import Outcome, run_module

pytestmark = needs("openssl")

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(open_agent: ApiAgent, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*ports: dict[str, Any], **args: Any) -> list[dict[str, Any]]:
        own = {"cert_file": open_agent.certificate[0], "key_file": open_agent.certificate[1]}
        given = {"address": open_agent.agent.host, "ca_file": str(open_agent.mesh.ca), **own, **args}
        outcome: Outcome = run_module(mesh_tls_info.main, capsys, ports=list(ports), **given)
        served: list[dict[str, Any]] = outcome["served"]
        return served

    return call


def test_both_ports_present_the_certificate_that_openssl_sees(run: Run, open_agent: ApiAgent) -> None:
    rpc, https = run({"port": 8300, "kind": "rpc"}, {"port": 10443})
    shown = subprocess.run(
        ["openssl", "s_client", "-connect", f"{open_agent.agent.host}:10443", "-cert", open_agent.certificate[0],
         "-key", open_agent.certificate[1]],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"],
        input=shown.stdout,
        capture_output=True,
        check=True,
    )
    fingerprint = told.stdout.decode().strip().partition("=")[2].replace(":", "").lower()
    assert https["fingerprint"] == rpc["fingerprint"] == fingerprint
    assert https["issuer"] == rpc["issuer"]
    assert https["issuer"].startswith("CN=")
    assert https["not_after"].endswith("GMT")
    assert (rpc["problem"], https["problem"]) == ("", "")


def test_a_certificate_of_another_ca_is_a_problem(run: Run, tmp_path: Path) -> None:
    key, other = tmp_path / "ca.key", tmp_path / "ca.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=other", "-keyout", str(key), "-out", str(other)],
        check=True, capture_output=True,
    )  # fmt: skip
    (https,) = run({"port": 10443}, ca_file=str(other))
    assert https["problem"].startswith("its certificate is not trusted (")
    assert https["issuer"] == ""


def test_a_port_without_tls_or_without_anybody_is_a_problem(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    clear, nobody = run({"port": 8500}, {"port": free})
    assert clear["problem"].startswith("no handshake (")
    assert "refused" in nobody["problem"]


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    none = str(tmp_path / "none.crt")
    assert look("127.0.0.1", 1, "tls", none, None).problem.startswith(
        f"{none}, no certificate: can't be used"
    )
