"""Concurrent clients of ``/v1/kv`` that write down what they asked, what was answered, and when.

Two kinds of clients run at once. *Register* clients put, swap, delete and read a few shared keys: a history for
``linearizability``. *Ledger* clients write a new key each time: no acknowledged one may ever be missing, and the
longest time without an acknowledgement is the gap in writes.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import random
import ssl
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from meshnode.prove.linearizability import Kind, Operation, Outcome
from meshnode.testing.waiting import wait_until

__all__ = ["Answer", "Connection", "Workload", "ask"]

#: Sentences of an error that says for sure that nothing was done; any other error leaves that open.
NOT_DONE = (
    "No cluster leader",
    "No known Consul servers",
    "disk is full",
    "rate limit exceeded",
    "database space exceeded",
    "did not take the write",
)
IN_DOUBT = "may have been made or not"
#: What register clients do: deletes are rare, since many reads of nothing tell little apart.
MIX = (*(Kind.PUT,) * 4, *(Kind.CAS,) * 4, *(Kind.GET,) * 6, Kind.DELETE)
#: Seconds that a client waits for an answer.
PATIENCE = 12.0


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` is 0 without an answer; ``sent`` is false when no connection was made.

    ``index`` and ``contact`` are ``X-Consul-Index`` and ``X-Consul-LastContact`` (milliseconds).
    """

    status: int
    body: bytes
    sent: bool = True
    index: int = 0
    contact: int = 0

    @property
    def outcome(self) -> Outcome:
        """What an answer other than 200 says of a write."""
        text = self.body.decode(errors="replace")
        refused = any(sentence in text for sentence in NOT_DONE) and IN_DOUBT not in text
        return Outcome.FAILED if not self.sent or refused or 400 <= self.status < 500 else Outcome.UNKNOWN


class Connection:
    """Keeps one connection to ``host``, which is asked on port 8500, or to an address such as ``https://host:10443``.

    A failure of any kind is an answer too. ``tls`` makes the context of each connection over HTTPS, ``token`` is sent.
    """

    def __init__(
        self,
        host: str,
        timeout: float = PATIENCE,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        token: str = "",
    ) -> None:
        self.host = host
        self._timeout, self._tls = timeout, tls
        self._headers = {"X-Consul-Token": token} if token else {}
        self._http: http.client.HTTPConnection | None = None

    def _connected(self) -> http.client.HTTPConnection:
        if self._http is None:
            parts = urllib.parse.urlsplit(self.host if "://" in self.host else f"http://{self.host}:8500")
            name, port = parts.hostname or "", parts.port
            self._http = (
                http.client.HTTPSConnection(name, port, timeout=self._timeout, context=self._tls())
                if parts.scheme == "https"
                else http.client.HTTPConnection(name, port, timeout=self._timeout)
            )
        if self._http.sock is None:
            self._http.connect()
        return self._http

    def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """One request; the connection stays open for the next one unless it failed."""
        sent = False
        try:
            connection = self._connected()
            sent = True
            connection.request(method, path, body or None, self._headers)
            with connection.getresponse() as response:
                index = int(response.headers.get("X-Consul-Index") or 0)
                contact = int(response.headers.get("X-Consul-LastContact") or 0)
                return Answer(response.status, response.read(), True, index, contact)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Answer(0, f"{type(error).__name__}: {error}".encode(), sent)

    def close(self) -> None:
        """The next request has a new connection."""
        if self._http is not None:
            self._http.close()
            self._http = None


def ask(host: str, path: str, method: str = "GET", body: bytes = b"", timeout: float = PATIENCE) -> Answer:
    """One request on a connection of its own; a failure is an answer."""
    connection = Connection(host, timeout)
    try:
        return connection.ask(method, path, body)
    finally:
        connection.close()


