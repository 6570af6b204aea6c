"""The API on a cluster's state, in memory and without an event loop: requests in, answers out.

``api.put("/v1/catalog/register", {...})`` plans, applies and replies as a leader does; ``api.get("/v1/catalog/nodes")``
reads as an agent does; ``api.blocked(path)`` is a read that waits, which a later write may answer. What is not read
from memory goes through msgpack both ways, as between two machines; with ``client=True`` that is everything.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from meshnode.acl.authorizer import ALLOW_ALL, Access, Authorizer, Decision, Resource
from meshnode.base.errors import MeshError
from meshnode.control.command import Command, parse_command, serialize_command
from meshnode.control.endpoints.table import METHODS
from meshnode.control.machine import StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod
from meshnode.control.watch import WatchKey, WatchTable
from meshnode.control.wire import from_wire
from meshnode.http.answer_cache import AnswerCache
from meshnode.http.api import Api
from meshnode.http.effects import CallServer, Effect, Pieces, ReadServer
from meshnode.http.errors import ServerCallError
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.rpc.method import RpcError
from tests.support.http_agent import FakeView

__all__ = ["Blocked", "Grants", "StateApi", "json_of"]

NO_LEADER = "No cluster leader"


@dataclass(frozen=True)
class Grants:
    """An authorizer for tests: what is in ``allowed`` as (resource, name, access), each with the accesses below it.

    The name ``*`` stands for every name.
    """

    allowed: frozenset[tuple[Resource, str, Access]] = frozenset()
    unrestricted: bool = False

    @classmethod
    def of(cls, *rules: str) -> Grants:
        """From ``"node:n1:write"``."""
        parts = (rule.split(":") for rule in rules)
        return cls(frozenset((Resource(kind), name, Access[access.upper()]) for kind, name, access in parts))

    def decide(self, resource: Resource, name: str, access: Access) -> Decision:
        for kind, known, granted in self.allowed:
            if kind == resource and known in {name, "*"} and granted >= access:
                return Decision(allowed=True, because="granted by the test")
        return Decision(allowed=False, because=f'{resource} "{name}" needs {access.name.lower()}')

    def decide_tree(self, prefix: str) -> Decision:
        return self.decide(Resource.KEY, prefix, Access.WRITE)


class StateView(FakeView):
    """The view of an agent that has the state in memory, or of a client that asks for everything."""

    server: StateApi

    def read_now(self, query: Any) -> Any:
        return self.server.read_now(query)


@dataclass
class Blocked:
    """A read that waits: ``answer`` is ``None`` until something wakes it, or ``timed_out`` is called."""

    api: StateApi
    steps: Any
    query: ReadServer
    waiter: int
    answer: Response | None = None
    #: How often it was woken and found that nothing it waits for had changed.
    woken_for_nothing: int = 0

    def wake(self) -> None:
        """Look again, as a server does when a watch key was touched."""
        index, reply = self.api.read(self.query)
        if index > int(self.query.body["MinQueryIndex"]):  # type: ignore[call-overload]
            self._end(reply)
        else:
            self.woken_for_nothing += 1

    def timed_out(self) -> Response:
        """The answer when the wait is over."""
        self._end(self.api.read(self.query)[1])
        assert self.answer is not None
        return self.answer

    def _end(self, reply: Any) -> None:
        self.api.unwatch(self.waiter)
        try:
            self.steps.send(reply)
        except StopIteration as end:
            self.answer = _joined(end.value)
        assert self.answer is not None, "a read asks once"


@dataclass
class StateApi:
    """``tokens``: rights by token, "" for none; without any entry everybody may do everything.

    ``leader_methods``: what a leader does beside commands (``Session.Renew``): body -> reply.
    """

    client: bool = False
    methods: Mapping[str, Method] = field(default_factory=lambda: METHODS)
    tokens: dict[str, Authorizer] = field(default_factory=dict)
    leader_methods: dict[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    cached: bool = True

    def __post_init__(self) -> None:
        self.machine = StateMachine()
        #: Unix seconds of the next write.
        self.at = 1000.0
        self.has_leader = True
        #: Every command that was applied, and every call that was carried out by way of an effect.
        self.commands: list[Command] = []
        self.calls: list[CallServer] = []
        self._rng = random.Random(1)
        self._watches = WatchTable()
        self._wakes: dict[int, Callable[[], None]] = {}
        self.view = StateView()
        self.view.server = self
        if self.cached and not self.client:
            self.view.answers = AnswerCache(self, self._watches_of, lambda: True)  # type: ignore[assignment]
        self.api = Api(self.view, random.Random(1))

    # Requests

    def get(self, path: str, *, token: str = "") -> Response:
        return self.request("GET", path, token=token)

    def put(self, path: str, body: Any = None, *, token: str = "") -> Response:
        return self.request("PUT", path, body, token=token)

    def post(self, path: str, body: Any = None, *, token: str = "") -> Response:
        return self.request("POST", path, body, token=token)

    def delete(self, path: str, *, token: str = "") -> Response:
        return self.request("DELETE", path, token=token)

    def json(self, path: str, *, token: str = "") -> Any:
        """The value that GET answers with 200."""
        response = self.get(path, token=token)
        assert response.status == 200, (response.status, response.body)
        return json_of(response)

    def request(self, method: str, path: str, body: Any = None, *, token: str = "") -> Response:
        """``body``: bytes as they are, ``None`` for nothing, all else as JSON. A read that would block times out."""
        outcome = self._begin(method, path, body, token)
        return outcome.timed_out() if isinstance(outcome, Blocked) else outcome

    def blocked(self, path: str, *, token: str = "") -> Blocked:
        """GET a path that blocks now."""
        outcome = self._begin("GET", path, None, token)
        assert isinstance(outcome, Blocked), f"answered at once: {outcome.status} {outcome.body!r}"
        return outcome

    def _begin(self, method: str, path: str, body: Any, token: str) -> Response | Blocked:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        plain, _, query = path.partition("?")
        headers = [(b"x-consul-token", token.encode())] if token else []
        outcome = self.api.handle(Request(method, plain, query, headers, data, remote="127.0.0.1:40000"))
        if isinstance(outcome, Response):
            return outcome
        if isinstance(outcome, StreamResponse):
            return _joined(outcome)
        try:
            effect: Effect[Any] = next(outcome)
            while True:
                try:
                    reply = self._perform(effect)
                except MeshError as error:
                    effect = outcome.throw(error)
                    continue
                if reply is None and isinstance(effect, ReadServer):
                    return self._wait(outcome, effect)
                effect = outcome.send(reply)
        except StopIteration as end:
            return _joined(end.value)

    def _wait(self, steps: Any, query: ReadServer) -> Blocked:
        blocked = Blocked(self, steps, query, 0)
        blocked.waiter = self.watch(self._watches_of(query), blocked.wake)
        return blocked

    # The agent's side

    def read_now(self, query: ReadServer) -> Mapping[str, Any] | None:
        if self.client or query.body.get("RequireConsistent"):
            return None
        return self._look(query)

    def _perform(self, effect: Effect[Any]) -> Any:
        assert isinstance(effect, CallServer), f"not on the state: {effect}"
        self.calls.append(effect)
        sent = CallServer(effect.method, _travelled(effect.body), effect.datacenter, effect.token)
        if effect.datacenter not in {"", self.view.datacenter}:
            raise ServerCallError(f"No path to datacenter {effect.datacenter}")
        if not (self.has_leader or sent.body.get("AllowStale")):
            raise ServerCallError(NO_LEADER)
        try:
            if isinstance(effect, ReadServer):
                reply = self._look(sent)
                return None if reply is None else _travelled(reply)
            return _travelled(self._call(sent))
        except RpcError as error:
            raise ServerCallError(str(error)) from None

    # The server's side

    def authorizer(self, token: str) -> Authorizer:
        if not self.tokens:
            return ALLOW_ALL
        found = self.tokens.get(token)
        if found is None:
            raise MeshError("ACL not found")
        return found

    def read(self, query: CallServer) -> tuple[int, dict[str, Any]]:
        """What a read answers now: index and whole reply."""
        method = self.methods[query.method]
        assert isinstance(method, ReadMethod), query.method
        index, reply = method.read(self.machine, query.body, self.authorizer(query.token))
        known = {
            "Index": index,
            "LastContact": 0,
            "KnownLeader": self.has_leader,
            "FromMemory": not self.client,
        }
        return index, {**reply, **known}

    def apply(self, command: Command) -> Any:
        """Apply a command as it comes back from the log, wake who waits; its result."""
        command = parse_command(serialize_command(command))
        self.commands.append(command)
        result = self.machine.apply(self.machine.last_index + 1, command)
        for waiter in self._watches.touched(self.machine.take_touched()):
            if wake := self._wakes.get(waiter):
                wake()
        return result

    def watch(self, keys: Iterable[WatchKey], wake: Callable[[], None]) -> int:
        waiter = self._watches.register(keys)
        self._wakes[waiter] = wake
        return waiter

    def unwatch(self, waiter: int) -> None:
        self._watches.remove(waiter)
        self._wakes.pop(waiter, None)

    def _look(self, query: CallServer) -> dict[str, Any] | None:
        index, reply = self.read(query)
        wanted = query.body.get("MinQueryIndex") or 0
        return None if wanted and index <= int(wanted) else reply  # type: ignore[call-overload]

    def _call(self, call: CallServer) -> Any:
        special = self.leader_methods.get(call.method)
        if special is not None:
            return special(call.body)
        method = self.methods[call.method]
        assert isinstance(method, WriteMethod), f"{call.method} is a read"
        self.at += 1
        moment = Moment(self.at, lambda: str(uuid.UUID(int=self._rng.getrandbits(128), version=4)))
        command = method.plan(self.machine, call.body, self.authorizer(call.token), moment)
        return method.reply(self.machine, self.apply(command))

    def _watches_of(self, query: ReadServer) -> tuple[WatchKey, ...]:
        method = self.methods[query.method]
        assert isinstance(method, ReadMethod)
        return method.watches(query.body)


def json_of(response: Response) -> Any:
    """The body as a value; the keys of its objects keep their order."""
    assert response.content_type == "application/json", (response.status, response.body)
    return json.loads(response.body)


def _joined(answer: Response | StreamResponse) -> Response:
    """A long answer as a whole."""
    if isinstance(answer, Response):
        return answer
    assert isinstance(answer.source, Pieces), "the routes on the state don't stream"
    return Response(answer.status, b"".join(answer.source.pieces), answer.content_type, answer.headers)


def _travelled(value: Any) -> Any:
    packed = msgpack.packb(value, use_bin_type=False, unicode_errors="surrogateescape")
    return from_wire(msgpack.unpackb(packed, raw=True, strict_map_key=False))
