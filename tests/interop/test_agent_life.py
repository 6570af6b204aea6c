"""One agent's life, as a real process: how it starts, what keeps it from starting, how it ends and with which code."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh_agent import CLEAN, MESHNODE, MeshAgent, loopback, run_mesh, wait

BANNER = """\
==> Consul agent running!
           Version: 'v1.2.3'
           Node ID: '{node_id}'
         Node name: '{name}'
        Datacenter: 'dc1' (Segment: '{segment}')
            Server: {server} (Bootstrap: {server})
       Client Addr: [{host}] (HTTP: 8500, HTTPS: -1, DNS: 8600)
      Cluster Addr: {host} (LAN: 8301, WAN: 8302)
           Encrypt: Gossip: false, TLS-Outgoing: false, TLS-Incoming: false

==> Log data will now stream in as it occurs:
"""


class Agents:
    """Makes agents on addresses of one network, and ends them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.network = loopback()
        self.made: list[MeshAgent] = []

    def new(self, *arguments: str, environment: dict[str, str] | None = None, **config: Any) -> MeshAgent:
        number = len(self.made) + 1
        agent = MeshAgent(
            f"node{number}",
            f"{self.network}.{number}",
            self.directory,
            config,
            environment or {},
            arguments,
        )
        self.made.append(agent)
        return agent

    def started(self, *arguments: str, **config: Any) -> MeshAgent:
        agent = self.new(*arguments, **config)
        agent.start()
        return agent


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    made = Agents(tmp_path)
    try:
        yield made
    finally:
        for agent in made.made:
            agent.kill()


# The start


@pytest.mark.parametrize("server", [True, False])
def test_the_banner_is_consuls_and_every_log_line_comes_after_it(agents: Agents, server: bool) -> None:
    agent = agents.started(**({"server": True, "bootstrap": True} if server else {}))
    node_id = agent.get("/v1/agent/self")["Config"]["NodeID"]
    expected = BANNER.format(
        name="node1",
        host=agent.host,
        node_id=node_id,
        server=str(server).lower(),
        segment="<all>" if server else "",
    )
    before, found, after = agent.log.partition(expected)
    assert found
    assert before.startswith("==> Starting Consul agent...\n")
    assert "[INFO]" not in before
    assert re.search(r"^    \d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[INFO\] ", after, re.MULTILINE)
    assert (agent.data_dir / "node-id").read_text() == node_id


def test_dev_needs_no_file_and_leaves_none_behind(tmp_path: Path) -> None:
    host = f"{loopback()}.1"
    command = [MESHNODE, "agent", "-dev", "-bind", host, "-client", host, "-node=dev"]
    log = (tmp_path / "log").open("w+b")
    with log, subprocess.Popen(command, stdout=log, cwd=tmp_path, env=CLEAN) as process:
        settings = {"CONSUL_HTTP_ADDR": f"{host}:8500"}
        wait(lambda: run_mesh("members", **settings).returncode == 0, "the dev agent answers")
        row = run_mesh("members", **settings).stdout.splitlines()[1].split()
        assert row == ["dev", f"{host}:8301", "alive", "server", "1.2.3", "2", "dc1", "<all>"]
        assert run_mesh("keyring", "-list", **settings).returncode == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 1  # a server skips the leave on an interrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log"]


def test_the_configuration_may_come_from_the_environment(agents: Agents) -> None:
    agent = agents.new(environment={"CONSUL_LOCAL_CONFIG": '{"datacenter": "tokyo", "log_json": true}'})
    agent.start()
    assert agent.get("/v1/agent/self")["Config"]["Datacenter"] == "tokyo"
    lines = [line for line in agent.log.splitlines() if line.startswith("{")]
    assert {"@level", "@message", "@module", "@timestamp"} == set(json.loads(lines[0]))


