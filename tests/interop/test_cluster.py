"""Three servers and two clients, real processes with every encryption on, driven by the command line and curl.

One cluster for the whole file, so the order matters a little: what disturbs it comes last and puts it right again.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certs import make_ca, make_cert
from tests.support.five_agents import ALL, CLIENTS, SERVERS, five_agents, forgets
from tests.support.mesh_agent import MESHNODE, Mesh, MeshAgent, run_mesh, wait

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


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


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["curl", "-s", *arguments], capture_output=True, text=True, check=False, timeout=30)


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
        wait(lambda other=other: forgets(mesh[other], agent.name), f"{other} forgot {agent.name}")
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
    assert client.running
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
