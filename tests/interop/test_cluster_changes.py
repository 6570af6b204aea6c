"""What changes in a cluster of real agents: keys, certificates and settings while it runs, failures, leaves, returns.

One cluster for the whole file, so the order matters a little: what disturbs it comes last and puts it right again.
"""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.five_agents import ALL, CLIENTS, SERVERS, five_agents, forgets
from tests.support.mesh_agent import Mesh, MeshAgent, run_mesh, wait


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with five_agents(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture
def server(mesh: Mesh) -> MeshAgent:
    return mesh["server1"]


@pytest.fixture
def client(mesh: Mesh) -> MeshAgent:
    return mesh["client1"]


def https_serial(agent: MeshAgent, ca: Path) -> str:
    """Serial of the certificate that the HTTPS port presents, as openssl sees it."""
    command = ["openssl", "s_client", "-connect", f"{agent.host}:10443", "-CAfile", str(ca)]
    shown = subprocess.run(command, capture_output=True, input=b"", check=False, timeout=30).stdout
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-serial"], input=shown, capture_output=True, check=True
    ).stdout
    return f"{int(text.decode().strip().removeprefix('serial='), 16):x}"


def keys_on_disk(agent: MeshAgent, name: str) -> list[str]:
    keys: list[str] = json.loads((agent.data_dir / "serf" / name).read_text())
    return keys


def listed(agent: MeshAgent) -> str:
    done = agent.cli("keyring", "-list")
    assert done.returncode == 0, done.stderr
    return done.stdout


# Keys


def test_gossip_keys_rotate_under_a_running_cluster_and_stay_after_a_restart(mesh: Mesh) -> None:
    server, old, new = mesh["server1"], mesh.key, run_mesh("keygen").stdout.strip()
    head = "==> Gathering installed encryption keys...\n"
    assert listed(server) == f"{head}\nWAN:\n  {old} [3/3]\n\ndc1 (LAN):\n  {old} [5/5]\n"
    for flag, line in (
        ("-install", "==> Installing new gossip encryption key...\n"),
        ("-use", "==> Changing primary gossip encryption key...\n"),
    ):
        done = server.cli("keyring", flag, new)
        assert (done.returncode, done.stdout, done.stderr) == (0, line, "")
    both = sorted([old, new])
    lan = "".join(f"  {key} [5/5]\n" for key in both)
    assert f"dc1 (LAN):\n{lan}" in listed(server)
    for agent in mesh.agents.values():
        assert keys_on_disk(agent, "local.keyring") == [new, old]
        assert stat.S_IMODE((agent.data_dir / "serf" / "local.keyring").stat().st_mode) == 0o600
    for name in SERVERS:
        assert keys_on_disk(mesh[name], "remote.keyring") == [new, old]

    client = mesh["client2"]
    client.kill()
    client.start()  # its configuration still says the old key: the file counts
    mesh.wait_alive(*ALL)
    assert keys_on_disk(client, "local.keyring") == [new, old]

    refused = server.cli("keyring", "-remove", new)
    assert refused.returncode == 1
    assert refused.stdout == "==> Removing gossip encryption key...\n"
    assert refused.stderr.startswith("error: Unexpected response code: 500 (")
    removed = server.cli("keyring", "-remove", old)
    assert (removed.returncode, removed.stdout) == (0, "==> Removing gossip encryption key...\n")
    assert listed(server) == f"{head}\nWAN:\n  {new} [3/3]\n\ndc1 (LAN):\n  {new} [5/5]\n"
    client.kill()
    client.start()  # its configuration says a key that nobody has any more: the file counts still
    mesh.wait_alive(*ALL)
    for agent in mesh.agents.values():
        assert keys_on_disk(agent, "local.keyring") == [new]
        agent.write_config(encrypt=new)
    mesh.key = new
    client.kill()
    client.start()
    mesh.wait_alive(*ALL)


