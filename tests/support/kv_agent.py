"""An agent for commands that need a KV store, sessions and events: HTTP in a thread over the real state machine.

What happens to keys and sessions is decided by ``meshnode.control.machine``; blocking queries block.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from meshnode.base.duration import parse_duration
from meshnode.catalog.model import Check, Node
from meshnode.catalog.store import Registration
from meshnode.control.command import (
    Command,
    KvAcquire,
    KvCas,
    KvDelete,
    KvDeleteCas,
    KvDeleteTree,
    KvPut,
    KvRelease,
    Register,
    SessionCreate,
    SessionDestroy,
)
from meshnode.control.machine import Refusal, StateMachine
from meshnode.kv.sessions import Session
from meshnode.kv.store import Entry

__all__ = ["KvAgent", "kv_agent"]


class KvAgent:
    """``address`` is host:port. Everything may be called from any thread."""

    def __init__(self) -> None:
        self.address = ""
        self.node = "n1"
        self.changed = threading.Condition()
        self.machine = StateMachine()
        #: (name, query, payload) of each event fired; ``on_event`` is told of it.
        self.events: list[tuple[str, dict[str, str], bytes]] = []
        self.on_event: Callable[[str, bytes], None] = lambda name, payload: None
        self.renewals = 0
        #: Path -> (status, text) of what is answered with an error.
        self.broken: dict[str, tuple[int, str]] = {}
        #: How long a blocking query waits at most, whatever it asks for.
        self.longest_wait = 2.0
        check = Check(self.node, "serfHealth", "Serf Health Status", "passing")
        self.apply(Register(Registration(Node(self.node, "127.0.0.1"), None, (check,)), time.time()))

    def apply(self, command: Command) -> Any:
        with self.changed:
            result = self.machine.apply(self.machine.last_index + 1, command)
            self.changed.notify_all()
            return result

    def entry(self, key: str) -> Entry | None:
        with self.changed:
            return self.machine.kv.entries.get(key)

    def keys(self, prefix: str = "") -> list[str]:
        with self.changed:
            return self.machine.kv.keys_under(prefix)[1]

    def sessions(self) -> list[Session]:
        with self.changed:
            return self.machine.sessions.every()[1]

    def expire(self, session: str) -> None:
        """End a session as its TTL does."""
        self.apply(SessionDestroy(session, time.time()))

    def await_state(self, predicate: Callable[[], bool], timeout: float = 10.0) -> None:
        with self.changed:
            assert self.changed.wait_for(predicate, timeout), (
                "the state that the test waits for does not come"
            )

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes, int]:
        for prefix, (status, text) in self.broken.items():
            if path.startswith(prefix):
                return status, text.encode(), 0
        if path.startswith("/v1/kv/"):
            return self._kv(method, unquote(path.removeprefix("/v1/kv/")), query, body)
        if path.startswith("/v1/session/"):
            return self._session(path.removeprefix("/v1/session/"), body)
        if path.startswith("/v1/event/fire/"):
            name = unquote(path.rsplit("/", 1)[1])
            self.events.append((name, query, body))
            self.on_event(name, body)
            return 200, json.dumps({"ID": str(uuid.uuid4()), "Name": name}).encode(), 0
        if path == "/v1/agent/self":
            return 200, json.dumps({"Config": {"Datacenter": "dc1", "NodeName": self.node}}).encode(), 0
        return 404, b"", 0

    def _kv(self, method: str, key: str, query: dict[str, str], body: bytes) -> tuple[int, bytes, int]:
        if method == "GET":
            return self._read(key, query)
        flags = int(query.get("flags", "0"))
        command: Command = KvPut(key, body, flags)
        if method == "DELETE":
            command = KvDelete(key)
            if "cas" in query:
                command = KvDeleteCas(key, int(query["cas"]))
            elif "recurse" in query:
                command = KvDeleteTree(key)
        elif "acquire" in query:
            command = KvAcquire(key, body, flags, query["acquire"], time.time())
        elif "release" in query:
            command = KvRelease(key, body, flags, query["release"])
        elif "cas" in query:
            command = KvCas(key, body, flags, int(query["cas"]))
        return _written(self.apply(command))

    def _read(self, key: str, query: dict[str, str]) -> tuple[int, bytes, int]:
        def read() -> tuple[int, Any]:
            if "recurse" in query:
                index, entries = self.machine.kv.under(key)
                return index, [_entry(entry) for entry in entries]
            if "keys" in query:
                return self.machine.kv.keys_under(key, query.get("separator", ""))
            index, entry = self.machine.kv.get(key)
            return index, [_entry(entry)] if entry is not None else []

        wait = min(parse_duration(query.get("wait") or "5m"), self.longest_wait)
        index = int(query.get("index") or 0)
        with self.changed:
            if index:
                self.changed.wait_for(lambda: read()[0] > index, wait)
            last, found = read()
        return 200 if found else 404, json.dumps(found).encode() if found else b"", last

    def _session(self, path: str, body: bytes) -> tuple[int, bytes, int]:
        verb, _, name = path.partition("/")
        if verb == "create":
            given = json.loads(body)
            checks = tuple(given.get("Checks", ["serfHealth"]))
            session = Session(
                str(uuid.uuid4()),
                given.get("Node", self.node),
                given.get("Name", ""),
                checks,
                behavior=given.get("Behavior", ""),
                ttl=given.get("TTL", ""),
            )
            result = self.apply(SessionCreate(session))
            if isinstance(result, Refusal):
                return _written(result)
            return 200, json.dumps({"ID": result}).encode(), 0
        if verb == "destroy":
            return _written(self.apply(SessionDestroy(name, time.time())))
        self.renewals += 1
        if not any(session.id == name for session in self.sessions()):
            return 404, f"Session id '{name}' not found".encode(), 0
        return 200, json.dumps([{"ID": name}]).encode(), 0


def _written(result: Any) -> tuple[int, bytes, int]:
    if isinstance(result, Refusal):
        return 500, f"rpc error making call: {result.because}".encode(), 0
    return 200, json.dumps(result).encode(), 0


def _entry(entry: Entry) -> dict[str, Any]:
    record = {
        "LockIndex": entry.lock_index,
        "Key": entry.key,
        "Flags": entry.flags,
        "Value": base64.b64encode(entry.value).decode() or None,
        "CreateIndex": entry.create_index,
        "ModifyIndex": entry.modify_index,
    }
    return record | ({"Session": entry.session} if entry.session else {})


@contextlib.contextmanager
def kv_agent() -> Iterator[KvAgent]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    agent = KvAgent()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer, index = agent.answer(self.command, parts.path, query, body)
            self.send_response(status)
            if index:
                self.send_header("X-Consul-Index", str(index))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_args: object) -> None:
            pass  # who asked has gone

    server = Server(("127.0.0.1", 0), Handler)
    server.block_on_close = False
    agent.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield agent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
