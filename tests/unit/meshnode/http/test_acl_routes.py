"""``/v1/acl`` over the real methods: what clients of 1.2.3 and of 1.4 send and get."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from meshnode.acl.authorizer import PermissionDeniedError
from meshnode.acl.model import ANONYMOUS_ACCESSOR, GLOBAL_MANAGEMENT_ID, AclNotFoundError
from meshnode.acl.resolve import AclSettings
from meshnode.base.errors import MeshError
from meshnode.http.effects import CallServer, ReadServer
from meshnode.http.errors import ServerCallError
from meshnode.http.message import Request, Response
from tests.support.acl_server import ON, AclServer
from tests.support.http_agent import FakeView, api_of

LEGACY_RULES = 'key "app/" { policy = "write" }'


class Agent:
    """An agent whose calls reach a server: refusals come back with Consul's prefix."""

    def __init__(self, settings: AclSettings | None = None) -> None:
        self.server = AclServer(settings) if settings is not None else AclServer()
        self.api = api_of()

    def perform(self, call: Any) -> Any:
        assert isinstance(call, CallServer)
        try:
            reply = self.server.call(call.method, dict(call.body), call.token)
        except MeshError as error:
            raise ServerCallError(str(error)) from None
        return {"Index": 7, **reply} if isinstance(call, ReadServer) else reply

    def ask(self, call: str, body: Any = None, token: str = "master", query: str = "") -> Response:
        method, path = call.split(" ")
        data = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        headers = [(b"x-consul-token", token.encode())]
        outcome = self.api.handle(Request(method, path, query, headers, data))
        if isinstance(outcome, Response):
            return outcome
        try:
            effect = next(outcome)  # type: ignore[arg-type]
            while True:
                try:
                    reply = self.perform(effect)
                except MeshError as error:
                    effect = outcome.throw(error)  # type: ignore[union-attr]
                else:
                    effect = outcome.send(reply)  # type: ignore[union-attr]
        except StopIteration as end:
            answer: Response = end.value
        return answer

    def json(self, call: str, body: Any = None, token: str = "master", query: str = "") -> Any:
        response = self.ask(call, body, token, query)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def refused(self, call: str, body: Any = None, token: str = "master") -> tuple[int, str]:
        response = self.ask(call, body, token)
        return response.status, response.body.decode()


@pytest.fixture
def agent() -> Agent:
    return Agent()


class AtOnce(FakeView):
    """A server that answers reads from memory, in the same step."""

    server: AclServer

    def read_now(self, query: Any) -> Any:
        return {"Index": 7, **self.server.call(query.method, dict(query.body), query.token)}


@pytest.mark.parametrize(
    ("settings", "token", "error", "status"),
    [
        (AclSettings(), "", None, 401),
        (ON, "", PermissionDeniedError, 403),
        (ON, "nope", AclNotFoundError, 403),
        (ON, "reader", None, 200),
    ],
)
def test_a_read_that_memory_answers_has_the_same_statuses(
    settings: AclSettings, token: str, error: type[Exception] | None, status: int
) -> None:
    view = AtOnce()
    view.server = AclServer(settings)
    headers = [(b"x-consul-token", token.encode())]
    answer = api_of(view).handle(Request("GET", "/v1/acl/policies", "", headers))
    assert isinstance(answer, Response)
    assert answer.status == status
    if error is not None:
        with pytest.raises(error, match=re.escape(answer.body.decode())):
            view.server.call("ACL.PolicyList", {}, token)


CALLS = [
    ("PUT /v1/acl/bootstrap", None),
    ("PUT /v1/acl/create", {}),
    ("PUT /v1/acl/update", {"ID": "x"}),
    ("PUT /v1/acl/destroy/x", None),
    ("GET /v1/acl/info/x", None),
    ("PUT /v1/acl/clone/x", None),
    ("GET /v1/acl/list", None),
    ("GET /v1/acl/replication", None),
    ("POST /v1/acl/rules/translate", ""),
    ("GET /v1/acl/rules/translate/x", None),
    ("GET /v1/acl/tokens", None),
    ("PUT /v1/acl/token", {}),
    ("GET /v1/acl/token/self", None),
    ("GET /v1/acl/token/x", None),
    ("PUT /v1/acl/token/x", {}),
    ("DELETE /v1/acl/token/x", None),
    ("PUT /v1/acl/token/x/clone", None),
    ("GET /v1/acl/policies", None),
    ("PUT /v1/acl/policy", {}),
    ("GET /v1/acl/policy/x", None),
    ("GET /v1/acl/policy/name/x", None),
    ("PUT /v1/acl/policy/x", {}),
    ("DELETE /v1/acl/policy/x", None),
    ("GET /v1/acl/roles", None),
    ("PUT /v1/acl/role", {}),
    ("GET /v1/acl/role/x", None),
    ("GET /v1/acl/role/name/x", None),
    ("PUT /v1/acl/role/x", {}),
    ("DELETE /v1/acl/role/x", None),
]