def test_keyring_on_a_client_and_with_bad_keys_fails(client: MeshAgent, server: MeshAgent) -> None:
    done = client.cli("keyring", "-list")
    assert done.returncode == 1
    assert "keyring operations must run against a server node" in done.stderr
    bad = server.cli("keyring", "-install", "not-a-key")
    assert bad.returncode == 1
    assert "not-a-key" not in bad.stderr


# Reload


def test_reload_puts_new_certificates_and_the_log_level_in_force(mesh: Mesh, client: MeshAgent) -> None:
    client.write_config(verify_incoming=None, verify_incoming_rpc=True)
    assert client.cli("reload").stdout == "Configuration reload triggered\n"
    before = https_serial(client, mesh.ca)
    for old, new in zip(
        (client.config["cert_file"], client.config["key_file"]),
        mesh.certificate("client", client.host),
        strict=True,
    ):
        shutil.move(new, old)
    assert https_serial(client, mesh.ca) == before
    client.write_config(log_level="INFO")
    done = client.cli("reload")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Configuration reload triggered\n", "")
    after = https_serial(client, mesh.ca)
    assert after != before
    shown = client.get("/v1/agent/self")["Meshnode"]["Certificates"][0]
    assert (shown["Serial"], shown["Served"]["https"]) == (after, after)
    length = len(client.log)
    client.get("/v1/agent/self")
    assert "[DEBUG]" not in client.log[length:]
    client.write_config(log_level="DEBUG")
    client.signal(signal.SIGHUP)
    wait(lambda: "[DEBUG]" in client.log[length:] or not client.get("/v1/agent/self"), "DEBUG is back")
    assert client.get("/v1/status/leader") == mesh.leader(*SERVERS)