def test_the_api_is_served_on_a_unix_socket_too(agents: Agents, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    agent = agents.started(addresses={"http": f"unix://{path}"}, unix_sockets={"mode": "600"})
    for arguments, environment in (
        ((), {"CONSUL_HTTP_ADDR": f"unix://{path}"}),
        (("-http-addr", f"unix://{path}"), {}),
    ):
        done = run_mesh("members", *arguments, **environment)
        assert (done.returncode, done.stdout.split()[8]) == (0, "node1")
    assert path.stat().st_mode & 0o777 == 0o600
    agent.signal(signal.SIGTERM)
    assert agent.wait_exit() == 0
    assert not path.exists()
    gone = run_mesh("members", CONSUL_HTTP_ADDR=f"unix://{path}")
    assert (gone.returncode, gone.stderr.count("\n")) == (1, 1)


# What keeps it from starting


@pytest.mark.parametrize("port", [8300, 8301, 8500])
def test_a_port_that_is_taken_is_fatal_and_named(agents: Agents, port: int) -> None:
    agent = agents.new(server=True)
    with socket.create_server((agent.host, port)):
        code, output = agent.run_to_end()
    assert code == 1
    line = next(line for line in output.splitlines() if line.startswith("==> Error starting agent: "))
    assert f"{agent.host}:{port}" in line
    assert "Traceback" not in output
    assert "running!" not in output
    if port == 8500:  # what the log said on the way is not lost
        assert "EventMemberJoin: node1" in output
    agent.start()


def test_a_join_that_nobody_answers_is_fatal(agents: Agents) -> None:
    agent = agents.new("-join", f"{agents.network}.99")
    code, output = agent.run_to_end()
    assert code == 1
    assert "==> Error starting agent: failed to join" in output
    assert f"{agents.network}.99" in output


def test_retry_join_ends_the_agent_after_retry_max_attempts(agents: Agents) -> None:
    agent = agents.new(retry_join=[f"{agents.network}.99"], retry_max=2, retry_interval="200ms")
    code, output = agent.run_to_end()
    assert code == 1
    assert "max join LAN retry exhausted, exiting" in output


def test_retry_join_finds_who_starts_later(agents: Agents) -> None:
    late_host = f"{agents.network}.2"
    early = agents.started(retry_join=[late_host])
    early.wait_for_log("Join LAN failed")
    agents.started()
    wait(lambda: early.statuses() == {"node1": "alive", "node2": "alive"}, "both met")


def test_a_keyring_file_counts_and_is_told_from_encrypt_without_showing_a_key(agents: Agents) -> None:
    ours, theirs = (base64.b64encode(os.urandom(16)).decode() for _ in range(2))
    agent = agents.new(encrypt=ours)
    (agent.data_dir / "serf").mkdir(parents=True)
    keyring = agent.data_dir / "serf" / "local.keyring"
    keyring.touch(mode=0o600)
    keyring.write_text(json.dumps([theirs]))
    agent.start()
    assert f"is not used: the keyring file {keyring} counts once it exists" in agent.log
    assert ours not in agent.log
    assert theirs not in agent.log
    assert json.loads(keyring.read_text()) == [theirs]


def test_a_second_agent_in_a_data_directory_is_refused_and_the_first_is_none_the_worse(
    agents: Agents,
) -> None:
    first = agents.new()
    first.start()
    code, output = agents.new(data_dir=str(first.data_dir)).run_to_end()
    assert code == 1
    assert f"data_dir: another agent runs in {first.data_dir}: stop it, or give" in output
    first.kill()
    first.start()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"log_level": "LOUD"}, "log_level"),
        ({"encrypt": "c2hvcnQ="}, "encrypt"),
        ({"verify_incoming": True}, "VerifyIncoming set, and no"),
        ({"nonsense": 1}, "nonsense"),
        ({"log_file": "/proc/none/log"}, "log_file"),
        ({"pid_file": "/proc/none/pid"}, "pid_file"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_clear_refusal(
    agents: Agents, config: dict[str, Any], words: str
) -> None:
    code, output = agents.new(**config).run_to_end()
    assert code == 1
    assert words in output
    assert "Traceback" not in output
    assert "c2hvcnQ=" not in output


def test_flags_that_do_not_exist_and_words_too_many_are_refused(tmp_path: Path) -> None:
    for arguments in (["-nonsense"], ["-dev", "word"]):
        done = run_mesh("agent", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("==> ")
        assert "Traceback" not in done.stderr


# The end


@pytest.mark.parametrize(
    ("config", "number", "code", "becomes"),
    [
        ({}, signal.SIGTERM, 0, "left"),  # a client leaves on both
        ({}, signal.SIGINT, 0, "left"),
        ({"leave_on_terminate": False}, signal.SIGTERM, 1, "failed"),
        ({"skip_leave_on_interrupt": True}, signal.SIGINT, 1, "failed"),
        ({"server": True}, signal.SIGTERM, 1, "failed"),  # a server on neither
        ({"server": True, "leave_on_terminate": True}, signal.SIGTERM, 0, "left"),
        ({"server": True, "skip_leave_on_interrupt": False}, signal.SIGINT, 0, "left"),
    ],
)
def test_signals_leave_or_stop_as_configured(
    agents: Agents, config: dict[str, Any], number: signal.Signals, code: int, becomes: str
) -> None:
    witness = agents.started()
    agent = agents.started(retry_join=[witness.host], **config)
    wait(lambda: witness.statuses().get("node2") == "alive", "node2 has joined")
    agent.signal(number)
    assert agent.wait_exit() == code
    assert ("Graceful shutdown disabled. Exiting" in agent.log) == bool(code)
    wait(lambda: witness.statuses().get("node2") == becomes, f"node2 is {becomes}")


def test_a_second_signal_does_not_wait_for_the_leave(agents: Agents) -> None:
    witness = agents.started()
    agent = agents.started(
        server=True,
        leave_on_terminate=True,
        retry_join=[witness.host],
        performance={"leave_drain_time": "12s"},
    )
    wait(lambda: witness.statuses().get("node2") == "alive", "node2 has joined")
    agent.signal(signal.SIGTERM)
    agent.wait_for_log("Waiting 12s to drain RPC traffic")
    agent.signal(signal.SIGTERM)
    assert agent.wait_exit(8) == 1
    assert "Caught second signal" in agent.log


def test_a_signal_while_the_agent_starts_ends_it_cleanly(agents: Agents, tmp_path: Path) -> None:
    with socket.create_server((f"{agents.network}.77", 8301)):  # accepts, and never says a word
        agent = agents.new("-join", f"{agents.network}.77", addresses={"http": f"unix://{tmp_path}/s"})
        agent.launch()
        wait((tmp_path / "s").exists, "it is about to join")
        agent.signal(signal.SIGTERM)
        assert agent.wait_exit() == 1
    assert not (tmp_path / "s").exists()
    assert "Traceback" not in agent.log


def test_pid_file_and_state_are_there_while_it_runs(agents: Agents, tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    notify = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(20)
        manager.bind(str(notify))
        environment = {"RUNTIME_DIRECTORY": str(runtime), "NOTIFY_SOCKET": str(notify)}
        agent = agents.new(environment=environment, pid_file=str(tmp_path / "pid"))
        agent.start()
        assert manager.recv(1000).decode().splitlines() == ["READY=1", "STATUS=node1 is running"]
        assert (tmp_path / "pid").read_text() == f"{agent.pid}\n"
        state = json.loads((runtime / "state.json").read_text())
        assert (state["pid"], state["version"]) == (agent.pid, "1.2.3")
        assert state["config_digest"] == agent.get("/v1/agent/self")["Meshnode"]["ConfigDigest"]
        agent.signal(signal.SIGHUP)
        reloading, ready = manager.recv(1000).decode().splitlines(), manager.recv(1000).decode()
        assert (reloading[0], ready) == ("RELOADING=1", "READY=1")
        assert reloading[1].startswith("MONOTONIC_USEC=")
        agent.signal(signal.SIGTERM)
        assert manager.recv(1000).decode() == "STOPPING=1"
        assert agent.wait_exit() == 0
    assert not (tmp_path / "pid").exists()
    assert list(runtime.iterdir()) == []


def test_a_leave_through_the_api_ends_the_agent_with_success(agents: Agents) -> None:
    agent = agents.started()
    assert agent.api("/v1/agent/leave", "PUT") == (200, "")
    assert agent.wait_exit() == 0


# Limits


def test_a_client_over_its_rpc_rate_answers_429(agents: Agents) -> None:
    server = agents.started(server=True, bootstrap=True)
    client = agents.started(retry_join=[server.host], limits={"rpc_rate": 0.001, "rpc_max_burst": 30})
    wait(lambda: len(client.statuses()) == 2, "the client has joined")
    wait(lambda: "in sync" in client.log, "its own calls, which count too, are made")
    answers = [client.api("/v1/status/leader")[0] for _ in range(31)]
    assert answers == sorted(answers)
    assert set(answers) == {200, 429}
    assert client.api("/v1/status/leader") == (429, "RPC rate limit exceeded")
    client.write_config(limits={"rpc_rate": -1})
    assert client.cli("reload").returncode == 0
    assert client.api("/v1/status/leader")[0] == 200
    assert server.api("/v1/status/leader")[0] == 200


def test_a_reader_that_goes_away_is_no_error(agents: Agents) -> None:
    agent = agents.started()
    shell = f"{MESHNODE} monitor -log-level=debug -http-addr={agent.host}:8500 | head -1"
    with subprocess.Popen(["sh", "-c", shell], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        # The monitor notices with the next lines that it writes.
        wait(lambda: agent.statuses() and process.poll() is not None, "the pipe has ended")
        assert process.stderr is not None
        assert process.stderr.read() == b""
