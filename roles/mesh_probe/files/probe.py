"""Asks the mesh for things, again and again, as its users would, and writes down what was not answered.

``python3 probe.py CONFIG``: CONFIG is JSON, as the module mesh_probe writes it. Ends by SIGTERM, or by itself after
``max_seconds``; the report is on disk all the time. Standard library only: it runs on the nodes.

What counts as failed: an HTTP request without a 200 in time; a line sent over the one long-lived TCP connection that
does not come back in time, or the end of that connection (``fresh``: each line has a connection of its own); a key that
no agent has written, and read back consistently, within ``patience`` seconds. The first two are tried once. A key is
asked of the next agent when one does not answer, as a client of a cluster does; how often that was, and the longest
answer, is in the report. An agent that does not see all of ``names`` alive and a leader; a name that its DNS does not
resolve; a denied connection that carries a single byte.

Failures that follow each other are one outage: from the first request of them to the first good answer.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: Failures that are kept word for word; all are counted.
MAX_FAILURES = 20
#: Outages that are kept; a run that has more of them is broken anyway.
MAX_OUTAGES = 500
MAX_ANSWER_BYTES = 1024 * 1024
#: Seconds between two reports on disk.
REPORT_INTERVAL = 0.5
#: Seconds before the next agent is asked.
NEXT_AGENT_PAUSE = 0.1
#: Seconds of one try, of the patience that a key has in all.
MAX_TRY_SECONDS = 3.0


@dataclass
class Tally:
    """What became of the requests to one target; seconds are floats, ``at`` is seconds since the epoch."""

    name: str
    requests: int = 0
    failed: int = 0
    asked_again: int = 0
    longest: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)
    #: ``ended`` is None while the outage goes on.
    outages: list[dict[str, Any]] = field(default_factory=list)

    def note(self, seconds: float, why: str, *, at: float) -> None:
        """One request has ended; ``why`` is empty when all was well."""
        self.requests += 1
        self.longest = max(self.longest, round(seconds, 3))
        goes_on = bool(self.outages) and self.outages[-1]["ended"] is None
        if why:
            self.failed += 1
            if len(self.failures) < MAX_FAILURES:
                self.failures.append({"at": round(at, 3), "why": why[:300]})
            if not goes_on and len(self.outages) < MAX_OUTAGES:
                self.outages.append({"began": round(at - seconds, 3), "ended": None, "why": why[:300]})
        elif goes_on:
            self.outages[-1]["ended"] = round(at, 3)


class Http:
    """GET of a URL, each time over a new connection."""

    def __init__(self, target: dict[str, Any]) -> None:
        self.url = urllib.parse.urlsplit(target["url"])
        self.timeout = float(target.get("timeout", 5))
        self.tally = Tally(f"http {target['url']}")

    def ask(self) -> str:
        """Why this request failed, or an empty text."""
        path = self.url._replace(scheme="", netloc="").geturl() or "/"
        connection = http.client.HTTPConnection(
            self.url.hostname or "", self.url.port or 80, timeout=self.timeout
        )
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read(MAX_ANSWER_BYTES)
            return "" if answer.status == 200 else f"answered {answer.status}"
        except (OSError, http.client.HTTPException) as error:
            return _text(error)
        finally:
            connection.close()

    def close(self) -> None:
        """Nothing is kept open."""


class Tcp:
    """Lines over one connection that is kept, or each over a new one; the other end sends each of them back."""

    def __init__(self, target: dict[str, Any]) -> None:
        self.address = target["address"]
        self.timeout = float(target.get("timeout", 5))
        self.fresh = bool(target.get("fresh"))
        self.tally = Tally(f"{'new tcp' if self.fresh else 'tcp'} {self.address}")
        self.connection: socket.socket | None = None
        self.count = 0

    def ask(self) -> str:
        """Why this line did not come back, or an empty text."""
        self.count += 1
        line = f"probe {self.count}\n".encode()
        try:
            if self.connection is None:
                host, _, port = self.address.rpartition(":")
                self.connection = socket.create_connection((host.strip("[]"), int(port)), self.timeout)
            self.connection.sendall(line)
            echo = b""
            while len(echo) < len(line):
                part = self.connection.recv(len(line) - len(echo))
                if not part:
                    raise ConnectionError(f"the connection was ended at line {self.count}")
                echo += part
            if echo != line:
                raise ConnectionError(f"line {self.count} came back as {echo[:40]!r}")
        except OSError as error:
            self.close()
            return _text(error)
        if self.fresh:
            self.close()
        return ""

    def close(self) -> None:
        """End the connection; the next line has a new one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Kv:
    """A key written and read back consistently, at the first agent that answers; ``datacenter`` may be another one."""

    def __init__(self, target: dict[str, Any]) -> None:
        self.agents: list[str] = target["agents"]
        self.key = target["key"]
        self.token = target.get("token", "")
        self.tls: dict[str, str] = target.get("tls") or {}
        self.patience = float(target.get("patience", 10))
        self.datacenter = target.get("datacenter", "")
        there = f", in {self.datacenter}" if self.datacenter else ""
        self.tally = Tally(f"kv {len(self.agents)} agents{there}")
        self.count = 0

    def ask(self) -> str:
        """Why the key was not written and read, or an empty text."""
        self.count += 1
        value = str(self.count).encode()
        deadline, first, last = time.monotonic() + self.patience, True, ""
        while first or time.monotonic() < deadline:
            for agent in self.agents:
                last = self._exchange(agent, value, max(0.2, deadline - time.monotonic()))
                if not last:
                    return ""
                self.tally.asked_again += 1
                if time.monotonic() >= deadline:
                    break
                time.sleep(NEXT_AGENT_PAUSE)
            first = False
        return f"nobody answered within {self.patience:g} s, the last was {last}"

    def _exchange(self, agent: str, value: bytes, seconds: float) -> str:
        path = "/v1/kv/" + urllib.parse.quote(self.key)
        where = [f"dc={urllib.parse.quote(self.datacenter, safe='')}"] if self.datacenter else []
        try:
            connection = self.connect(agent, min(seconds, MAX_TRY_SECONDS))
        except (OSError, ValueError) as error:
            return f"{agent}: {_text(error)}"
        headers = {"X-Consul-Token": self.token} if self.token else {}
        try:
            connection.request("PUT", _with(path, *where), value, headers)
            written = connection.getresponse()
            said = written.read(MAX_ANSWER_BYTES)
            if written.status != 200 or said.strip() != b"true":
                return f"{agent}: PUT answered {written.status} {said[:80].decode(errors='replace')}"
            connection.request("GET", _with(path, *where, "raw", "consistent"), headers=headers)
            found = connection.getresponse()
            read = found.read(MAX_ANSWER_BYTES)
            if found.status != 200:
                return f"{agent}: GET answered {found.status} {read[:80].decode(errors='replace')}"
            return "" if read == value else f"{agent}: wrote {value!r} and read {read[:40]!r}"
        except (OSError, http.client.HTTPException) as error:
            return f"{agent}: {_text(error)}"
        finally:
            connection.close()

    def connect(self, agent: str, seconds: float) -> http.client.HTTPConnection:
        """A connection to ``agent``, not opened yet."""
        parts = urllib.parse.urlsplit(agent)
        if parts.scheme != "https":
            return http.client.HTTPConnection(parts.hostname or "", parts.port or 8500, timeout=seconds)
        # Read each time: the files are changed while this runs.
        context = ssl.create_default_context(cafile=self.tls.get("ca_file"))
        context.check_hostname = False
        if self.tls.get("cert_file"):
            context.load_cert_chain(self.tls["cert_file"], self.tls["key_file"])
        return http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 8501, timeout=seconds, context=context
        )

    def close(self) -> None:
        """Nothing is kept open."""


