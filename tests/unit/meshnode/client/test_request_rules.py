"""Rules about requests out of the agent's explanation: taken when both answers agree, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.client.agent import AgentClient
from meshnode.client.mesh import AgentAuthorizer
from meshnode.client.request_rules import with_rules
from meshnode.client.settings import ApiSettings
from meshnode.intentions.model import ServiceName
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.proxy.contexts import make_contexts
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Ca
from tests.support.scripted_agent import Asked, Reply, reply, scripted_agent

WEB, API = ServiceName("web"), ServiceName("api")
REASON = "Matched intention: 1 permission default/web => default/api (ID: i-1, Precedence: 9)"
DENIED = Decision(False, REASON)


def row(**changes: Any) -> dict[str, Any]:
    return {
        "ID": "i-1",
        "SourceNS": "default",
        "SourceName": "web",
        "DestinationNS": "default",
        "DestinationName": "api",
        "SourceType": "consul",
        "Action": "",
        "Permissions": [{"Action": "allow", "HTTP": {"PathPrefix": "/v1/", "Methods": ["GET"]}}],
        **changes,
    }


def explained(**changes: Any) -> dict[str, Any]:
    other = row(ID="i-2", SourceName="*", Permissions=None, Action="allow")
    return {
        "Reason": REASON,
        "IntentionID": "i-1",
        "Candidates": [row(), other],
        "Default": {"Allowed": False, "Reason": "the default"},
        **changes,
    }


def judged(answer: Any, path: str, method: str = "GET") -> bool:
    rules = with_rules(DENIED, answer, WEB, API).requests
    assert rules is not None
    return rules.judge(method, path, ()).allowed


def test_permissions_decide_and_where_none_fits_the_default_does() -> None:
    assert judged(explained(), "/v1/a")
    assert not judged(explained(), "/v1/a", "POST")
    assert not judged(explained(), "/x")
    assert judged(explained(Default={"Allowed": True, "Reason": "yes"}), "/x")


def test_the_decision_about_a_connection_stays_and_the_rule_is_named() -> None:
    found = with_rules(DENIED, explained(), WEB, API)
    assert (found.allowed, found.rule) == (False, "i-1")


def test_an_audit_lets_through_and_says_so() -> None:
    rules = with_rules(DENIED, explained(Candidates=[row(Audit=True)]), WEB, API).requests
    assert rules is not None
    found = rules.judge("GET", "/x", ())
    assert (found.allowed, found.audited) == (True, True)


@pytest.mark.parametrize(
    "answer",
    [
        explained(Reason="Certificate ab:cd is revoked"),
        explained(IntentionID=""),
        explained(IntentionID="i-3"),
        explained(Candidates=[]),
        explained(Candidates=[row(Permissions=[])]),
    ],
)
def test_what_something_else_decided_gets_no_rules(answer: dict[str, Any]) -> None:
    assert with_rules(DENIED, answer, WEB, API) == DENIED


@pytest.mark.parametrize(
    "answer",
    [
        [],
        explained(Default=None),
        explained(Candidates=[row(Permissions="all")]),
        explained(Candidates=[row(Permissions=["all"])]),
        explained(Candidates=[row(Permissions=[{"Action": "allow", "HTTP": {"PathGlob": "/*"}}])]),
        explained(Candidates=[row(SourceName=5)]),
    ],
)
def test_what_can_not_be_read_is_an_error_and_no_permission(answer: Any) -> None:
    with pytest.raises(MeshError):
        with_rules(DENIED, answer, WEB, API)


async def asked(status: int) -> Decision:
    """What the authorizer says when the agent explains with that status."""

    async def agent(question: Asked) -> Reply:
        if question.path == "/v1/agent/connect/authorize":
            return reply({"Authorized": False, "Reason": REASON})
        assert question.path == "/v1/connect/intentions/explain"
        assert dict(question.query) == {"source": "web", "destination": "api"}
        return reply(explained(), status=status)

    async with scripted_agent(agent) as scripted:
        client = AgentClient(ApiSettings(address=scripted.address))
        try:
            return await AgentAuthorizer(client, "api").decide_requests(
                make_contexts(Ca().leaf("web")).identity
            )
        finally:
            await client.close()


@asynchronous
async def test_the_agent_is_asked_for_both_answers() -> None:
    found = await asked(200)
    assert found.requests is not None
    assert found.requests.judge("GET", "/v1/a", ()).allowed


@asynchronous
async def test_an_agent_that_does_not_explain_leaves_it_at_the_connection() -> None:
    for status in (403, 404, 405):
        found = await asked(status)
        assert (found.allowed, found.requests) == (False, None)


@asynchronous
async def test_an_agent_in_trouble_is_no_answer() -> None:
    with pytest.raises(MeshError):
        await asked(500)