@pytest.mark.parametrize(("call", "body"), CALLS, ids=[call for call, _ in CALLS])
def test_every_route_says_401_while_access_control_is_off(call: str, body: Any) -> None:
    assert Agent(AclSettings()).refused(call, body) == (401, "ACL support disabled")


FREE = {"PUT /v1/acl/bootstrap", "GET /v1/acl/info/x", "GET /v1/acl/replication", "GET /v1/acl/token/self"}


@pytest.mark.parametrize(("call", "body"), CALLS, ids=[call for call, _ in CALLS])
def test_every_route_says_403_to_who_has_no_right_or_no_token(agent: Agent, call: str, body: Any) -> None:
    if call == "PUT /v1/acl/clone/x":
        agent.json("PUT /v1/acl/update", {"ID": "x"})
    if call not in FREE:
        status, text = agent.refused(call, body, token="")
        assert (status, text[: text.index(":", 25)]) == (403, "rpc error making call: Permission denied")
    assert agent.refused(call, body, token="nope") == (403, "rpc error making call: ACL not found")


# The API of 1.2.3


def test_a_client_of_1_2_3_goes_through_the_life_of_a_token(agent: Agent) -> None:
    made = agent.json("PUT /v1/acl/create", {"name": "app", "rules": LEGACY_RULES})
    assert list(made) == ["ID"]
    shown = agent.json(f"GET /v1/acl/info/{made['ID']}", token="")
    assert [(row["Name"], row["Type"], row["Rules"]) for row in shown] == [("app", "client", LEGACY_RULES)]
    assert agent.json("PUT /v1/acl/update", {"ID": made["ID"], "Name": "app2"}) == made
    clone = agent.json(f"PUT /v1/acl/clone/{made['ID']}")
    assert clone["ID"] != made["ID"]
    assert [row["Name"] for row in agent.json("GET /v1/acl/list")] == ["app2", "app2", "Anonymous Token"]
    assert agent.json(f"PUT /v1/acl/destroy/{made['ID']}") is True
    assert agent.json(f"GET /v1/acl/info/{made['ID']}") == []


def test_creating_needs_no_body(agent: Agent) -> None:
    made = agent.json("PUT /v1/acl/create")
    assert agent.json(f"GET /v1/acl/info/{made['ID']}")[0]["Type"] == "client"


def test_reads_have_an_index(agent: Agent) -> None:
    assert dict(agent.ask("GET /v1/acl/info/anonymous").headers)["X-Consul-Index"] == "7"


@pytest.mark.parametrize(
    ("call", "body", "status", "text"),
    [
        ("PUT /v1/acl/update", {"Name": "x"}, 400, "ACL ID must be set"),
        ("PUT /v1/acl/update", None, 400, "ACL ID must be set"),
        ("PUT /v1/acl/create", "{", 400, "Request decode failed: line 1, column 2"),
        ("PUT /v1/acl/create", {"Name": 7}, 400, "Request decode failed: Name: expected string, got number"),
        ("PUT /v1/acl/create", {"Type": "boss"}, 500, "Invalid ACL Type: write client or management"),
        ("PUT /v1/acl/create", {"Rules": "kye"}, 500, "ACL rule compilation failed: Rules:1:4"),
        ("PUT /v1/acl/destroy/", None, 400, "Missing ACL"),
        ("GET /v1/acl/info/", None, 400, "Missing ACL"),
        ("PUT /v1/acl/clone/", None, 400, "Missing ACL"),
        ("PUT /v1/acl/clone/gone", None, 404, "Target ACL not found"),
        ("PUT /v1/acl/destroy/anonymous", None, 403, "Permission denied: Cannot delete anonymous token"),
        ("GET /v1/acl/create", None, 405, "method GET not allowed"),
    ],
)
def test_a_wrong_legacy_call_is_refused_with_the_reason(
    agent: Agent, call: str, body: Any, status: int, text: str
) -> None:
    refused = agent.refused(call, body)
    assert refused[0] == status
    assert text in refused[1]


