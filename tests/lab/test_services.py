"""The services of the quickstart and their sidecars, from the inventory and by hand.

The tests follow each other on one lab and are run in the order of this file.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.lab.labs import MAX_REMOTE_CALLS, Lab, until
from tests.lab.quickstart import CALLS_WHEN_CONVERGED, NODES, NOTHING, calls, changed_processes, processes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

#: A client that says a line, and tells what comes back and that it was cut.
HOLD = """import socket
with socket.create_connection(("127.0.0.1", 9191), timeout=60) as connection:
    connection.sendall(b"hello\\n")
    print(connection.recv(100).decode().strip(), flush=True)
    try:
        print(connection.recv(100).decode() or "cut", flush=True)
    except ConnectionError:
        print("cut", flush=True)
"""
TOKEN = "5f2d9a1c-0000-4000-8000-7c6b5a493827"


@pytest.fixture(scope="module")
def lab(small_lab: Lab) -> Iterator[Lab]:
    small_lab.fresh()
    variables = sorted((small_lab.inventory).rglob("*_vars/*.yml"))
    before = {path: path.read_text() for path in variables}
    yield small_lab
    for path, text in before.items():
        path.write_text(text)


def echoed(lab: Lab, node: str, port: int, line: str = "hello") -> str:
    """What nc gets back for a line, as in the documents; it ends when the other end does."""
    return lab.said(node, "sh", "-c", f"echo {line} | timeout 20 nc -N localhost {port}").strip()


def services_of(lab: Lab, node: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = lab.read(f"host_vars/{node}.yml")["mesh_services"]
    return loaded


def write_services(lab: Lab, node: str, services: list[dict[str, Any]]) -> None:
    (lab.inventory / "host_vars" / f"{node}.yml").write_text(yaml.safe_dump({"mesh_services": services}))


def intentions(lab: Lab) -> set[str]:
    rows = json.loads(lab.on("client1", "curl", "-s", "http://127.0.0.1:8500/v1/connect/intentions"))
    return {f"{row['SourceName']} => {row['DestinationName']} ({row['Action']})" for row in rows}


def test_a_check_of_fresh_nodes_promises_services_and_makes_none(lab: Lab) -> None:
    lab.play(playbook="playbooks/lab_up.yml")
    run = lab.play("--check", "--diff", "-v")
    assert "mesh-sidecar-web.service: start" in run.output
    assert all(run.changed[name] > 0 for name in NODES)
    assert (
        lab.on("client1", "sh", "-c", "ls -d /etc/meshnode /etc/systemd/system/mesh-* 2>/dev/null || true")
        == ""
    )


def test_one_command_ends_with_services_that_run_and_says_who_may_talk(lab: Lab) -> None:
    run = lab.play("-vvv")
    made = calls(lab, run)
    assert all(0 < count <= MAX_REMOTE_CALLS for count in made.values()), made
    assert lab.printed_secrets(run) == []
    assert lab.on("client1", "sh", "-c", "ls /tmp/meshnode-* 2>/dev/null || true") == ""
    shown = run.output.partition("\nMESH ***")[2]
    assert " api web " in shown
    assert " frontend socat " in shown
    said = shown.partition("Who may talk to whom:")[2]
    assert all(f"  {line}\n" in said for line in intentions(lab))
    assert f"docker exec -it {lab.name}-client1 nc 127.0.0.1 9191" in said


def test_what_it_says_to_try_works(lab: Lab) -> None:
    assert echoed(lab, "client1", 9191) == "hello"
    page = lab.on("client2", "curl", "-s", "127.0.0.1:8083/hello")
    assert '"service": "api"' in page
    assert '"path": "/hello"' in page


def test_the_second_run_changes_nothing(lab: Lab) -> None:
    before = processes(lab)
    run = lab.play("-vvv")
    assert run.changed == NOTHING
    assert calls(lab, run) == CALLS_WHEN_CONVERGED
    assert lab.play("--check", "--diff").changed == NOTHING
    assert changed_processes(lab, before) == set()


def test_the_nodes_pass_the_tests_from_outside(lab: Lab) -> None:
    lab.play(playbook="playbooks/verify.yml")


def test_a_deny_by_hand_cuts_what_is_open_and_the_next_run_allows_again(lab: Lab) -> None:
    words = ["docker", "exec", f"{lab.name}-client1", "python3", "-c", HOLD]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        assert held.stdout.readline().strip() == "hello"
        said = lab.on("client1", "consul", "intention", "create", "-replace", "-deny", "web", "socat")
        assert said.strip() == "Updated: web => socat (deny)"
        assert held.stdout.readline().strip() == "cut"
    assert echoed(lab, "client1", 9191) == ""
    assert "web => socat: denied" in lab.said("client1", "meshnode", "intention", "explain", "web", "socat")
    refused = ("client2", "meshnode", "connect", "connections", "-refused")
    # A proxy reports what changed within a second.
    until("it is listed", lambda: "Matched intention: DENY default/web => default/socat" in lab.on(*refused))
    run = lab.play(playbook="playbooks/verify.yml", fails=True)
    assert "default/web => default/socat" in run.output
    assert lab.play().changed == NOTHING | {"client1": 1}
    until("it is let in again", lambda: echoed(lab, "client1", 9191) == "hello", 10)


def test_a_changed_application_is_restarted_and_nothing_else(lab: Lab) -> None:
    before = processes(lab)
    services = services_of(lab, "client1")
    services[0]["files"] = {"index.html": "another page\n"}
    write_services(lab, "client1", services)
    assert lab.play().changed == NOTHING | {"client1": 1}
    assert changed_processes(lab, before) == {"client1 mesh-app-web.service"}
    assert lab.on("client1", "curl", "-s", "127.0.0.1:8080") == "another page\n"
    assert lab.play().changed == NOTHING


def test_a_changed_upstream_is_taken_up_without_any_restart(lab: Lab) -> None:
    before = processes(lab)
    services = services_of(lab, "client1")
    upstreams = services[0]["connect"]["sidecar_service"]["proxy"]["upstreams"]
    upstreams.append({"destination_name": "socat", "local_bind_port": 9193})
    write_services(lab, "client1", services)
    assert lab.play().changed == NOTHING | {"client1": 1}
    assert changed_processes(lab, before) == set()
    until("the new port", lambda: echoed(lab, "client1", 9193) == "hello", 10)
    assert echoed(lab, "client1", 9191) == "hello"


def test_what_the_agent_refuses_replaces_nothing(lab: Lab) -> None:
    before = processes(lab)
    services = services_of(lab, "client1")
    write_services(lab, "client1", [{**services[0], "no_such_key": 1}, *services[1:]])
    run = lab.play(fails=True)
    assert "no_such_key" in run.output
    assert "nothing was replaced" in run.output
    write_services(lab, "client1", services)
    assert lab.play().changed == NOTHING
    assert changed_processes(lab, before) == set()


def test_what_was_stopped_or_damaged_is_put_right(lab: Lab) -> None:
    harm = (
        "systemctl disable --now mesh-sidecar-web; chmod 644 /etc/meshnode/services/*.env;"
        " echo '#' >> /etc/systemd/system/mesh-app-api.service; systemctl kill --signal=KILL mesh-app-web"
    )
    lab.on("client1", "sh", "-c", harm)
    assert lab.play().changed == NOTHING | {"client1": 1}
    assert echoed(lab, "client1", 9191) == "hello"
    until(
        "the killed one is back",
        lambda: "another page" in lab.said("client1", "curl", "-s", "127.0.0.1:8080"),
        20,
    )
    assert lab.play().changed == NOTHING


def test_a_token_is_printed_nowhere_and_in_no_command_line(lab: Lab) -> None:
    services = services_of(lab, "client2")
    write_services(lab, "client2", [{**services[0], "token": TOKEN}, *services[1:]])
    run = lab.play("-vvv", "--diff")
    assert run.changed["client2"] == 1
    assert TOKEN not in run.output
    assert TOKEN not in lab.on("client2", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    readable = lab.said("client2", "runuser", "-u", "mesh-app", "--", "grep", "-rl", TOKEN, "/etc", "/run")
    assert [line for line in readable.splitlines() if not line.startswith("grep: ")] == []
    write_services(lab, "client2", services)
    lab.play()
    until("it answers", lambda: echoed(lab, "client1", 9191) == "hello", 30)


def test_without_plain_http_sidecars_show_the_nodes_certificate(lab: Lab) -> None:
    words = ("-e", "mesh_http_enabled=false")
    run = lab.play("-vvv", *words)
    made = calls(lab, run)
    assert all(count <= MAX_REMOTE_CALLS for count in made.values()), made
    assert lab.printed_secrets(run) == []
    until("it answers", lambda: echoed(lab, "client1", 9191) == "hello", 30)
    pid = lab.on("client1", "systemctl", "show", "mesh-sidecar-web", "-P", "MainPID").strip()
    environment = lab.on("client1", "sh", "-c", f"tr '\\0' '\\n' < /proc/{pid}/environ")
    assert "CONSUL_HTTP_ADDR=https://127.0.0.1:10443" in environment
    assert "CONSUL_CLIENT_KEY=/run/mesh-sidecar-web/key" in environment
    assert lab.play(*words).changed == NOTHING
    lab.play()


def test_a_node_that_was_deleted_is_made_again_with_its_services(lab: Lab) -> None:
    subprocess.run(["docker", "rm", "--force", f"{lab.name}-client2"], check=True, capture_output=True)
    lab.play()
    until("its service is found again", lambda: echoed(lab, "client1", 9191) == "hello", 60)


def test_what_the_inventory_no_longer_has_is_gone(lab: Lab) -> None:
    write_services(lab, "client1", [])
    write_services(lab, "client2", services_of(lab, "client2")[:1])
    words = ("-e", json.dumps({"mesh_intentions": []}))
    run = lab.play(*words)
    assert run.changed == {"server1": 0, "client1": 2, "client2": 1}
    left = "ls -d /etc/systemd/system/mesh-* /etc/systemd/system/*/mesh-* /etc/meshnode/services* /etc/consul.d/mesh-*"
    more = " /usr/local/lib/meshnode/services/* 2>/dev/null || true"
    assert [line for line in lab.on("client1", "sh", "-c", left + more).split() if "services/" in line] == []
    assert (
        lab.on(
            "client1", "sh", "-c", "ls /etc/systemd/system/mesh-* /etc/consul.d/mesh-* 2>/dev/null || true"
        )
        == ""
    )
    assert "frontend" not in lab.on("client2", "sh", "-c", left + more)
    assert "mesh-app-socat" in lab.on("client2", "sh", "-c", left + more)
    assert intentions(lab) == set()
    assert "mesh-" not in lab.on("client1", "systemctl", "list-units", "--plain", "--no-legend", "mesh-*")
    write_services(lab, "client2", [])
    lab.play(*words)
    assert lab.play(*words).changed == NOTHING
    catalog = json.loads(lab.on("client1", "curl", "-s", "http://127.0.0.1:8500/v1/agent/services"))
    assert catalog == {}


# By hand, as the documents do it, inside the containers.


def by_hand(lab: Lab, node: str, script: str) -> str:
    return lab.on(node, "sh", "-c", script)


def background(lab: Lab, node: str, command: str) -> None:
    words = ["docker", "exec", "--detach", f"{lab.name}-{node}", "sh", "-c", command]
    subprocess.run(words, check=True, capture_output=True)


def test_the_documents_way_by_hand_managed_proxy_and_command_line(lab: Lab) -> None:
    service = {"service": {"name": "socat", "port": 8181, "connect": {"proxy": {}}}}
    by_hand(
        lab,
        "server1",
        f"cat <<EOF > /consul/config/socat.json\n{json.dumps(service)}\nEOF\nchmod 644 /consul/config/socat.json",
    )
    assert by_hand(lab, "server1", "consul reload").strip() == "Configuration reload triggered"
    until("a proxy", lambda: "connect proxy" in lab.said("server1", "sh", "-c", "ps ax | grep '[p]roxy'"), 20)
    background(lab, "server1", 'socat -v tcp-l:8181,fork exec:"/bin/cat"')
    background(
        lab, "client1", "consul connect proxy -service web -upstream socat:9191 > /run/by-hand.log 2>&1"
    )
    until("an echo", lambda: echoed(lab, "client1", 9191, "'hello world'") == "hello world", 40)
    said = lab.on("client1", "cat", "/run/by-hand.log")
    assert "==> Consul Connect proxy starting...\n    Configuration mode: Flags\n" in said
    assert "               Service: web\n" in said
    assert "              Upstream: socat => :9191\n" in said
    assert "       Public listener: Disabled\n" in said


def test_the_documents_way_by_hand_upstream_in_a_file(lab: Lab) -> None:
    upstream = {"destination_name": "socat", "local_bind_port": 10000}
    service = {
        "service": {"name": "web", "port": 8080, "connect": {"proxy": {"config": {"upstreams": [upstream]}}}}
    }
    by_hand(
        lab,
        "client1",
        f"cat <<EOF > /consul/config/web.json\n{json.dumps(service)}\nEOF\nchmod 644 /consul/config/web.json",
    )
    by_hand(lab, "client1", "consul reload")
    until("an echo", lambda: echoed(lab, "client1", 10000) == "hello", 40)


def test_the_documents_way_by_hand_intentions(lab: Lab) -> None:
    assert by_hand(lab, "client1", "curl -s http://localhost:8500/v1/connect/intentions").strip() == "[]"
    assert (
        by_hand(lab, "client1", "consul intention create -deny web socat") == "Created: web => socat (deny)\n"
    )
    until("it is refused", lambda: echoed(lab, "client1", 10000) == "", 10)
    assert echoed(lab, "client1", 9191) == ""
    background(lab, "client2", "consul connect proxy -service kiririmode -upstream socat:8000")
    until("another is let in", lambda: echoed(lab, "client2", 8000) == "hello", 40)
    assert by_hand(lab, "client1", "consul intention delete web socat") == "Intention deleted.\n"
    until("it is let in again", lambda: echoed(lab, "client1", 9191) == "hello", 10)