def test_a_bad_configuration_is_refused_and_the_old_one_stays(mesh: Mesh, client: MeshAgent) -> None:
    good = client.config_file.read_text()
    client.config_file.write_text('{"encript": "x", "log_level": "INFO"}')
    done = client.cli("reload")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error reloading: Unexpected response code: 500 (")
    assert "encript" in done.stderr
    status, body = client.api("/v1/agent/reload", "PUT")
    assert (status, "encript" in body) == (500, True)
    client.signal(signal.SIGHUP)
    client.wait_for_log("reload failed, the old configuration stays in force")
    client.config_file.write_text(good)
    assert client.running
    assert client.get("/v1/agent/self")["DebugConfig"]["logging"]["level"] == "DEBUG"
    assert client.cli("reload").returncode == 0


def test_what_needs_a_restart_is_said_and_the_digest_tells_it(client: MeshAgent) -> None:
    before = client.get("/v1/agent/self")
    client.write_config(node_name="renamed")
    assert client.cli("reload").returncode == 0
    assert "takes effect only after a restart" in client.wait_for_log("reload: node_name")
    after = client.get("/v1/agent/self")
    assert after["Config"]["NodeName"] == "client1"
    assert after["Meshnode"]["ConfigDigest"] == before["Meshnode"]["ConfigDigest"]
    client.write_config(node_name="client1")
    assert client.cli("reload").returncode == 0


# Failure and return


def test_a_killed_client_fails_and_comes_back_as_itself(mesh: Mesh) -> None:
    client = mesh["client2"]
    node_id = client.get("/v1/agent/self")["Config"]["NodeID"]
    client.kill()
    for name in (*SERVERS, "client1"):
        wait(
            lambda name=name: mesh[name].statuses().get("client2") == "failed", f"{name} sees client2 failed"
        )
    assert mesh["server1"].cli("members", "-status=failed").stdout.splitlines()[1].startswith("client2 ")
    client.start()
    mesh.wait_alive(*ALL)
    assert client.get("/v1/agent/self")["Config"]["NodeID"] == node_id


def test_force_leave_turns_failed_into_left_and_prune_erases_it(mesh: Mesh) -> None:
    client = mesh["client2"]
    client.kill()
    # Everybody: an agent that still sees it alive would show it as leaving until it notices.
    for name in (*SERVERS, "client1"):
        wait(
            lambda name=name: mesh[name].statuses().get("client2") == "failed", f"{name} sees client2 failed"
        )
    done = mesh["server1"].cli("force-leave", "client2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for name in (*SERVERS, "client1"):
        wait(lambda name=name: mesh[name].statuses().get("client2") == "left", f"{name} sees client2 left")
    assert mesh["server1"].cli("force-leave", "-prune", "client2").returncode == 0
    for name in (*SERVERS, "client1"):
        wait(lambda name=name: forgets(mesh[name], "client2"), f"{name} has forgotten client2")
    client.start()
    mesh.wait_alive(*ALL)


def test_leave_is_graceful_and_the_node_may_rejoin(mesh: Mesh) -> None:
    client = mesh["client2"]
    done = client.cli("leave")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Graceful leave complete\n", "")
    assert client.wait_exit() == 0
    for name in (*SERVERS, "client1"):
        wait(lambda name=name: mesh[name].statuses().get("client2") == "left", f"{name} sees client2 left")
    client.start()
    mesh.wait_alive(*ALL)


def test_a_server_leaves_both_pools_and_drains(mesh: Mesh) -> None:
    server = mesh["server3"]
    assert server.cli("leave").returncode == 0
    assert server.wait_exit() == 0
    assert "Waiting 0.2s to drain RPC traffic" in server.log
    for name in ("server1", "server2"):
        wait(lambda name=name: mesh[name].statuses().get("server3") == "left", f"{name} sees server3 left")
        wait(
            lambda name=name: mesh[name].statuses(wan=True).get("server3.dc1") == "left",
            f"{name} sees it in the WAN",
        )
    rest = ("server1", "server2", *CLIENTS)
    wait(lambda: mesh.leader(*rest), "who is left has a leader: leaving shrinks the quorum")
    server.start()
    mesh.wait_alive(*ALL)
    wait(lambda: mesh.leader(*ALL), "all agree on a leader")


def test_without_a_shared_log_one_server_keeps_it_and_the_others_wait_for_its_return(mesh: Mesh) -> None:
    def named(address: str) -> str:
        return next(name for name in SERVERS if f"{mesh[name].host}:8300" == address)

    owner = named(wait(lambda: mesh.leader(*ALL), "a leader"))
    for number, name in enumerate(ALL):
        assert mesh[name].api(f"/v1/kv/of/{name}", "PUT", str(number).encode()) == (200, "true")
    listed = {name: json.loads(mesh[name].api("/v1/kv/of/?keys")[1]) for name in ALL}
    assert listed == dict.fromkeys(ALL, sorted(f"of/{name}" for name in ALL))
    mesh[owner].kill()
    rest = [name for name in ALL if name != owner]
    for name in rest:
        wait(lambda name=name: mesh[name].get("/v1/status/leader") == "", f"{name} sees no leader")
    status, text = mesh[rest[0]].api("/v1/kv/of/nobody", "PUT", b"x")
    assert (status, text) == (500, "rpc error making call: No cluster leader")
    mesh[owner].start()
    mesh.wait_alive(*ALL)
    wait(lambda: mesh.leader(*ALL), "the leader again")
    assert json.loads(mesh[rest[0]].api("/v1/kv/of/?keys")[1]) == sorted(f"of/{name}" for name in ALL)


def test_nobody_begins_another_log_while_the_server_that_keeps_it_is_gone(mesh: Mesh) -> None:
    keeper, others = mesh["server1"], ("server2", "server3")
    assert mesh["server2"].cli("kv", "put", "kept", "by server1").returncode == 0
    assert keeper.cli("leave").returncode == 0
    keeper.wait_exit()
    for name in others:
        wait(lambda name=name: mesh[name].statuses().get("server1") == "left", f"{name} sees server1 left")
    mesh["server2"].kill()
    mesh["server2"].start()
    for name in others:
        wait(
            lambda name=name: "server1 keeps the cluster's log and is not here" in mesh[name].log,
            f"{name} says whom it misses",
        )
        assert mesh[name].get("/v1/status/leader") == ""
    keeper.start()
    mesh.wait_alive(*ALL)
    wait(lambda: mesh.leader(*ALL), "a leader again")
    assert mesh["client1"].cli("kv", "get", "kept").stdout == "by server1\n"