def test_replication_is_off_and_says_so(agent: Agent) -> None:
    zero = "0001-01-01T00:00:00Z"
    assert agent.json("GET /v1/acl/replication", token="") == {
        "Enabled": False, "Running": False, "SourceDatacenter": "dc1", "ReplicatedIndex": 0,
        "LastSuccess": zero, "LastError": zero,
    }  # fmt: skip


def test_the_first_token_suits_clients_of_both_apis_and_is_made_once(agent: Agent) -> None:
    made = agent.json("PUT /v1/acl/bootstrap", token="")
    assert made["ID"] == made["SecretID"]
    assert made["Policies"] == [{"ID": GLOBAL_MANAGEMENT_ID, "Name": "global-management"}]
    assert agent.json("GET /v1/acl/list", token=made["ID"])[0]["Type"] == "management"
    status, text = agent.refused("PUT /v1/acl/bootstrap", token="")
    assert status == 403
    assert re.fullmatch(
        r"Permission denied: ACL bootstrap no longer allowed \(reset index: [1-9][0-9]*\)", text
    )


# The API of 1.4


def test_a_client_of_1_4_goes_through_the_life_of_a_token(agent: Agent) -> None:
    policy = agent.json("PUT /v1/acl/policy", {"Name": "kv", "Rules": 'key "a" { policy = "read" }'})
    role = agent.json("PUT /v1/acl/role", {"Name": "role", "Policies": [{"Name": "kv"}]})
    form = {
        "description": "app",
        "policies": [{"name": "kv"}],
        "Roles": [{"ID": role["ID"]}],
        "ServiceIdentities": [{"ServiceName": "web"}],
        "ExpirationTTL": "1h",
    }
    made = agent.json("PUT /v1/acl/token", form)
    assert (made["Description"], made["Policies"]) == ("app", [{"ID": policy["ID"], "Name": "kv"}])
    assert (made["Roles"], made["ExpirationTime"]) == (
        [{"ID": role["ID"], "Name": "role"}],
        "2023-11-14T23:13:20Z",
    )
    path = f"/v1/acl/token/{made['AccessorID']}"
    assert agent.json(f"GET {path}") == made
    assert agent.json(f"GET {path}", token="reader") == {**made, "SecretID": "<hidden>"}
    assert agent.json("GET /v1/acl/token/self", token=made["SecretID"]) == made
    assert [row["AccessorID"] for row in agent.json("GET /v1/acl/tokens", query=f"role={role['ID']}")] == [
        made["AccessorID"]
    ]
    changed = agent.json(f"PUT {path}", {"Description": "other"})
    assert (changed["Description"], changed["SecretID"], changed["Policies"]) == (
        "other",
        made["SecretID"],
        [],
    )
    clone = agent.json(f"PUT {path}/clone", {"Description": "copy"})
    assert (clone["Description"], clone["AccessorID"] == made["AccessorID"]) == ("copy", False)
    assert agent.json(f"PUT {path}/clone")["Description"] == "other"
    assert agent.json(f"DELETE {path}") is True
    assert agent.refused(f"GET {path}") == (403, "rpc error making call: ACL not found")


def test_the_token_of_nobody_is_the_anonymous_one(agent: Agent) -> None:
    assert agent.json("GET /v1/acl/token/self", token="")["AccessorID"] == ANONYMOUS_ACCESSOR


def test_the_master_token_can_be_read_by_itself(agent: Agent) -> None:
    assert agent.json("GET /v1/acl/token/self", token="master")["SecretID"] == "master"