@dataclass
class Workload:
    """Runs while it is open. ``hosts`` are agents; a client goes to the next one when its own doesn't answer.

    ``pause`` is what each client waits between operations, in seconds; ``patience`` for an answer. ``reads`` is the
    consistency that reads ask for; only ``consistent`` promises a linearizable history. ``dial`` makes a connection to
    one of ``hosts``. After ``max_operations`` of each kind of client that kind has ended, so memory is bounded.
    """

    hosts: Sequence[str]
    prefix: str
    registers: int = 4
    clients: int = 4
    writers: int = 2
    pause: float = 0.005
    patience: float = PATIENCE
    reads: str = "consistent"
    seed: int = 1
    dial: Callable[[str, float], Connection] = Connection
    max_operations: int = 1_000_000
    history: list[Operation] = field(default_factory=list)
    #: Key -> value of each acknowledged write of the ledger, and when the acknowledgements came.
    acknowledged: dict[str, str] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Workload:
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.began = time.monotonic()
        runs = [(self._use_registers, n) for n in range(self.clients)]
        runs += [(self._write_ledger, n) for n in range(self.clients, self.clients + self.writers)]
        self._threads = [threading.Thread(target=run, args=(number,)) for run, number in runs]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()
        self.ended = time.monotonic()

    def goes_on(self, count: int = 30, timeout: float = 60.0) -> None:
        """Wait until ``count`` more writes of the ledger were acknowledged."""
        before = len(self.times)
        try:
            wait_until(lambda: len(self.times) >= before + count, timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error} for {count} more writes ({self.last_errors})") from None

    def runs_for(self, seconds: float) -> None:
        """Let it run."""
        self._ends.wait(seconds)

    def longest_gap(self, since: float = 0.0) -> float:
        """The longest time without an acknowledged write of the ledger after ``since``, in seconds."""
        times = sorted(self.times)
        before = max((moment for moment in times if moment <= since), default=self.began)
        moments = [before, *(moment for moment in times if moment > since), self.ended]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    @property
    def last_errors(self) -> str:
        """The commonest errors so far."""
        return "; ".join(f"{count} x {error}" for error, count in self.errors.most_common(3))

    def _hosts_of(self, client: int) -> Iterator[str]:
        """Each client begins with another host."""
        hosts = list(self.hosts)
        first = client % len(hosts)
        return itertools.cycle(hosts[first:] + hosts[:first])

    def _write_ledger(self, client: int) -> None:
        hosts = self._hosts_of(client)
        connection = self.dial(next(hosts), self.patience)
        for number in itertools.count():
            if self._ends.wait(self.pause) or len(self.times) >= self.max_operations:
                break
            key = f"{self.prefix}/ledger/{client}/{number:06d}"
            answer = connection.ask("PUT", f"/v1/kv/{key}", str(number).encode())
            if answer.status == 200:
                with self._lock:
                    self.times.append(time.monotonic())
                    self.acknowledged[key] = str(number)
                    self.outcomes["ledger ok"] += 1
            else:
                connection = self._failed(answer, connection, next(hosts), "ledger")
        connection.close()

    def _failed(self, answer: Answer, connection: Connection, host: str, what: str) -> Connection:
        text = answer.body.decode(errors="replace")[:120]
        with self._lock:
            self.outcomes[f"{what} {answer.outcome.value}"] += 1
            self.errors[f"{answer.status} {text}"] += 1
        if answer.status:
            self._ends.wait(0.05)
            return connection
        connection.close()
        self._ends.wait(0.02)
        return self.dial(host, self.patience)

    def _use_registers(self, client: int) -> None:
        rng = random.Random(f"{self.seed}/{client}")
        hosts = self._hosts_of(client)
        connection = self.dial(next(hosts), self.patience)
        seen: dict[str, tuple[str | None, int]] = {}
        while not self._ends.wait(self.pause) and len(self.history) < self.max_operations:
            key = f"{self.prefix}/register/{rng.randrange(self.registers)}"
            kind = rng.choice(MIX)
            if kind is Kind.CAS and key not in seen:
                kind = Kind.GET
            expected, index = seen.pop(key, (None, 0)) if kind is Kind.CAS else (None, 0)
            value = None if kind is Kind.DELETE else f"{client}-{next(self._numbers)}"
            invoked = time.monotonic()
            answer = self._ask(connection, kind, key, value, index, self.reads)
            responded = time.monotonic()
            outcome, shown = Outcome.OK, index
            if kind is Kind.GET and answer.status in (200, 404):
                value, shown = _read(answer)
                seen[key] = value, shown
            elif answer.status != 200:
                outcome = answer.outcome
                connection = self._failed(answer, connection, next(hosts), kind.value)
            elif answer.body.strip() != b"true":
                outcome = Outcome.REFUSED
            operation = Operation(
                client,
                kind,
                key,
                value,
                outcome,
                invoked,
                responded,
                expected,
                shown if kind is Kind.GET else 0,
            )
            with self._lock:
                self.history.append(operation)
                self.outcomes[f"{kind.value} {outcome.value}"] += outcome in (Outcome.OK, Outcome.REFUSED)
        connection.close()

    @staticmethod
    def _ask(
        connection: Connection, kind: Kind, key: str, value: str | None, index: int, reads: str
    ) -> Answer:
        path = f"/v1/kv/{key}"
        match kind:
            case Kind.GET:
                return connection.ask("GET", f"{path}?{reads}")
            case Kind.DELETE:
                return connection.ask("DELETE", path)
            case Kind.CAS:
                path += f"?cas={index}"
        return connection.ask("PUT", path, (value or "").encode())


def _read(answer: Answer) -> tuple[str | None, int]:
    """The value and its index, as a ``cas`` wants them: none and 0 where there is no key."""
    if answer.status == 404:
        return None, 0
    (entry,) = json.loads(answer.body)
    return base64.b64decode(entry["Value"]).decode(), entry["ModifyIndex"]
