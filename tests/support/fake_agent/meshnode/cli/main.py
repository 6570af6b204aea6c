"""``agent``, ``validate`` and ``members`` of a stand-in agent: the contract with the provisioning, and nothing else."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

STATE = Path(os.environ.get("FAKE_AGENT_STATE", "/run/consul/state.json"))
TEXTS = {"log_level", "node_name", "datacenter", "bind_addr"}


def main() -> int:
    match sys.argv[1:]:
        case ["agent", option]:
            return agent(option.partition("=")[2])
        case ["validate", folder]:
            return validate(folder)
        case ["members"]:
            print(urllib.request.urlopen("http://127.0.0.1:8500/v1/agent/members", timeout=5).read().decode())
            return 0
    print("usage: meshnode agent -config-dir=DIR | validate DIR | members", file=sys.stderr)
    return 127


def files_in(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).iterdir() if path.suffix in {".json", ".hcl"})


def load(folder: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for path in files_in(folder):
        config |= json.loads(path.read_text())
    return config


def validate(folder: str) -> int:
    try:
        config = load(folder)
    except ValueError as error:
        print(f"{folder}: {error}", file=sys.stderr)
        return 1
    problems = [
        f"{key}: {config[key]!r} is not a text"
        for key in TEXTS & set(config)
        if not isinstance(config[key], str)
    ]
    problems += [
        f"{key}: {config[key]}: no such file"
        for key in ("ca_file", "cert_file", "key_file")
        if not exists(config, key)
    ]
    if problems:
        print(
            f"{folder}/meshnode.json: {'; '.join(problems)} (encrypt is {config.get('encrypt')})",
            file=sys.stderr,
        )
    return 1 if problems else 0


def exists(config: dict[str, Any], key: str) -> bool:
    return not config.get(key) or os.path.exists(config[key])


def digest(paths: list[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(os.fsencode(path) + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def report(folder: str, config: dict[str, Any], started_at: float) -> None:
    tls = sorted(Path(config[key]) for key in ("ca_file", "cert_file") if config.get(key))
    state = {
        "pid": os.getpid(),
        "config_digest": digest(files_in(folder)),
        "package_digest": os.environ.get("MESHNODE_PACKAGE_DIGEST", ""),
        "tls_digest": digest(tls),
        "started_at": started_at,
    }
    new = STATE.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.chmod(0o644)
    new.replace(STATE)


def notify(text: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(text.encode(), "\0" + path[1:] if path.startswith("@") else path)


def agent(folder: str) -> int:
    import cryptography.hazmat.primitives.asymmetric.ec as ec
    import httptools
    import msgpack
    import psutil
    import uvloop

    ec.generate_private_key(ec.SECP256R1())
    uvloop.new_event_loop().close()
    print("fake agent with", httptools.__version__, msgpack.version, psutil.__version__, flush=True)
    config, started_at = load(folder), time.time()
    if config.get("log_level") == "crash":
        print(f"cannot start, encrypt is {config.get('encrypt')}", flush=True)
        return 1
    serve(config)
    report(folder, config, started_at)
    signal.signal(signal.SIGHUP, lambda *_: report(folder, config, started_at))
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    notify("READY=1")
    stopped.wait()
    return 0


def serve(config: dict[str, Any]) -> None:
    names = [config["node_name"], *config.get("retry_join", [])]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers: dict[str, Any] = {
                "/v1/agent/members": [{"Name": name, "Status": 1} for name in names],
                "/v1/status/leader": "192.0.2.1:8300",
            }
            body = json.dumps(answers.get(self.path)).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    ports = config.get("ports", {})
    listeners = []
    if ports.get("http", 8500) > 0:
        listeners.append(
            (
                config.get("addresses", {}).get("http", config.get("client_addr", "127.0.0.1")),
                ports.get("http", 8500),
                None,
            )
        )
    if ports.get("https", -1) > 0:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(config["cert_file"], config["key_file"])
        context.load_verify_locations(config["ca_file"])
        context.verify_mode = ssl.CERT_REQUIRED
        listeners.append((config.get("client_addr", "127.0.0.1"), ports["https"], context))
    for address, port, context in listeners:
        server = http.server.ThreadingHTTPServer((address, port), Handler)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