def test_policies_and_roles_are_found_by_id_and_by_name(agent: Agent) -> None:
    for kind, plural, extra in (("policy", "policies", {"Rules": 'acl = "read"'}), ("role", "roles", {})):
        made = agent.json(f"PUT /v1/acl/{kind}", {"Name": "n", **extra})
        assert agent.json(f"GET /v1/acl/{kind}/{made['ID']}") == made
        assert agent.json(f"GET /v1/acl/{kind}/name/n") == made
        shown = next(row for row in agent.json(f"GET /v1/acl/{plural}") if row["ID"] == made["ID"])
        assert shown == {name: value for name, value in made.items() if name != "Rules"}
        changed = agent.json(f"PUT /v1/acl/{kind}/{made['ID']}", {"Name": "m"})
        assert (changed["ID"], changed["Name"]) == (made["ID"], "m")
        assert agent.json(f"DELETE /v1/acl/{kind}/{made['ID']}") is True
        status, text = agent.refused(f"GET /v1/acl/{kind}/name/m")
        assert (status, text) == (
            403,
            f"rpc error making call: ACL not found: there is no {kind} with name 'm'",
        )


@pytest.mark.parametrize(
    ("call", "body", "status", "text"),
    [
        ("PUT /v1/acl/token", None, 400, "Request decode failed: the body is empty"),
        ("PUT /v1/acl/token", [], 400, "Request decode failed: expected object, got list"),
        ("PUT /v1/acl/token", {"Policies": [7]}, 400, "Policies[0]: expected object, got number"),
        ("PUT /v1/acl/token", {"ExpirationTTL": "soon"}, 400, 'ExpirationTTL: "soon" is not a duration'),
        ("PUT /v1/acl/token", {"ExpirationTTL": "1s"}, 500, "expiration time must be from 1m0s to 24h0m0s"),
        (
            "PUT /v1/acl/token/a",
            {"AccessorID": "b"},
            400,
            "Token Accessor ID in URL and payload do not match",
        ),
        ("PUT /v1/acl/token/a", {}, 500, "Cannot find token 'a'"),
        ("GET /v1/acl/token/", None, 400, "Missing token AccessorID"),
        (
            "PUT /v1/acl/policy",
            {"ID": "a", "Name": "b"},
            400,
            "Cannot specify the ID when creating a new policy",
        ),
        ("PUT /v1/acl/policy", {"Name": "b", "Rules": "x"}, 500, "Invalid Policy: Rules:1:2"),
        ("PUT /v1/acl/policy/a", {"ID": "b"}, 400, "Policy ID in URL and payload do not match"),
        ("DELETE /v1/acl/policy/", None, 400, "Missing policy ID"),
        ("GET /v1/acl/policy/name/", None, 400, "Missing policy Name"),
        ("PUT /v1/acl/role", {"ID": "a", "Name": "b"}, 400, "Cannot specify the ID when creating a new role"),
        ("PUT /v1/acl/role/a", {"ID": "b"}, 400, "Role ID in URL and payload do not match"),
        (
            "POST /v1/acl/rules/translate",
            "x = 1",
            400,
            "Failed to translate the rules: Rules:1:1: no rule is called",
        ),
        ("POST /v1/acl/token", {}, 405, "method POST not allowed"),
    ],
)
def test_a_wrong_call_is_refused_with_the_reason(
    agent: Agent, call: str, body: Any, status: int, text: str
) -> None:
    refused = agent.refused(call, body)
    assert refused[0] == status
    assert text in refused[1]


def test_legacy_rules_are_translated_as_text_and_for_a_token(agent: Agent) -> None:
    translated = 'key_prefix "app/" { policy = "write" }'
    response = agent.ask("POST /v1/acl/rules/translate", LEGACY_RULES)
    assert (response.body.decode(), response.content_type) == (translated, "text/plain; charset=utf-8")
    secret = agent.json("PUT /v1/acl/create", {"Rules": LEGACY_RULES})["ID"]
    accessor = agent.json("GET /v1/acl/token/self", token=secret)["AccessorID"]
    assert agent.ask(f"GET /v1/acl/rules/translate/{accessor}").body.decode() == translated


@pytest.mark.parametrize(("call", "body"), CALLS, ids=[call for call, _ in CALLS])
@pytest.mark.parametrize("junk", ["[", "[]", "7", '"x"', "null", '{"Policies": {}}', '{"ID": []}', "\x00"])
def test_junk_never_ends_in_anything_but_an_answer(agent: Agent, call: str, body: Any, junk: str) -> None:
    del body
    assert agent.ask(call, junk).status in {200, 400, 403, 404, 500}
