"""``/v1/connect/ca`` and ``/v1/agent/connect``: shapes, statuses, headers, and who may connect."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.connect.leaf import Leaf, TrustBundle, TrustedRoot
from meshnode.connect.model import CaConfig, CaRoot, CaState, NodeTrust, RootKey
from meshnode.control.command import ConnectCaSet, ConnectReport
from meshnode.http.api import Api
from meshnode.http.connect_effects import GetCertificates, GetLeaf, GetRoots
from meshnode.http.effects import CallServer, ReadServer, ResolveToken
from meshnode.http.message import Request, Response
from tests.support.http_agent import FakeView
from tests.support.state_api import Grants, StateApi, json_of

DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
WEB = f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web"
ROOT = CaRoot("ab:cd", "Consul CA 1", 7, "ef", 0.0, 86_400.0, "-----BEGIN", active=True)
SETTINGS = {"LeafCertTTL": "72h", "PrivateKey": "hidden", "RotationPeriod": "2160h"}
CA = CaState(
    CaConfig(DOMAIN.removesuffix(".consul"), settings=SETTINGS), (ROOT,), (RootKey("ab:cd", "SECRET"),)
)
BUNDLE = TrustBundle(
    DOMAIN,
    "ab:cd",
    (TrustedRoot("ab:cd", "pem", {"ID": "ab:cd"}),),
    frozenset({"66:66"}),
    9,
    frozenset({"ef:01"}),
)
LEAF = Leaf("web", WEB, "1f:02", "CERT", "KEY", 0.0, 3600.0, "ab:cd", 12)


@pytest.fixture(params=[False, True], ids=["server", "client"])
def state(request: pytest.FixtureRequest) -> StateApi:
    api = StateApi(client=request.param)
    api.machine.apply(4, ConnectCaSet(CA, 0))
    return api


def test_roots_are_shown_as_consul_shows_them(state: StateApi) -> None:
    response = state.get("/v1/connect/ca/roots")
    assert ("X-Consul-Index", "4") in response.headers
    assert json_of(response) == {
        "ActiveRootID": "ab:cd",
        "TrustDomain": DOMAIN,
        "Roots": [
            {
                "ID": "ab:cd", "Name": "Consul CA 1", "SerialNumber": 7, "SigningKeyID": "ef",
                "NotBefore": "1970-01-01T00:00:00Z", "NotAfter": "1970-01-02T00:00:00Z",
                "RootCert": "-----BEGIN", "IntermediateCerts": None, "Active": True,
                "CreateIndex": 4, "ModifyIndex": 4,
            }
        ],
    }  # fmt: skip


def test_settings_are_shown_without_secrets_and_with_an_index(state: StateApi) -> None:
    response = state.get("/v1/connect/ca/configuration")
    assert ("X-Consul-Index", "4") in response.headers
    assert json_of(response) == {"Provider": "consul", "Config": SETTINGS, "CreateIndex": 4, "ModifyIndex": 4}
    assert b"SECRET" not in response.body


def test_a_read_of_the_roots_blocks_until_they_change(state: StateApi) -> None:
    blocked = state.blocked("/v1/connect/ca/roots?index=4&wait=10s")
    state.put("/v1/kv/a", b"1")
    assert blocked.answer is None
    assert state.put("/v1/connect/ca/revoke", {"SerialNumber": "1F:02", "Reason": "lost"}).status == 200
    assert blocked.answer is not None


@pytest.mark.parametrize("serial", ["", "x", "1f;02", "a" * 65])
def test_a_serial_number_to_revoke_must_be_one(state: StateApi, serial: str) -> None:
    response = state.put("/v1/connect/ca/revoke", {"SerialNumber": serial})
    assert (response.status, b"SerialNumber must be" in response.body) == (500, True)


def test_the_rotation_is_told_with_each_nodes_part(state: StateApi) -> None:
    state.machine.apply(5, ConnectReport(NodeTrust("n1", ("ab:cd",), ("ab:cd",))))
    shown = state.json("/v1/connect/ca/rotation")
    assert (shown["Phase"], shown["Nodes"]) == (
        "",
        [{"Node": "n1", "Alive": False, "Roots": ["ab:cd"], "LeafRoots": ["ab:cd"]}],
    )
    assert (shown["Status"], shown["Waiting"], shown["RetiresBy"]) == ("no rotation is running", [], "")
    assert {"ActiveRoot", "ActiveRootEnds"} <= shown.keys()


def test_a_report_ends_the_wait_for_a_change_of_the_rotation(state: StateApi) -> None:
    blocked = state.blocked("/v1/connect/ca/rotation?index=4&wait=1m")
    state.put("/v1/kv/a", b"1")
    assert blocked.answer is None
    state.apply(ConnectReport(NodeTrust("n1", ("ab:cd",))))
    assert blocked.answer is not None
    assert b'"n1"' in blocked.answer.body


def test_without_a_ca_every_route_says_that_connect_is_off() -> None:
    api = StateApi()
    for path in ("roots", "configuration", "rotation"):
        response = api.get(f"/v1/connect/ca/{path}")
        assert (
            response.status,
            b"Connect must be enabled in order to use this endpoint" in response.body,
        ) == (
            500,
            True,
        )


def test_settings_need_operator_read_and_roots_need_nothing(state: StateApi) -> None:
    state.tokens = {"": Grants.of(), "reader": Grants.of("operator::read")}
    assert state.get("/v1/connect/ca/roots").status == 200
    assert state.get("/v1/connect/ca/configuration").status == 403
    assert state.get("/v1/connect/ca/configuration", token="reader").status == 200
    assert state.put("/v1/connect/ca/revoke", {"SerialNumber": "1f"}, token="reader").status == 403


class Agent:
    """The routes with the outcomes of their effects given."""

    def __init__(
        self, *, rights: Authorizer | None = None, allowed: bool = True, reason: str = "why"
    ) -> None:
        self.view = FakeView(acl_enabled=rights is not None)
        self.asked: list[Any] = []
        self.rights = rights or ALLOW_ALL
        self.check: dict[str, Any] = {"Allowed": allowed, "Explain": {"Reason": reason}}
        self.leaf: Any = (LEAF, False)
        self.api = Api(self.view, random.Random(1))

    def request(self, method: str, path: str, body: Any = None) -> Response:
        plain, _, query = path.partition("?")
        data = b"" if body is None else json.dumps(body).encode()
        steps: Any = self.api.handle(Request(method, plain, query, [(b"x-consul-token", b"t")], data))
        if isinstance(steps, Response):
            return steps
        try:
            effect = next(steps)
            while True:
                self.asked.append(effect)
                outcome = self._outcome(effect)
                if isinstance(outcome, Exception):
                    effect = steps.throw(outcome)
                else:
                    effect = steps.send(outcome)
        except StopIteration as end:
            answer: Response = end.value
            return answer

    def _outcome(self, effect: Any) -> Any:
        match effect:
            case GetRoots():
                return BUNDLE, True
            case GetLeaf():
                return self.leaf
            case GetCertificates():
                return [{"Kind": "root"}]
            case ResolveToken():
                return self.rights
            case ReadServer("Intention.Check"):
                return self.check
            case CallServer():
                return {"Plan": ["step"]}
        raise AssertionError(effect)

    def authorize(self, uri: str, serial: str = "1f:02", target: str = "db") -> Any:
        body = {"Target": target, "ClientCertURI": uri, "ClientCertSerial": serial}
        response = self.request("POST", "/v1/agent/connect/authorize", body)
        assert response.status == 200, response.body
        return json_of(response)


def verdict(allowed: bool, reason: str) -> dict[str, Any]:
    """The answer where no intention decided."""
    return {"Authorized": allowed, "Reason": reason, "Audited": False, "IntentionID": ""}


def test_a_leaf_is_shown_with_its_key_and_where_it_came_from() -> None:
    agent = Agent()
    response = agent.request("GET", "/v1/agent/connect/ca/leaf/web?index=11&wait=3s")
    assert json_of(response) == {
        "SerialNumber": "1f:02", "CertPEM": "CERT", "PrivateKeyPEM": "KEY", "Service": "web", "ServiceURI": WEB,
        "ValidAfter": "1970-01-01T00:00:00Z", "ValidBefore": "1970-01-01T01:00:00Z",
        "CreateIndex": 12, "ModifyIndex": 12,
    }  # fmt: skip
    assert ("X-Cache", "MISS") in response.headers
    assert ("X-Consul-Index", "12") in response.headers
    (asked,) = agent.asked
    assert (asked.service, asked.token, asked.index) == ("web", "t", 11)
    assert 3.0 <= asked.timeout <= 3.2
    agent.leaf = (LEAF, True)
    assert ("X-Cache", "HIT") in agent.request("GET", "/v1/agent/connect/ca/leaf/web").headers


def test_a_leaf_is_for_who_may_write_the_service_although_it_is_here() -> None:
    agent = Agent(rights=Grants.of("service:web:read"))
    assert agent.request("GET", "/v1/agent/connect/ca/leaf/web").status == 403
    assert not any(isinstance(effect, GetLeaf) for effect in agent.asked)
    agent.rights = Grants.of("service:web:write")
    assert agent.request("GET", "/v1/agent/connect/ca/leaf/web").status == 200


@pytest.mark.parametrize(
    ("error", "status"), [(MeshError("No known Consul servers"), 500), (RemoteProtocolError("bad name"), 400)]
)
def test_a_leaf_that_can_not_be_had_is_an_error(error: MeshError, status: int) -> None:
    agent = Agent()
    agent.leaf = error
    response = agent.request("GET", "/v1/agent/connect/ca/leaf/web")
    assert (response.status, str(error).encode() in response.body) == (status, True)
    assert agent.request("GET", "/v1/agent/connect/ca/leaf/").status == 400


def test_the_agents_roots_come_from_its_cache() -> None:
    response = Agent().request("GET", "/v1/agent/connect/ca/roots")
    assert json_of(response) == {
        "ActiveRootID": "ab:cd",
        "TrustDomain": DOMAIN,
        "Roots": [{"ID": "ab:cd"}],
        "RevokedSerialNumbers": ["66:66"],
        "DistrustedRootIDs": ["ef:01"],
    }
    assert ("X-Cache", "HIT") in response.headers
    assert ("X-Consul-Index", "9") in response.headers


def test_all_certificates_are_for_who_may_read_the_agent() -> None:
    assert json_of(Agent().request("GET", "/v1/agent/certs")) == [{"Kind": "root"}]
    assert Agent(rights=Grants.of()).request("GET", "/v1/agent/certs").status == 403


def test_settings_are_sent_to_the_leader_and_a_dry_run_answers_with_the_steps() -> None:
    agent = Agent()
    body = {"provider": "consul", "Config": {"LeafCertTTL": "1h"}}
    response = agent.request("PUT", "/v1/connect/ca/configuration", body)
    assert (response.status, response.body) == (200, b"")
    dry = agent.request("PUT", "/v1/connect/ca/configuration?dry-run", body)
    assert json_of(dry) == {"Plan": ["step"]}
    first, second = agent.asked
    assert first.method == "ConnectCA.ConfigurationSet"
    assert first.body == {"Config": {"Provider": "consul", "Config": {"LeafCertTTL": "1h"}}}
    assert second.body == {**first.body, "DryRun": True}
    assert agent.request("PUT", "/v1/connect/ca/configuration", {"Config": []}).status == 400
    assert agent.request("PUT", "/v1/connect/ca/rotation", {"Action": "start", "Force": True}).status == 200
    assert agent.asked[-1].body == {"Action": "start", "Force": True, "Paused": False}


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "Client ID must be a URI: it is empty"),
        ("%", "Client ID must be a URI: '%' has a %"),
        ("http://web", "Invalid client ID: SPIFFE ID must have 'spiffe' scheme"),
        (f"spiffe://{DOMAIN}/x", "Invalid client ID: SPIFFE ID is not in the expected format"),
        (f"spiffe://{DOMAIN}", "Client ID must be a valid SPIFFE service URI"),
        (f"spiffe://{DOMAIN}/agent/client/dc/dc1/id/n", "Client ID must be a valid SPIFFE service URI"),
        (
            "spiffe://other.consul/ns/default/dc/dc1/svc/web",
            "Identity from an external trust domain: other.consul",
        ),
    ],
)
def test_whoever_is_not_a_service_of_this_trust_domain_is_refused_before_anybody_decides(
    uri: str, reason: str
) -> None:
    agent = Agent()
    verdict = agent.authorize(uri)
    assert verdict["Authorized"] is False
    assert verdict["Reason"].startswith(reason)
    assert not any(isinstance(effect, CallServer) for effect in agent.asked)


def test_a_revoked_certificate_is_refused_whatever_the_intentions_say() -> None:
    assert Agent().authorize(WEB, "66:66") == verdict(False, "Certificate 66:66 is revoked")


@pytest.mark.parametrize("allowed", [False, True])
def test_about_all_others_the_intentions_decide(*, allowed: bool) -> None:
    agent = Agent(allowed=allowed, reason="Matched intention: x")
    assert agent.authorize(WEB) == verdict(allowed, "Matched intention: x")
    assert agent.asked[-1].body == {
        "Check": {
            "SourceNS": "default", "SourceName": "web", "DestinationNS": "default", "DestinationName": "db",
        }
    }  # fmt: skip
    assert agent.asked[-1].token == "t"


def test_a_server_that_thinks_that_acls_are_off_does_not_open_an_agent_that_has_them_on() -> None:
    off = "ACLs disabled, access is allowed by default"
    assert Agent(reason=off).authorize(WEB) == verdict(True, off)
    guarded = Agent(rights=Grants.of("service:db:write"), reason=off)
    assert guarded.authorize(WEB) == verdict(False, "Default behavior configured by ACLs")


def test_which_intention_decided_and_whether_it_only_audits_are_fields_of_their_own() -> None:
    agent = Agent(reason="Matched intention: x")
    agent.check["Explain"].update(Audited=True, IntentionID="12-ab")
    assert agent.authorize(WEB) == {
        **verdict(True, "Matched intention: x"),
        "Audited": True,
        "IntentionID": "12-ab",
    }
    agent.check = {"Allowed": True}
    assert agent.authorize(WEB) == verdict(True, ""), "an old server explains nothing"


def test_authorize_needs_a_target_and_the_right_to_write_it() -> None:
    agent = Agent(rights=Grants.of("service:web:write"))
    response = agent.request("POST", "/v1/agent/connect/authorize", {"ClientCertURI": WEB})
    assert (response.status, response.body) == (400, b"Target service must be specified")
    body = {"Target": "db", "ClientCertURI": WEB}
    assert agent.request("POST", "/v1/agent/connect/authorize", body).status == 403