class Members:
    """An agent sees everybody alive, and a leader."""

    def __init__(self, target: dict[str, Any]) -> None:
        self.agent = Kv({"agents": [target["agents"][0]], "key": "", "tls": target.get("tls")})
        self.names = set(target["names"])
        self.timeout = float(target.get("timeout", 5))
        self.headers = {"X-Consul-Token": target["token"]} if target.get("token") else {}
        self.tally = Tally(f"members of {len(self.names)}")

    def ask(self) -> str:
        """Who is missing, or an empty text."""
        try:
            members = self._get("/v1/agent/members")
            alive = {member["Name"] for member in members if member["Status"] == 1}
            if self.names - alive:
                return f"{', '.join(sorted(self.names - alive))} not alive"
            return "" if self._get("/v1/status/leader") else "no leader"
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            return _text(error)

    def _get(self, path: str) -> Any:
        connection = self.agent.connect(self.agent.agents[0], self.timeout)
        try:
            connection.request("GET", path, headers=self.headers)
            answer = connection.getresponse()
            body = answer.read(MAX_ANSWER_BYTES)
            if answer.status != 200:
                raise ValueError(f"{path} answered {answer.status}")
            return json.loads(body)
        finally:
            connection.close()

    def close(self) -> None:
        """Nothing is kept open."""


