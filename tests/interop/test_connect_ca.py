"""Connect's CA on running agents, with OpenSSL on both ends of a connection and curl and the command line beside."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.testing.mesh import FAST_GOSSIP
from tests.support.mesh_agent import CLEAN, MESHNODE, Mesh, MeshAgent, wait

#: A client that is stopped for a test is not called failed within it.
PATIENT_GOSSIP = {**FAST_GOSSIP, "suspicion_mult": 60}
CONNECT = {"enabled": True, "ca_config": {"leaf_cert_ttl": "60s"}}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh.new(tmp_path_factory.mktemp("connect")) as made:
        made.add(
            "server1", 1, server=True, bootstrap_expect=1, connect=CONNECT, gossip_lan=PATIENT_GOSSIP
        ).launch()
        made.add("client1", 2, retry_join=[f"{made.network}.1"]).launch()
        made.wait_alive("server1", "client1")
        wait(lambda: made["server1"].api("/v1/connect/ca/roots")[0] == 200, "a Connect root")
        yield made


def roots(agent: MeshAgent) -> dict[str, Any]:
    answer: dict[str, Any] = agent.get("/v1/agent/connect/ca/roots")
    return answer


def leaf(agent: MeshAgent, service: str) -> dict[str, Any]:
    answer: dict[str, Any] = agent.get(f"/v1/agent/connect/ca/leaf/{service}")
    return answer


def saved(agent: MeshAgent, service: str) -> tuple[str, str, str]:
    """Files of the chain, the key and the roots, as the node has them now."""
    found, directory = leaf(agent, service), agent.directory
    files = [directory / f"{agent.name}-{service}.{kind}" for kind in ("crt", "key", "roots")]
    bundle = "".join(root["RootCert"] for root in roots(agent)["Roots"])
    for file, text in zip(files, (found["CertPEM"], found["PrivateKeyPEM"], bundle), strict=True):
        file.write_text(text)
    return str(files[0]), str(files[1]), str(files[2])


def kept(agent: MeshAgent, service: str) -> tuple[str, str, str]:
    """The same under names that the next ones don't overwrite."""
    chain, key, trusted = (str(Path(file).rename(f"{file}.kept")) for file in saved(agent, service))
    return chain, key, trusted


def verified(agent: MeshAgent, service: str, peer: MeshAgent) -> str:
    """Empty when OpenSSL takes the node's leaf with the roots that ``peer`` trusts, else what it says."""
    # In this order: who trusts the roots of a moment ago has to take the leaf of now, not the other way round.
    trusted = saved(peer, "anybody")[2]
    chain = saved(agent, service)[0]
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", trusted, "-untrusted", chain, chain],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


