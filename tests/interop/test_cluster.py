"""Three servers and two clients, real processes with every encryption on, driven by the command line and curl.

One cluster for the whole file, so the order matters a little: what disturbs it comes last and puts it right again.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certs import make_ca, make_cert
from tests.support.mesh_agent import MESHNODE, Mesh, MeshAgent, run_mesh, wait

SERVERS = ("server1", "server2", "server3")
CLIENTS = ("client1", "client2")
ALL = (*SERVERS, *CLIENTS)
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh.new(tmp_path_factory.mktemp("mesh")) as mesh:
        seeds = [f"{mesh.network}.1", f"{mesh.network}.2"]
        for number, name in enumerate(ALL, 1):
            is_server = name in SERVERS
            expect = {"bootstrap_expect": 3} if is_server else {}
            mesh.add(name, number, server=is_server, retry_join=seeds, **expect).launch()
        mesh.wait_alive(*ALL)
        wait(lambda: mesh.leader(*ALL), "a leader")
        yield mesh


@pytest.fixture
def server(mesh: Mesh) -> MeshAgent:
    return mesh["server1"]


@pytest.fixture
def client(mesh: Mesh) -> MeshAgent:
    return mesh["client1"]


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["curl", "-s", *arguments], capture_output=True, text=True, check=False, timeout=30)


def https_serial(agent: MeshAgent, ca: Path) -> str:
    """Serial of the certificate that the HTTPS port presents, as openssl sees it."""
    command = ["openssl", "s_client", "-connect", f"{agent.host}:10443", "-CAfile", str(ca)]
    shown = subprocess.run(command, capture_output=True, input=b"", check=False, timeout=30).stdout
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-serial"], input=shown, capture_output=True, check=True
    ).stdout
    return f"{int(text.decode().strip().removeprefix('serial='), 16):x}"


# Everybody sees everybody


def test_members_of_every_agent_is_the_same_table(mesh: Mesh) -> None:
    expected = (
        f"Node     Address{' ' * len(mesh.network)}{' ' * 2}Status  Type    Build  Protocol  DC   Segment"
    )
    for agent in mesh.agents.values():
        done = agent.cli("members")
        assert (done.returncode, done.stderr) == (0, "")
        header, *rows = done.stdout.splitlines()
        assert header.split() == expected.split()
        assert rows == [
            f"{name}  {mesh[name].host}:8301  alive   {kind}  1.2.3  2         dc1  {segment}"
            for names, kind, segment in ((SERVERS, "server", "<all>"), (CLIENTS, "client", "<default>"))
            for name in names
        ]


def test_servers_find_each_other_in_the_wan_pool(mesh: Mesh) -> None:
    for name in SERVERS:
        wait(
            lambda name=name: mesh[name].statuses(wan=True) == {f"{n}.dc1": "alive" for n in SERVERS},
            f"{name} sees the WAN pool",
        )
    assert mesh["client1"].cli("members", "-wan").returncode == 2


def test_members_filters_formats_and_says_nothing_with_exit_2_when_none_matches(server: MeshAgent) -> None:
    none = server.cli("members", "-status=failed")
    assert (none.returncode, none.stdout, none.stderr) == (2, "", "")
    detailed = server.cli("members", "-detailed", "-status", "^alive$").stdout.splitlines()
    assert detailed[0].split() == ["Node", "Address", "Status", "Tags"]
    assert len(detailed) == 6
    assert re.search(r"bootstrap|build=1\.2\.3:meshnode.*,dc=dc1,expect=3,id=.*,role=consul", detailed[1])
    record = json.loads(server.cli("members", "-format", "json").stdout)[0]
    assert (record["Node"], record["Status"], record["Type"]) == ("server1", "alive", "server")


# Who may talk


def test_https_answers_whoever_shows_a_certificate_of_the_ca(mesh: Mesh, server: MeshAgent) -> None:
    certificate, key = mesh.certificate("cli")
    url = f"https://{server.host}:10443/v1/status/leader"
    done = curl("-k", "--cert", certificate, "--key", key, url)
    assert re.fullmatch(rf'"{re.escape(mesh.network)}\.[123]:8300"', done.stdout)
    assert done.stdout == f'"{mesh.leader(*ALL)}"'


def test_https_refuses_who_shows_no_certificate_and_says_so_in_the_log(server: MeshAgent) -> None:
    done = curl("-k", f"https://{server.host}:10443/v1/status/leader")
    assert done.returncode != 0
    assert done.stdout == ""
    line = server.wait_for_log("presented no client certificate")
    assert "expected: a certificate from CA" in line
    assert "shown: no certificate" in line


def test_the_command_line_speaks_https_with_the_variables_of_consul(mesh: Mesh, server: MeshAgent) -> None:
    certificate, key = mesh.certificate("cli")
    given = {
        "CONSUL_HTTP_ADDR": f"{server.host}:10443",
        "CONSUL_HTTP_SSL": "true",
        "CONSUL_CACERT": str(mesh.ca),
        "CONSUL_CLIENT_CERT": certificate,
        "CONSUL_CLIENT_KEY": key,
    }
    assert run_mesh("members", **given).stdout == server.cli("members").stdout
    named = run_mesh("members", **given | {"CONSUL_TLS_SERVER_NAME": "server.dc1.consul"})
    assert named.returncode == 0
    wrong_name = run_mesh("members", **given | {"CONSUL_TLS_SERVER_NAME": "other.example"})
    assert wrong_name.returncode == 1
    assert "CONSUL_TLS_SERVER_NAME" in wrong_name.stderr
    bare = run_mesh("members", **given | {"CONSUL_CLIENT_CERT": "", "CONSUL_CLIENT_KEY": ""})
    assert (bare.returncode, bare.stdout) == (1, "")
    assert "set CONSUL_CLIENT_CERT" in bare.stderr
    assert "Traceback" not in bare.stderr + wrong_name.stderr


def test_a_client_agent_passes_calls_on_to_a_server_over_tls(mesh: Mesh, client: MeshAgent) -> None:
    assert client.get("/v1/status/leader") == mesh.leader(*SERVERS)
    assert client.get("/v1/status/peers") == [f"{mesh[name].host}:8300" for name in SERVERS]
    fired = client.cli("event", "-name=deploy", "v42")
    assert re.fullmatch(rf"Event ID: {UUID}\n", fired.stdout)
    event_id = fired.stdout.split()[-1]
    for agent in mesh.agents.values():
        wait(
            lambda agent=agent: (
                event_id in {event["ID"] for event in agent.get("/v1/event/list?name=deploy")}
            ),
            f"{agent.name} has the event",
        )


def test_an_event_reaches_only_the_nodes_that_its_filter_names(mesh: Mesh, server: MeshAgent) -> None:
    assert server.cli("event", "-name=only", "-node=^client2$").returncode == 0
    wait(lambda: mesh["client2"].get("/v1/event/list?name=only"), "client2 has the event")
    assert mesh["client1"].get("/v1/event/list?name=only") == []


def stranger(mesh: Mesh, name: str, number: int, **config: object) -> MeshAgent:
    """A client that is not what the mesh expects; ended by the mesh."""
    return mesh.add(name, number, retry_join=[f"{mesh.network}.1"], **config)


def kept_out(mesh: Mesh, agent: MeshAgent, text: str) -> str:
    """A line with ``text`` and the address of ``agent`` in the log of a server."""

    def find() -> str:
        agent.api("/v1/status/leader")
        lines = [line for name in SERVERS for line in mesh[name].log.splitlines()]
        return next((line for line in lines if text in line), "")

    return str(wait(find, f"a server logs {text!r}"))


def gone(mesh: Mesh, agent: MeshAgent) -> None:
    """End a stranger and forget it."""
    agent.kill()
    wait(lambda: mesh["server1"].statuses().get(agent.name) in ("failed", None), f"{agent.name} has failed")
    mesh["server1"].cli("force-leave", "-prune", agent.name)
    for other in ALL:
        wait(lambda other=other: agent.name not in mesh[other].statuses(), f"{other} forgot {agent.name}")
    del mesh.agents[agent.name]


def test_an_agent_that_speaks_rpc_in_clear_is_refused(mesh: Mesh) -> None:
    plain = {"ca_file": None, "cert_file": None, "key_file": None, "verify_incoming": None, "ports": {}}
    agent = stranger(mesh, "plain", 11, **plain, verify_outgoing=None, verify_server_hostname=None)
    agent.start()
    wait(lambda: len(agent.statuses()) == 6, "plain is in the gossip pool")
    status, body = agent.api("/v1/status/leader")
    assert (status, "rpc error making call: " in body) == (500, True)
    line = kept_out(mesh, agent, "rpc: refused")
    assert "TLS" in line
    gone(mesh, agent)


def test_an_agent_with_a_certificate_of_another_ca_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    other_ca = make_ca("Stranger CA")
    certificate, key = make_cert(["stranger.dc1.consul"], other_ca).write(tmp_path, "stranger")
    # It trusts both: an agent that does not know the CA of its own certificate refuses to start.
    both = tmp_path / "both.pem"
    both.write_bytes(mesh.ca.read_bytes() + other_ca.pem)
    files = {"ca_file": str(both), "cert_file": certificate, "key_file": key}
    agent = stranger(mesh, "foreign", 12, **files)
    agent.start()
    wait(lambda: len(agent.statuses()) == 6, "foreign is in the gossip pool")
    status, body = agent.api("/v1/status/leader")
    assert (status, "rpc error making call: " in body) == (500, True)
    line = kept_out(mesh, agent, "comes from a CA that is not trusted")
    assert "expected: a certificate from CA" in line
    assert "Stranger CA" in line
    gone(mesh, agent)


def test_an_agent_with_another_gossip_key_never_becomes_a_member(mesh: Mesh) -> None:
    agent = stranger(mesh, "deaf", 13, encrypt=run_mesh("keygen").stdout.strip())
    agent.start()
    assert "check `encrypt` there and here, retrying for 1s" in agent.wait_for_log("Join LAN failed")
    line = wait(
        lambda: next((text for text in mesh["server1"].log.splitlines() if "no installed key" in text), ""),
        "server1 logs the wrong key",
    )
    assert "WARN" in line or "ERR" in line
    assert set(agent.statuses()) == {"deaf"}
    assert "deaf" not in mesh["server1"].statuses()
    agent.kill()
    del mesh.agents[agent.name]


def test_a_second_node_with_the_same_node_id_is_refused(mesh: Mesh, client: MeshAgent) -> None:
    node_id = client.get("/v1/agent/self")["Config"]["NodeID"]
    agent = stranger(mesh, "twin", 14, node_id=node_id)
    agent.start()
    line = agent.wait_for_log("has conflicting node ID")
    assert f"'{node_id}'" in line
    assert "twin" not in mesh["server1"].statuses()
    agent.kill()
    del mesh.agents[agent.name]


def test_a_second_node_with_the_same_name_gives_way(mesh: Mesh, client: MeshAgent) -> None:
    agent = stranger(mesh, "double", 15, node_name="client1")
    agent.launch()
    assert agent.wait_exit(60) == 1
    assert "change node_name" in agent.log
    assert mesh["server1"].statuses()["client1"] == "alive"
    assert not client.exited
    members = json.loads(mesh["server1"].cli("members", "-format=json").stdout)
    assert {m["Address"] for m in members if m["Node"] == "client1"} == {f"{client.host}:8301"}
    del mesh.agents[agent.name]


# The commands


def test_info_prints_blocks_sorted_with_their_keys_sorted(server: MeshAgent, client: MeshAgent) -> None:
    text = server.cli("info").stdout
    blocks = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert blocks == sorted(blocks)
    assert {"agent", "build", "consul", "runtime", "serf_lan", "serf_wan"} == set(blocks)
    assert re.search(r"^\tleader_addr = [\d.]+:8300$", text, re.MULTILINE)
    assert re.search(r"^\tencrypted = true$", text, re.MULTILINE)
    assert "\tknown_servers = 3\n" in client.cli("info").stdout


def test_join_counts_the_addresses_that_answered(mesh: Mesh, server: MeshAgent) -> None:
    some = server.cli("join", mesh["client1"].host, f"{mesh.network}.200")
    assert (some.returncode, some.stdout) == (0, "Successfully joined cluster by contacting 1 nodes.\n")
    assert some.stderr.startswith(
        f"Error joining address '{mesh.network}.200': Unexpected response code: 500 ("
    )
    none = server.cli("join", f"{mesh.network}.200")
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr.splitlines()[-1] == "Failed to join any nodes."
    wan = server.cli("join", "-wan", mesh["server2"].host)
    assert wan.stdout == "Successfully joined cluster by contacting 1 nodes.\n"
    assert mesh["client1"].cli("join", "-wan", mesh["server2"].host).returncode == 1


def test_force_leave_of_an_unknown_node_fails_with_the_reason(server: MeshAgent) -> None:
    done = server.cli("force-leave", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody" in done.stderr


def test_monitor_shows_what_was_and_follows_what_is(server: MeshAgent) -> None:
    command = [MESHNODE, "monitor", "-log-level=debug", "-http-addr", f"{server.host}:8500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline().decode()
        assert re.match(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] \w", first)
        server.cli("event", "-name=monitored")
        assert any(b"event/fire/monitored" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    wrong = server.cli("monitor", "-log-level", "loud")
    assert wrong.returncode == 1
    assert "Unknown log level: loud" in wrong.stderr


def test_debug_config_and_the_logs_hold_no_secret(mesh: Mesh, server: MeshAgent) -> None:
    shown = json.dumps(server.get("/v1/agent/self"))
    key_text = Path(server.config["key_file"]).read_text().splitlines()[1]
    for secret in (mesh.key, key_text):
        assert secret not in shown
        for agent in mesh.agents.values():
            assert secret not in agent.log
    assert '"encrypt": "hidden"' in shown


# Keys


def keys_on_disk(agent: MeshAgent, name: str) -> list[str]:
    keys: list[str] = json.loads((agent.data_dir / "serf" / name).read_text())
    return keys


def listed(agent: MeshAgent) -> str:
    done = agent.cli("keyring", "-list")
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    assert not client.exited
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
        wait(lambda name=name: mesh[name].statuses()["client2"] == "failed", f"{name} sees client2 failed")
    assert mesh["server1"].cli("members", "-status=failed").stdout.splitlines()[1].startswith("client2 ")
    client.start()
    mesh.wait_alive(*ALL)
    assert client.get("/v1/agent/self")["Config"]["NodeID"] == node_id


def test_force_leave_turns_failed_into_left_and_prune_erases_it(mesh: Mesh) -> None:
    client = mesh["client2"]
    client.kill()
    wait(lambda: mesh["server1"].statuses()["client2"] == "failed", "client2 has failed")
    done = mesh["server1"].cli("force-leave", "client2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for name in (*SERVERS, "client1"):
        wait(lambda name=name: mesh[name].statuses()["client2"] == "left", f"{name} sees client2 left")
    assert mesh["server1"].cli("force-leave", "-prune", "client2").returncode == 0
    for name in (*SERVERS, "client1"):
        wait(lambda name=name: "client2" not in mesh[name].statuses(), f"{name} has forgotten client2")
    client.start()
    mesh.wait_alive(*ALL)


def test_leave_is_graceful_and_the_node_may_rejoin(mesh: Mesh) -> None:
    client = mesh["client2"]
    done = client.cli("leave")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Graceful leave complete\n", "")
    assert client.wait_exit() == 0
    for name in (*SERVERS, "client1"):
        wait(lambda name=name: mesh[name].statuses()["client2"] == "left", f"{name} sees client2 left")
    client.start()
    mesh.wait_alive(*ALL)


def test_a_server_leaves_both_pools_and_drains(mesh: Mesh) -> None:
    server = mesh["server3"]
    assert server.cli("leave").returncode == 0
    assert server.wait_exit() == 0
    assert "Waiting 0.2s to drain RPC traffic" in server.log
    for name in ("server1", "server2"):
        wait(lambda name=name: mesh[name].statuses()["server3"] == "left", f"{name} sees server3 left")
        wait(
            lambda name=name: mesh[name].statuses(wan=True)["server3.dc1"] == "left",
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
