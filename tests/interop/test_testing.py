"""meshnode.testing as its users have it: the example of its documentation, and nothing left behind."""

from __future__ import annotations

import json
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from meshnode.testing import AgentError, ApiError, Mesh, MeshAgent
from meshnode.testing.waiting import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/testing.md").read_text(), re.DOTALL)


#: A program that does not end by itself.
SLEEPER = ["/bin/sh", "-c", "exec sleep 1000"]


@pytest.fixture(scope="module")
def whole() -> Iterator[Mesh]:
    """Everything at once: two datacenters, TLS, ACLs."""
    options = {"secure": True, "acl": True, "datacenters": ("dc1", "dc2")}
    with Mesh(servers=1, clients=1, **options) as mesh:  # type: ignore[arg-type, unused-ignore]
        yield mesh


def run_pytest(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_example.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=directory, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def agents_in(directory: str) -> list[psutil.Process]:
    """The living processes with a file of ``directory`` in their command line."""
    found = psutil.process_iter(["cmdline", "status"])
    return [
        one
        for one in found
        if directory in " ".join(one.info["cmdline"] or ()) and one.info["status"] != psutil.STATUS_ZOMBIE
    ]


def test_the_example_of_the_documentation_passes_with_nothing_but_the_package(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, EXAMPLES[0])
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_the_example_without_pytest_prints_the_leader() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES[1]], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"http://\S+:8500 \S+:8300\n", done.stdout)


def test_a_module_has_one_mesh_and_a_failed_test_shows_its_logs(tmp_path: Path) -> None:
    same = (
        "def test_same(mesh, mesh_agent):\n    assert mesh(1).servers[0] is mesh().servers[0] is mesh_agent\n"
    )
    done = run_pytest(tmp_path, f"{same}\ndef test_failed(mesh_agent):\n    assert mesh_agent is None\n")
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "log of server1" in done.stdout
    assert "cluster leadership acquired" in done.stdout


def test_a_mesh_has_what_was_asked_for(whole: Mesh) -> None:
    assert [agent.name for agent in whole] == ["dc1-server1", "dc2-server1", "dc1-client1", "dc2-client1"]
    assert {agent.datacenter for agent in whole.clients} == {"dc1", "dc2"}
    for agent in whole:
        assert sorted(agent.api("/v1/catalog/datacenters")) == ["dc1", "dc2"]
    whole["dc1-client1"].api("/v1/kv/a", method="PUT", body="x", query={"dc": "dc1"})
    assert whole["dc2-client1"].api("/v1/kv/a", query={"dc": "dc1", "raw": True}) == "x"


def test_without_a_token_access_control_denies(whole: Mesh) -> None:
    with pytest.raises(ApiError, match=r"dc1-server1: GET /v1/kv/a: 403 Permission denied") as raised:
        whole["dc1-server1"].api("/v1/kv/a", token="")
    assert raised.value.status == 403
    assert whole["dc1-server1"].request("/v1/kv/a", token="").status == 403


def test_gossip_is_encrypted_and_https_asks_for_a_certificate(whole: Mesh) -> None:
    server = whole["dc1-server1"]
    assert "Gossip: true, TLS-Outgoing: true, TLS-Incoming: true" in server.log
    context = ssl.create_default_context(cafile=str(whole.ca_file))
    certificate, key = whole.client_certificate()
    context.load_cert_chain(certificate, key)
    with urllib.request.urlopen(f"{server.https}/v1/status/leader", context=context) as answer:
        assert answer.read().decode() == f'"{server.host}:8300"'


def test_secrets_are_for_the_owner_only(whole: Mesh) -> None:
    assert whole.directory.stat().st_mode & 0o777 == 0o700
    for path in (*whole.directory.glob("*.json"), *whole.directory.glob("*.pem")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_an_agent_keeps_its_address_and_its_data_over_a_stop_and_a_kill() -> None:
    with Mesh() as mesh:
        [server] = mesh.servers
        server.api("/v1/kv/a", method="PUT", body="x")
        before = server.http, server.pid
        assert server.stop() == 1
        assert not server.running
        with pytest.raises(AgentError, match=r"server1 \(exit code 1\) GET /v1/kv/a got no answer"):
            server.api("/v1/kv/a")
        server.start()
        server.start()
        mesh.wait_healthy()
        assert server.api("/v1/kv/a?raw") == "x"
        server.kill()
        server.start()
        mesh.wait_healthy()
        assert server.api("/v1/kv/a?raw") == "x"
        assert server.http == before[0]
        assert server.pid != before[1]


def test_an_agent_that_does_not_start_is_an_error_with_its_words_and_leaves_nothing() -> None:
    mesh = Mesh(config={"no_such_key": 1})
    with pytest.raises(
        AgentError, match=r"(?s)server1 \(exit code 1\) exited instead of running.*no_such_key"
    ):
        mesh.start()
    assert not agents_in(str(mesh.agents[0].config_file.parent))
    assert not mesh.agents[0].config_file.parent.exists()


def test_what_does_not_come_in_time_is_an_error_with_the_log(mesh_agent: MeshAgent) -> None:
    with pytest.raises(
        AgentError, match=r"(?s)did not log 'never' within 0.01 s.*the end of its log:.*leadership"
    ):
        mesh_agent.wait_for_log("never", timeout=0.01)


def test_an_answer_that_is_not_as_wanted_in_time_is_an_error_with_what_came(mesh_agent: MeshAgent) -> None:
    with pytest.raises(AgentError, match=r"GET /v1/kv/never was not as wanted within 0.01 s: 404"):
        mesh_agent.wait_for("/v1/kv/never", timeout=0.01)
    leader = mesh_agent.wait_for("/v1/status/leader", until=lambda value: value.endswith(":8300"))
    assert leader == f"{mesh_agent.host}:8300"


def test_an_unhealthy_mesh_says_what_is_missing() -> None:
    with Mesh(servers=1, clients=1) as mesh:
        mesh["server1"].stop()
        with pytest.raises(AgentError, match=r"client1 is not healthy after 0.3 s: "):
            mesh.wait_healthy(timeout=0.3)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name
)
def test_nothing_is_left_when_the_test_itself_is_ended(number: signal.Signals) -> None:
    code = (
        "from meshnode.testing import Mesh\nimport signal\n"
        "with Mesh(clients=1) as mesh:\n    print(mesh.directory, flush=True)\n    signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as test:
        assert test.stdout is not None
        directory = test.stdout.readline().strip()
        assert len(agents_in(directory)) == 3, "two agents and the guard"
        test.send_signal(number)
        test.wait(20)
    wait_until(lambda: not agents_in(directory) and not Path(directory).exists(), 20)


def test_managed_proxies_which_outlive_their_agent_end_with_the_mesh() -> None:
    proxy = {"exec_mode": "daemon", "command": SLEEPER}
    config = {
        "connect": {"enabled": True, "proxy": {"allow_managed_root": True}},
        "services": [{"name": "socat", "port": 8181, "connect": {"proxy": proxy}}],
    }
    with Mesh(config=config) as mesh:
        snapshot = mesh.agents[0].data_dir / "proxy" / "snapshot.json"
        wait_until(snapshot.exists, 20)
        pid = json.loads(snapshot.read_text())["Proxies"]["socat-proxy"]["Config"]["Pid"]
        mesh.agents[0].kill()
        assert psutil.Process(pid).is_running()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", 20)