class Dns:
    """A name that the agent's DNS has to have an address of (RFC 1035 4.1)."""

    def __init__(self, target: dict[str, Any]) -> None:
        host, _, port = target["address"].rpartition(":")
        self.address = host.strip("[]"), int(port)
        self.timeout = float(target.get("timeout", 5))
        labels = target["name"].rstrip(".").encode("ascii").split(b".")
        self.question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0\0\1\0\1"
        self.tally = Tally(f"dns {target['name']}")
        self.count = 0

    def ask(self) -> str:
        """Why there was no address, or an empty text."""
        self.count = self.count % 65535 + 1
        head = self.count.to_bytes(2, "big")
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.settimeout(self.timeout)
                asking.connect(self.address)
                asking.send(head + b"\1\0\0\1\0\0\0\0\0\0" + self.question)
                answer = asking.recv(4096)
        except OSError as error:
            return _text(error)
        if len(answer) < 12 or answer[:2] != head:
            return f"answered {len(answer)} bytes that are no answer to it"
        code, answers = answer[3] & 15, int.from_bytes(answer[6:8], "big")
        return "" if code == 0 and answers else f"answered code {code} with {answers} addresses"

    def close(self) -> None:
        """Nothing is kept open."""


class Denied:
    """A connection that may be taken, and ended, but has to carry nothing."""

    def __init__(self, target: dict[str, Any]) -> None:
        self.address = target["address"]
        self.timeout = float(target.get("timeout", 5))
        self.tally = Tally(f"denied {self.address}")

    def ask(self) -> str:
        """What came through, or an empty text."""
        host, _, port = self.address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), self.timeout) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                found = connection.recv(100)
        except OSError:
            return ""
        return f"{len(found)} bytes came through: {found[:40]!r}" if found else ""

    def close(self) -> None:
        """Nothing is kept open."""


Target = Http | Tcp | Kv | Members | Dns | Denied
KINDS: dict[str, Callable[[dict[str, Any]], Target]] = {
    "http": Http,
    "tcp": Tcp,
    "kv": Kv,
    "members": Members,
    "dns": Dns,
    "denied": Denied,
}


def _with(path: str, *parameters: str) -> str:
    return f"{path}?{'&'.join(parameters)}" if parameters else path


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Probe:
    """All targets, each in a thread of its own."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.targets = [KINDS[target["kind"]](target) for target in config["targets"]]
        self.interval = float(config.get("interval", 0.2))
        self.max_seconds = float(config.get("max_seconds", 3600))
        self.report_path = config["report"]
        self.started = time.time()
        self.over = threading.Event()

    def run(self, asked_to_end: Callable[[float], bool]) -> None:
        """Until ``asked_to_end``, which waits that many seconds, says so or the time is up.

        What is under way then is finished first.
        """
        threads = [threading.Thread(target=self._follow, args=(target,)) for target in self.targets]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + self.max_seconds
        while not asked_to_end(REPORT_INTERVAL) and time.monotonic() < deadline:
            self.report(running=True)
        self.over.set()
        for thread in threads:
            thread.join()
        self.report(running=False)

    def _follow(self, target: Target) -> None:
        while not self.over.is_set():
            begun = time.monotonic()
            why = target.ask()
            target.tally.note(time.monotonic() - begun, why, at=time.time())
            self.over.wait(self.interval)
        target.close()

    def report(self, *, running: bool) -> None:
        """The tallies on disk, whole or not at all."""
        content = {
            "running": running,
            "started": self.started,
            "seconds": round(time.time() - self.started, 1),
            "targets": [asdict(target.tally) for target in self.targets],
        }
        new = f"{self.report_path}.new"
        Path(new).write_text(json.dumps(content))
        os.replace(new, self.report_path)


def main(arguments: list[str]) -> int:
    """Run the probe that the file of the first argument describes."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    probe = Probe(json.loads(Path(arguments[0]).read_text()))
    probe.run(lambda seconds: signal.sigtimedwait(ends, seconds) is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