def talk(server: tuple[str, str, str], client: tuple[str, str, str] | None) -> str:
    """What ``openssl s_server``, which demands a certificate, answers to hello: it backwards; empty: it refuses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [
        "openssl",
        "s_server",
        "-accept",
        f"127.0.0.1:{port}",
        "-cert",
        server[0],
        "-cert_chain",
        server[0],
    ]
    command += ["-key", server[1], "-CAfile", server[2], "-Verify", "3", "-verify_return_error", "-rev"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    ) as listening:
        try:
            assert listening.stdout is not None
            while "ACCEPT" not in (line := listening.stdout.readline()):
                assert line, "openssl s_server didn't start"
            shown = ["-cert", client[0], "-cert_chain", client[0], "-key", client[1]] if client else []
            asking = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *shown, "-CAfile", server[2]]
            answer = ""
            # Who is refused at once is gone before it is spoken to.
            with contextlib.suppress(BrokenPipeError), subprocess.Popen(
                [*asking, "-verify_return_error", "-quiet"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            ) as client_side:  # fmt: skip
                assert client_side.stdin is not None
                assert client_side.stdout is not None
                client_side.stdin.write("hello\n")
                client_side.stdin.flush()
                answer = client_side.stdout.readline()
                client_side.kill()
        finally:
            listening.kill()
    return answer.strip()


def test_every_node_tells_the_same_roots(mesh: Mesh) -> None:
    server, client = mesh["server1"], mesh["client1"]
    shown = server.get("/v1/connect/ca/roots")
    assert shown == client.get("/v1/connect/ca/roots")
    ours = {"RevokedSerialNumbers": [], "DistrustedRootIDs": []}
    assert {**shown, **ours} == roots(client) == roots(server)
    (root,) = shown["Roots"]
    assert shown["ActiveRootID"] == root["ID"]
    assert shown["TrustDomain"].endswith(".consul")
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha1", "-ext", "subjectAltName"],
        input=root["RootCert"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"={root['ID'].upper()}" in done.stdout
    assert f"URI:spiffe://{shown['TrustDomain']}\n" in done.stdout


def test_two_services_on_two_nodes_speak_mutual_tls_through_openssl(mesh: Mesh) -> None:
    web, db = saved(mesh["client1"], "web"), saved(mesh["server1"], "db")
    assert talk(db, web) == "olleh"
    assert talk(db, None) == "", "without a certificate nobody is let in"


def test_a_leaf_is_kept_and_renewed_before_its_end(mesh: Mesh) -> None:
    client = mesh["client1"]
    first = leaf(client, "web")
    assert leaf(client, "web")["SerialNumber"] == first["SerialNumber"]
    status, text = client.api(f"/v1/agent/connect/ca/leaf/web?index={first['ModifyIndex']}&wait=90s")
    assert status == 200
    following = json.loads(text)
    assert following["SerialNumber"] != first["SerialNumber"]
    assert first["ValidAfter"] < following["ValidAfter"] < first["ValidBefore"]


def test_a_rotation_by_the_command_line_leaves_nobody_behind(mesh: Mesh, tmp_path: Path) -> None:
    server, client = mesh["server1"], mesh["client1"]
    for agent, service in ((client, "web"), (server, "db")):
        leaf(agent, service)
    before = roots(client)["ActiveRootID"]
    key = subprocess.run(
        ["openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    file = tmp_path / "ca.json"
    config = {"PrivateKey": key, "LeafCertTTL": "60s", "RotationPeriod": "2160h"}
    file.write_text(json.dumps({"Provider": "consul", "Config": config}))
    dry = client.cli("connect", "ca", "set-config", "-dry-run", "-config-file", str(file))
    assert "acknowledge: 2 nodes are waited for: client1, server1; 0 are down" in dry.stdout
    assert roots(client)["ActiveRootID"] == before
    done = client.cli("connect", "ca", "set-config", "-config-file", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "Configuration updated!\n", "")
    assert server.get("/v1/connect/ca/roots")["ActiveRootID"] != before

    def over() -> bool:
        assert verified(client, "web", server) == ""
        assert verified(server, "db", client) == ""
        return all(len(roots(agent)["Roots"]) == 1 for agent in (server, client))

    wait(over, "the old root is dropped", 60)
    assert server.get("/v1/connect/ca/rotation")["Phase"] == ""
    shown = json.loads(client.cli("connect", "ca", "get-config").stdout)
    assert shown["Config"] == {**config, "PrivateKey": "hidden"}
    secret = key.split("\n")[1]
    for agent in (server, client):
        assert secret not in agent.log
        assert secret not in agent.api("/v1/agent/self")[1]


def test_a_rotation_can_be_stopped_and_given_up(mesh: Mesh) -> None:
    server, client = mesh["server1"], mesh["client1"]
    leaf(client, "web")
    client.signal(signal.SIGSTOP)
    try:
        before = server.get("/v1/connect/ca/roots")["ActiveRootID"]
        start = json.dumps({"Action": "start"}).encode()
        assert server.api("/v1/connect/ca/rotation", "PUT", start) == (200, "")
        shown = server.get("/v1/connect/ca/rotation")
        assert (shown["Phase"], shown["OldRootID"], shown["Waiting"]) == ("acknowledge", before, ["client1"])
        assert server.api("/v1/connect/ca/rotation", "PUT", start)[0] == 500
        for action in ("pause", "abort"):
            body = json.dumps({"Action": action}).encode()
            assert server.api("/v1/connect/ca/rotation", "PUT", body) == (200, "")
        assert [root["ID"] for root in server.get("/v1/connect/ca/roots")["Roots"]] == [before]
    finally:
        client.signal(signal.SIGCONT)
    mesh.wait_alive("server1", "client1")


def test_a_root_that_is_distrusted_opens_nothing_from_then_on(mesh: Mesh) -> None:
    server, client = mesh["server1"], mesh["client1"]
    old = {"web": kept(client, "web"), "db": kept(server, "db")}
    before = server.get("/v1/connect/ca/roots")["ActiveRootID"]
    assert talk(old["db"], old["web"]) == "olleh"
    for flags, said in (
        (("-start", "-force"), "Rotation started.\n"),
        (("-distrust",), "Old root distrusted: nodes ask for new leaves now.\n"),
    ):
        done = server.cli("connect", "ca", "rotation", *flags)
        assert (done.returncode, done.stdout) == (0, said), done.stderr
    (root,) = server.get("/v1/connect/ca/roots")["Roots"]
    assert root["ID"] != before
    for agent in (server, client):
        wait(lambda agent=agent: roots(agent)["DistrustedRootIDs"] == [before], "it is told")
        wait(lambda agent=agent: [row["ID"] for row in roots(agent)["Roots"]] == [root["ID"]], "it is known")
    new = {"web": saved(client, "web"), "db": saved(server, "db")}
    assert talk(new["db"], new["web"]) == "olleh"
    assert talk(new["db"], old["web"]) == "", "a leaf of the old root gets nobody in"
    chain, key, _ = old["db"]
    assert talk((chain, key, new["db"][2]), new["web"]) == "", "and nobody talks to one"


def test_a_rotation_is_planned_started_watched_and_paused_by_the_command_line(mesh: Mesh) -> None:
    server, client = mesh["server1"], mesh["client1"]
    leaf(client, "web")
    leaf(server, "db")
    before = roots(client)["ActiveRootID"]
    rotation = ("connect", "ca", "rotation")
    dry = client.cli(*rotation, "-dry-run")
    assert "acknowledge: 2 nodes are waited for: client1, server1; 0 are down" in dry.stdout
    assert server.get("/v1/connect/ca/rotation")["Phase"] == ""
    assert client.cli(*rotation, "-start", "-paused").stdout == "Rotation started.\n"

    def all_know() -> bool:
        return "paused: 2 of 2 nodes trust the new root" in client.cli(*rotation).stdout

    wait(all_know, "every node trusts the new root while nothing goes on")
    shown = client.cli(*rotation).stdout
    assert "distribute (paused)" in shown
    assert ["client1", "yes", "old", "new", "old"] in [line.split() for line in shown.splitlines()]
    assert server.get("/v1/connect/ca/roots")["ActiveRootID"] == before
    assert verified(client, "web", server) == ""
    watching = subprocess.Popen(
        [MESHNODE, *rotation, "-watch", f"-http-addr={client.host}:8500"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLEAN,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "distribute: paused: 2 of 2 nodes trust the new root\n"
        assert client.cli(*rotation, "-resume").stdout == "Rotation resumed.\n"
        told, faults = watching.communicate(timeout=60)
    finally:
        watching.kill()
    assert (watching.returncode, faults) == (0, "")
    assert told.splitlines()[-1] == "no rotation is running"
    assert any(line.startswith("reissue: ") for line in told.splitlines())
    assert server.get("/v1/connect/ca/roots")["ActiveRootID"] != before
    refused = client.cli(*rotation, "-pause")
    assert (refused.returncode, "no rotation is running" in refused.stderr) == (1, True)


def test_who_may_connect_is_decided_by_certificate_and_intention(mesh: Mesh) -> None:
    client = mesh["client1"]

    def authorized(uri: str, serial: str = "") -> dict[str, Any]:
        body = json.dumps({"Target": "db", "ClientCertURI": uri, "ClientCertSerial": serial}).encode()
        status, text = client.api("/v1/agent/connect/authorize", "POST", body)
        assert status == 200, text
        answer: dict[str, Any] = json.loads(text)
        return answer

    shown = leaf(client, "web")
    uri, serial = shown["ServiceURI"], shown["SerialNumber"]
    reason = "ACLs disabled, access is allowed by default"
    allowed = {"Authorized": True, "Reason": reason, "Audited": False, "IntentionID": ""}
    assert authorized(uri, serial) == allowed
    assert not authorized("spiffe://other.consul/ns/default/dc/dc1/svc/web")["Authorized"]
    body = json.dumps({"SerialNumber": serial}).encode()
    assert client.api("/v1/connect/ca/revoke", "PUT", body) == (200, "")
    wait(lambda: not authorized(uri, serial)["Authorized"], "the revocation reaches the node")
    assert authorized(uri, "00") == allowed
    assert client.cli("intention", "create", "-deny", "web", "db").returncode == 0
    denied = authorized(uri, "00")
    assert not denied["Audited"]
    assert denied["Reason"].startswith(
        f"Matched intention: DENY default/web => default/db (ID: {denied['IntentionID']}, "
    )


def test_all_certificates_of_a_node_are_a_table(mesh: Mesh) -> None:
    client = mesh["client1"]
    leaf(client, "web")
    rows = client.get("/v1/agent/certs")
    assert {row["Kind"] for row in rows} == {"agent", "leaf", "root"}
    done = client.cli("certs")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["Kind", *(row["Kind"] for row in rows)]
    assert client.cli("certs", "-min-days=1").returncode == 2


def test_the_ca_outlives_a_server_that_is_killed_and_a_node_goes_on_meanwhile(mesh: Mesh) -> None:
    server, client = mesh["server1"], mesh["client1"]
    before, shown = roots(client), leaf(client, "web")
    server.kill()
    assert leaf(client, "web")["SerialNumber"] == shown["SerialNumber"]
    assert roots(client) == before
    server.start()
    wait(lambda: server.api("/v1/connect/ca/roots")[0] == 200, "the CA is back")
    assert roots(server) == before
    assert server.get("/v1/connect/ca/roots").items() <= before.items()
    wait(lambda: verified(server, "db", client) == "", "the server signs again")
