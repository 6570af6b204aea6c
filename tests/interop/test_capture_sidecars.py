"""Which ports of sidecars and native services a capture judges: what the role finds in real agents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from meshnode.testing import Mesh, MeshAgent

ROOT = Path(__file__).parents[2]
PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "connection": "local",
        "tasks": [
            {
                "ansible.builtin.import_role": {
                    "name": "meshnode.lab.mesh_capture", "tasks_from": "sidecars", "public": True,
                }
            },
            {
                "ansible.builtin.copy": {
                    "dest": "{{ found }}",
                    "content": "{{ {'ports': __mesh_capture_all_ports, 'up': __mesh_capture_upstreams} | to_json }}",
                    "mode": "0600",
                }
            },
        ],
    }
]  # fmt: skip


def play(agent: MeshAgent, directory: Path, **variables: Any) -> subprocess.CompletedProcess[str]:
    (directory / "play.json").write_text(json.dumps(PLAY))
    given = {"ansible_become": False, "ansible_python_interpreter": sys.executable, **variables}
    return subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible-playbook"), "-i", "node,", str(directory / "play.json")),
            *("-e", json.dumps({**given, "found": str(directory / "found.json")})),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "CONSUL_HTTP_ADDR": agent.http, "CONSUL_HTTP_TOKEN": ""},
    )  # fmt: skip


def test_ports_of_sidecars_and_native_services_are_judged_and_their_upstreams_spoken_through(
    tmp_path: Path,
) -> None:
    with Mesh(servers=1, config={"connect": {"enabled": True}}) as mesh:
        agent = mesh["server1"]
        upstream = {"DestinationName": "socat", "LocalBindPort": 9191}
        for service in (
            {
                "Name": "web",
                "Port": 8080,
                "Connect": {"SidecarService": {"Proxy": {"Upstreams": [upstream]}}},
            },
            {"Name": "native", "Port": 9999, "Connect": {"Native": True}},
            {"Name": "plain", "Port": 7777},
        ):
            agent.api("/v1/agent/service/register", method="PUT", body=service)
        sidecar = agent.api("/v1/agent/services")["web-sidecar-proxy"]["Port"]
        done = play(agent, tmp_path, mesh_capture_ports=[8301, 8300])
        assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == {"ports": [8300, 8301, 9999, sidecar], "up": [9191]}


def test_an_agent_that_does_not_answer_makes_the_run_void(tmp_path: Path) -> None:
    with Mesh(servers=1) as mesh:
        agent = mesh["server1"]
    done = play(agent, tmp_path)
    assert done.returncode != 0
    assert "VOID: the sidecars' ports are not known. node: curl:" in " ".join(done.stdout.split())
