"""The root of Connect has expired while the server was off: the procedure for a new one, run in that state.

Run in the order of this file: ``make day-two-test``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.lab.day_two import fresh_mesh, no_lock_is_left, no_request_failed
from tests.lab.labs import Lab, Run, until
from tests.lab.quickstart import changed_processes, processes
from tests.support.own_root import NAME, own_root

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

ROTATE = "playbooks/connect_ca_rotate.yml"
#: Seconds: in its first half the leader doesn't replace a root, however short the rest is.
LIFE = 60.0


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    yield from fresh_mesh(checkout, "connectexpired", "172.28.192", 18992)


def calls(lab: Lab) -> bool:
    """Whether the frontend reaches the api through both sidecars."""
    said = lab.said(
        "client2", "curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "127.0.0.1:8083/hello"
    )
    return said.strip() == "200"


def active(lab: Lab) -> str:
    """The name of the root that signs, as client1 knows."""
    told = json.loads(lab.on("client1", "curl", "-s", "http://127.0.0.1:8500/v1/agent/connect/ca/roots"))
    return next(str(root["Name"]) for root in told["Roots"] if root["ID"] == told["ActiveRootID"])


def grow_old(lab: Lab) -> None:
    """A root of the operator signs everything, and ends while the only server is off."""
    settings = own_root(datetime.now(UTC), starts=0, ends=LIFE)
    body = json.dumps({"Provider": "consul", "Config": settings})
    put = ("curl", "-sf", "-X", "PUT", "-d", body, "http://127.0.0.1:8500/v1/connect/ca/configuration")
    lab.on("client1", *put)
    lab.on("client1", "meshnode", "connect", "ca", "rotation", "-distrust")
    until("the operator's root signs", lambda: active(lab) == NAME, 10)
    until("sidecars have leaves of it", lambda: calls(lab), 10)
    lab.on("server1", "systemctl", "stop", "consul")
    assert active(lab) == NAME
    until("nothing works any more", lambda: not calls(lab), LIFE + 30)


def rotate_when_the_server_starts(lab: Lab) -> Run:
    """The operator starts the server in the middle of the run."""
    with subprocess.Popen(
        lab.command(playbook=ROTATE), env=lab.environment, cwd=lab.checkout,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Say what is not well already" in line:
                lab.on("server1", "systemctl", "start", "consul")
    return Run(process.wait(), "".join(lines))


def test_a_root_that_has_expired_is_replaced_and_calls_work_again_without_a_restart(lab: Lab) -> None:
    assert calls(lab)
    grow_old(lab)
    before = processes(lab)
    run = rotate_when_the_server_starts(lab)
    output = " ".join(run.output.split())
    assert run.code == 0, run.output[-8000:]
    print(run.output)
    assert "client1: no root that is trusted is valid now; api has no valid certificate" in output
    assert "3/3 trust the root" in output
    no_request_failed(run)
    assert calls(lab)
    assert active(lab).startswith("Consul CA")
    assert changed_processes(lab, before) == set()
    journal = lab.on("server1", "journalctl", "--unit=consul", "--no-pager", "--lines=80")
    assert f"the Connect root {NAME} ended at" in journal
    no_lock_is_left(lab)
