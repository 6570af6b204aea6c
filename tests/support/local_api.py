"""The API on an agent's services and checks, with the agent's own parts behind it and rules for tokens."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any, cast

from meshnode.acl.authorizer import Access, Authorizer, Decision, Resource
from meshnode.agent.local_effects import LocalPerformer, LocalStateView
from meshnode.base.errors import MeshError
from meshnode.http.api import Api
from meshnode.http.effects import Effect, ResolveToken
from meshnode.http.local_routes import LOCAL_ROUTES
from meshnode.http.local_view import LocalEffect, WaitForLocal
from meshnode.http.message import Request, Response
from tests.support.http_agent import FakeView
from tests.support.local_agent import LocalAgent


@dataclass
class LocalFakeView(FakeView):
    local: Any = None
    acl_enabled: bool = False


@dataclass(frozen=True)
class Rules:
    """Access by (resource, name); everything else is denied."""

    granted: dict[tuple[str, str], Access] = field(default_factory=dict)
    unrestricted: bool = False

    def decide(self, resource: Resource, name: str, access: Access) -> Decision:
        return Decision(
            self.granted.get((resource.value, name), Access.DENY) >= access, f"{resource} {name}: no rule"
        )

    def decide_tree(self, prefix: str) -> Decision:
        raise AssertionError(prefix)


class LocalApi:
    """``tokens``: what each may do. ``waits`` are the waits asked for; ``on_wait`` is called in each."""

    def __init__(self, agent: LocalAgent | None = None, tokens: dict[str, Authorizer] | None = None) -> None:
        self.agent = agent or LocalAgent()
        self.tokens = tokens
        local = LocalStateView(self.agent.state)
        self.view = LocalFakeView(node_name="web1", local=local, acl_enabled=tokens is not None)
        self.api = Api(self.view, random.Random(1), LOCAL_ROUTES)
        self.performer = LocalPerformer(self.agent.services)
        self.waits: list[WaitForLocal] = []
        self.on_wait: Any = None

    def get(self, path: str, query: str = "") -> Response:
        return self.send("GET", path, query)

    def put(self, path: str, query: str = "", body: Any = b"") -> Response:
        return self.send("PUT", path, query, body if isinstance(body, bytes) else json.dumps(body).encode())

    def json(self, path: str, query: str = "") -> Any:
        response = self.get(path, query)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def send(self, method: str, path: str, query: str = "", body: bytes = b"") -> Response:
        outcome: Any = self.api.handle(Request(method, path, query, body=body))
        if isinstance(outcome, Response):
            return outcome
        try:
            effect = next(outcome)
            while True:
                try:
                    given = self.perform(effect)
                except MeshError as error:
                    effect = outcome.throw(error)
                else:
                    effect = outcome.send(given)
        except StopIteration as end:
            return cast(Response, end.value)

    def perform(self, effect: Effect[Any]) -> Any:
        match effect:
            case ResolveToken(token):
                assert self.tokens is not None
                if token not in self.tokens:
                    raise MeshError("ACL not found")
                return self.tokens[token]
            case WaitForLocal():
                self.waits.append(effect)
                self.on_wait()
                return None
            case LocalEffect():
                return asyncio.run(self.performer.perform(effect))
        raise AssertionError(effect)
