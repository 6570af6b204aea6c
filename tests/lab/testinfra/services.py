"""What a node says of its services and sidecars, asked in one call."""

from __future__ import annotations

import json
from typing import Any

#: Runs on the node, with its Python, openssl and the command line. The proxy that it starts ends with it.
SCRIPT = r"""
import http.client, json, os, pwd, re, socket, ssl, stat, subprocess, sys, time

config_dir, stranger = sys.argv[1:]
FOLDER = "/etc/meshnode/services"


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, **more)
    return done.returncode, (done.stdout + done.stderr).strip()


def api(path):
    config = json.load(open(config_dir + "/meshnode.json"))
    if config.get("ports", {}).get("http", 8500) > 0:
        connection = http.client.HTTPConnection("127.0.0.1", config["ports"].get("http", 8500), timeout=10)
    else:
        context = ssl.create_default_context(cafile=config["ca_file"])
        context.load_cert_chain(config["cert_file"], config["key_file"])
        port = config["ports"]["https"]
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (path, answer.status, body[:200])
    return json.loads(body)


def listeners():
    for line in run("ss", "-H", "-ltn")[1].splitlines():
        address, _, port = line.split()[3].rpartition(":")
        yield {"address": address.strip("[]"), "port": int(port)}


def said(port):
    # What comes back for a line: some bytes, none before the end, or none yet.
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.settimeout(5)
        connection.sendall(b"hello\r\n\r\n")
        try:
            return "answered" if connection.recv(4096) else "closed"
        except TimeoutError:
            return "open"
        except ConnectionError:
            return "closed"


def without_certificate(port, version):
    command = "sleep 1 | openssl s_client -connect 127.0.0.1:%d -%s" % (port, version)
    return run("sh", "-c", command)


def in_clear(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            return connection.recv(4096).decode(errors="replace")
        except ConnectionError:
            return ""


def unit(name):
    names = "ActiveState,UnitFileState,NRestarts,MainPID,User,NoNewPrivileges,ProtectSystem"
    shown = dict(line.split("=", 1) for line in run("systemctl", "show", name, "-p", names)[1].splitlines())
    shown["argv"] = open("/proc/%s/cmdline" % shown["MainPID"]).read().split("\0")[:-1]
    return shown


def as_stranger(destination):
    # A proxy with another name, which no intention of the inventory allows.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["meshnode", "connect", "proxy", "-service", stranger, "-upstream", "%s:%d" % (destination, port)]
    proxy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            try:
                return said(port)
            except ConnectionRefusedError:
                time.sleep(0.1)
        return "not there"
    finally:
        proxy.terminate()
        proxy.wait(20)


def explain(source, destination):
    return api("/v1/connect/intentions/explain?source=%s&destination=%s" % (source, destination))


def names(row):
    # Of the identities of both ends, the services.
    return row["Source"].rpartition("/svc/")[2], row["Destination"].rpartition("/svc/")[2]


registered = api("/v1/agent/services")
ours = json.load(open("/etc/meshnode/services.json"))["services"]
sidecars = {name: registered.get(name + "-sidecar-proxy") for name in ours}
upstreams = [
    {"source": name, "destination": one["DestinationName"], "port": one["LocalBindPort"]}
    for name, sidecar in sidecars.items() if sidecar
    for one in sidecar["Proxy"].get("Upstreams") or []
]
for one in upstreams:
    with socket.create_connection(("127.0.0.1", one["port"]), timeout=5) as held:
        held.settimeout(5)
        held.sendall(b"hello\r\n")
        try:
            held.recv(1)
        except OSError:
            pass
        # A proxy reports each second.
        ends = time.monotonic() + 10
        seen = []
        while not seen and time.monotonic() < ends:
            rows = api("/v1/agent/connect/connections")["Connections"]
            seen = [row for row in rows if names(row) == (one["source"], one["destination"])]
            time.sleep(0.2)
    one["seen"] = seen
    one["said"] = said(one["port"])
    one["explained"] = explain(one["source"], one["destination"])
denied = {}
if upstreams:
    destination = upstreams[0]["destination"]
    denied = {"explained": explain(stranger, destination), "said": as_stranger(destination)}
entries = {}
for name in sorted(os.listdir(FOLDER)):
    found = os.lstat(FOLDER + "/" + name)
    entries[name] = ["%04o" % stat.S_IMODE(found.st_mode), pwd.getpwuid(found.st_uid).pw_name]
print(json.dumps({
    "checks": {check["CheckID"]: check["Status"] for check in api("/v1/agent/checks").values()},
    "denied": denied,
    "entries": entries,
    "listeners": list(listeners()),
    "ports": {name: registered[name]["Port"] for name in ours},
    "services": ours,
    "sidecars": {
        name: {
            "unit": unit("mesh-sidecar-%s.service" % name),
            "without": {v: without_certificate(sidecar["Port"], v) for v in ("tls1_2", "tls1_3")},
            "in_clear": in_clear(sidecar["Port"]),
        }
        for name, sidecar in sidecars.items() if sidecar
    },
    "units": {
        name: unit("mesh-app-%s.service" % name)
        for name in ours if os.path.exists("/etc/systemd/system/mesh-app-%s.service" % name)
    },
    "upstreams": upstreams,
}))
"""
#: A service that no inventory has.
STRANGER = "verify-stranger"


def collect_services(host: Any, config_dir: str) -> dict[str, Any]:
    """Run the script on C(host); fails with what it said."""
    variables = host.ansible.get_variables() if host.backend.HAS_RUN_ANSIBLE else {}
    sudo = "sudo " if variables.get("ansible_become") else ""
    done = host.run(f"{sudo}/usr/bin/python3 -c %s %s %s", SCRIPT, config_dir, STRANGER)
    assert done.rc == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
