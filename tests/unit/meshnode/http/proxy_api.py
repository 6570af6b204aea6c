"""The routes of proxies with a registered service, and reports to send to them."""

from __future__ import annotations

import random
from typing import Any

from meshnode.acl.authorizer import Authorizer
from meshnode.agent.connect_reports import ConnectReports
from meshnode.agent.local_services import LocalPolicy
from meshnode.agent.managed_tokens import ManagedTokens
from meshnode.http.api import Api
from meshnode.http.connect_effects import GetEnvoys, GetLeaf, GetReports, GetRoots, ReportProxy
from meshnode.http.effects import Effect
from meshnode.http.message import Response
from tests.support.local_agent import LocalAgent
from tests.support.local_api import LocalApi

__all__ = [
    "BODY",
    "CLOSED",
    "CONNECTION",
    "CONNECTIONS",
    "DECISION",
    "REFUSED",
    "REGISTER",
    "REPORT",
    "ProxyApi",
    "answer",
]


REPORT = "/v1/agent/connect/report/"
CONNECTIONS = "/v1/agent/connect/connections"
REGISTER = "/v1/agent/service/register"
CONNECTION = {
    "ID": 7, "Direction": "inbound", "Listener": "public", "Source": "spiffe://t/ns/default/dc/dc1/svc/web",
    "Destination": "db", "Serial": "ab:cd", "Peer": "10.0.0.1:5000", "Local": "", "Rule": "r1", "Because": "matched r1",
    "Age": 1.5, "Audited": True, "BytesIn": 10, "BytesOut": 20, "CloseCause": "",
}  # fmt: skip
CLOSED = CONNECTION | {"ID": 8, "CloseCause": "denied", "EndedAgo": 2.0}
REFUSED = {
    "ID": 9, "Listener": "public", "Source": "x", "Peer": "10.0.0.1:51", "Kind": "denied",
    "Because": "no", "Rule": "r2", "Request": "GET /admin", "Connection": 7, "Ago": 3.0,
}  # fmt: skip
DECISION = {
    "Source": "spiffe://t/ns/default/dc/dc1/svc/web", "Serial": "ab:cd", "Rule": "r1", "Because": "matched r1",
    "Allowed": True, "PerRequest": False, "Fresh": False, "Age": 40.0,
}  # fmt: skip
BODY = {
    "Service": "db", "Identity": "spiffe://t/ns/default/dc/dc1/svc/db", "Serial": "12:34", "Roots": ["Consul CA 7"],
    "Listeners": [{"Name": "public", "Address": "0.0.0.0:21000", "Serial": "12:34"}], "Pid": 100,
    "Counters": {"inbound.conns": 3}, "Connections": [CONNECTION], "Closed": [CLOSED], "Refused": [REFUSED],
    "Decisions": [DECISION],
}  # fmt: skip


class ProxyApi(LocalApi):
    """With the reports of proxies, and managed proxies' tokens; ``asked`` are the other effects."""

    def __init__(self, tokens: dict[str, Authorizer] | None = None) -> None:
        agent = LocalAgent(policy=LocalPolicy(allow_managed_proxies=True))
        super().__init__(agent, tokens)
        self.managed = ManagedTokens(agent.state)
        self.api = Api(self.view, random.Random(1), proxies=self.managed)
        self.reports = ConnectReports(self.view.metrics, lambda: self.view.now)
        self.asked: list[Effect[Any]] = []

    def perform(self, effect: Effect[Any]) -> Any:
        match effect:
            case ReportProxy(report):
                return self.reports.take(report)
            case GetReports():
                return self.reports.live()
            case GetEnvoys():
                return [{"ProxyID": f"{name}-sidecar-proxy", "Service": name} for name in ("db", "web", "")]
            case GetLeaf() | GetRoots():
                self.asked.append(effect)
                raise AssertionError(effect)
        return super().perform(effect)

    def register(self, name: str, query: str = "", **connect: Any) -> None:
        body = {"Name": name, "Port": 80, "Token": f"{name}-token", "Connect": connect}
        assert self.put(REGISTER, query, body).status == 200


def answer(response: Response) -> tuple[int, str]:
    return response.status, response.body.decode()
