"""``/v1/operator/raft`` and ``/v1/operator/autopilot``: shapes, statuses, what is refused before a server is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.base.errors import MeshError
from meshnode.control.endpoints.operator import ServerHealth, health_fields, raft_server
from meshnode.control.server_health import LogStats
from meshnode.http.errors import ServerCallError
from tests.support.state_api import Grants, StateApi, json_of
from tests.unit.meshnode.control.test_server_health import peer

CONFIGURATION = "/v1/operator/autopilot/configuration"
DEFAULTS = {
    "CleanupDeadServers": True, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250,
    "ServerStabilizationTime": "10s", "RedundancyZoneTag": "", "DisableUpgradeMigration": False,
    "UpgradeVersionTag": "", "CreateIndex": 0, "ModifyIndex": 0,
}  # fmt: skip


class OperatorApi(StateApi):
    """``replies``: what the leader answers, by method; an exception is raised."""

    def __init__(self, **replies: Any) -> None:
        super().__init__()
        self.replies = {f"Operator.{name}": reply for name, reply in replies.items()}

    def _perform(self, effect: Any) -> Any:
        if effect.method not in self.replies:
            return super()._perform(effect)
        self.calls.append(effect)
        reply = self.replies[effect.method]
        if isinstance(reply, MeshError):
            raise reply
        return reply


# The servers


def test_the_configuration_is_what_the_server_says() -> None:
    servers = [raft_server(peer(1, leads=True)), raft_server(peer(2, voter=False))]
    api = OperatorApi(RaftGetConfiguration={"Servers": servers, "Index": 22, "KnownLeader": True})
    assert api.json("/v1/operator/raft/configuration?stale&dc=dc2") == {"Servers": servers, "Index": 22}
    assert (api.calls[0].body, api.calls[0].datacenter) == ({"AllowStale": True}, "dc2")


def test_a_read_can_not_be_stale_and_consistent() -> None:
    for path in ("raft/configuration", "autopilot/health", "autopilot/configuration"):
        answer = OperatorApi().get(f"/v1/operator/{path}?stale&consistent")
        assert (answer.status, b"Cannot specify ?stale with ?consistent" in answer.body) == (400, True)


@pytest.mark.parametrize(
    ("query", "method", "body"),
    [
        ("id=id1", "RaftRemovePeerByID", {"ID": "id1"}),
        ("address=10.0.0.1:8300", "RaftRemovePeerByAddress", {"Address": "10.0.0.1:8300"}),
    ],
)
def test_a_peer_is_removed_by_id_or_address(query: str, method: str, body: Any) -> None:
    api = OperatorApi(**{method: None})
    answer = api.delete(f"/v1/operator/raft/peer?{query}", token="t")
    assert (answer.status, answer.body) == (200, b"")
    assert (api.calls[0].body, api.calls[0].token) == (body, "t")


@pytest.mark.parametrize(
    ("query", "because"),
    [
        ("", b"Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"),
        ("?dc=dc1", b"Must specify either ?id"),
        ("?id=a&address=b", b"Must specify only one of ?id or ?address"),
        ("?id", b"?id is empty"),
        ("?address=", b"?address is empty"),
    ],
)
def test_exactly_one_name_of_a_peer_is_taken(query: str, because: bytes) -> None:
    api = OperatorApi()
    answer = api.delete(f"/v1/operator/raft/peer{query}")
    assert (answer.status, answer.body[: len(because)], api.calls) == (400, because, [])


def test_an_unknown_peer_is_an_error_of_the_server() -> None:
    api = OperatorApi(RaftRemovePeerByID=ServerCallError('id "x" was not found in the Raft configuration'))
    answer = api.delete("/v1/operator/raft/peer?id=x")
    assert answer.status == 500
    assert answer.body == b'rpc error making call: id "x" was not found in the Raft configuration'


@pytest.mark.parametrize(("query", "wanted"), [("", ""), ("?id=id2", "id2"), ("?id=", "")])
def test_leadership_is_handed_on(query: str, wanted: str) -> None:
    api = OperatorApi(TransferLeader={"Success": True})
    answer = api.post(f"/v1/operator/raft/transfer-leader{query}")
    assert (answer.status, json_of(answer), api.calls[0].body) == (200, {"Success": True}, {"ID": wanted})


# The settings of Autopilot


@pytest.mark.parametrize("client", [False, True])
def test_the_settings_are_consuls_defaults_in_consuls_order(client: bool) -> None:
    answer = StateApi(client=client).get(CONFIGURATION)
    assert answer.body.decode() == json.dumps(DEFAULTS, separators=(",", ":"))
    assert dict(answer.headers)["X-Consul-Index"] == "1"


def test_what_is_set_is_read_and_what_is_missing_is_the_default() -> None:
    api = StateApi()
    body = {"cleanupdeadservers": False, "LastContactThreshold": "1.5s", "Other": 1}
    answer = api.put(CONFIGURATION, body)
    assert (answer.status, json_of(answer)) == (200, True)
    changed = {
        "CleanupDeadServers": False,
        "LastContactThreshold": "1.5s",
        "CreateIndex": 1,
        "ModifyIndex": 1,
    }
    assert api.json(CONFIGURATION) == DEFAULTS | changed
    api.put(CONFIGURATION, {"LastContactThreshold": 300_000_000})
    assert api.json(CONFIGURATION) == DEFAULTS | {
        "LastContactThreshold": "300ms", "CreateIndex": 1, "ModifyIndex": 2,
    }  # fmt: skip


def test_what_was_read_may_be_put_back_as_the_command_line_does() -> None:
    api = StateApi()
    known = api.json(CONFIGURATION) | {"MaxTrailingLogs": 9}
    assert json_of(api.put(f"{CONFIGURATION}?cas={known['ModifyIndex']}", known)) is True
    assert json_of(api.put(f"{CONFIGURATION}?cas={known['ModifyIndex']}", known)) is False
    assert api.json(CONFIGURATION)["MaxTrailingLogs"] == 9


def test_a_reader_that_waits_hears_of_a_change() -> None:
    api = StateApi()
    api.put(CONFIGURATION, {})
    waiting = api.blocked(f"{CONFIGURATION}?index=1")
    api.put("/v1/kv/a", b"1")
    answers = [waiting.answer]
    api.put(CONFIGURATION, {"MaxTrailingLogs": 7})
    answers.append(waiting.answer)
    assert answers[0] is None
    assert answers[1] is not None
    assert json_of(answers[1])["MaxTrailingLogs"] == 7


@pytest.mark.parametrize(
    ("body", "because"),
    [
        (b"", "Request decode failed: the body is empty"),
        (b"[]", "Request decode failed: expected object"),
        (b"{", "Request decode failed: line 1"),
        ({"MaxTrailingLogs": "9"}, "Request decode failed: MaxTrailingLogs: expected number, got string"),
        ({"MaxTrailingLogs": -9}, "MaxTrailingLogs must not be negative"),
        ({"MaxTrailingLogs": 2**64}, "Request decode failed: MaxTrailingLogs: expected a whole number"),
        (
            {"LastContactThreshold": "soon"},
            'Request decode failed: LastContactThreshold: "soon" is not a duration',
        ),
        ({"LastContactThreshold": "-1s"}, "LastContactThreshold must not be negative"),
        ({"ServerStabilizationTime": "5s"}, "ServerStabilizationTime must stay 10s"),
        ({"RedundancyZoneTag": "z"}, "RedundancyZoneTag must stay empty"),
    ],
)
def test_bad_settings_are_refused_with_the_name_of_the_field(body: Any, because: str) -> None:
    api = StateApi()
    answer = api.put(CONFIGURATION, body)
    assert (answer.status, api.calls) == (400, [])
    assert answer.body.decode().startswith(f"Error parsing autopilot config: {because}")


@pytest.mark.parametrize("cas", ["", "x", "-1", "1.5", "99999999999999999999999", "18446744073709551616"])
def test_a_bad_index_is_refused(cas: str) -> None:
    answer = StateApi().put(f"{CONFIGURATION}?cas={cas}", {})
    assert (answer.status, answer.body[:26]) == (400, b"Error parsing cas value: '")


def test_who_may_read_and_who_may_write() -> None:
    api = StateApi(
        tokens={
            "": Grants(), "r": Grants.of("operator::read"), "w": Grants.of("operator::write"), "all": ALLOW_ALL,
        }
    )  # fmt: skip
    reads = [api.get(CONFIGURATION, token=token).status for token in ("", "r", "w", "all")]
    writes = [api.put(CONFIGURATION, {}, token=token).status for token in ("", "r", "w", "all")]
    assert (reads, writes) == ([403, 200, 200, 200], [403, 403, 200, 200])


# Health


@pytest.mark.parametrize(("well", "status"), [(True, 200), (False, 429)])
def test_the_health_of_each_server_and_429_when_one_is_not_well(well: bool, status: int) -> None:
    servers = [
        ServerHealth(peer(1, leads=True), LogStats(0.0, 3, 40), True, 0.0),
        ServerHealth(peer(2), LogStats(0.0012, 3, 39) if well else None, well, 60.0),
    ]
    answer = OperatorApi(ServerHealth=health_fields(servers, 1)).get("/v1/operator/autopilot/health")
    report = json_of(answer)
    assert (answer.status, list(report)) == (status, ["Healthy", "FailureTolerance", "Servers"])
    assert (report["Healthy"], report["FailureTolerance"]) == (well, 1)
    assert [server["LastContact"] for server in report["Servers"]] == ["0s", "1.2ms" if well else "-1ns"]
    assert report["Servers"][1]["StableSince"] == "1970-01-01T00:01:00Z"
    assert list(report["Servers"][0]) == [
        "ID", "Name", "Address", "SerfStatus", "Version", "Leader", "LastContact", "LastTerm", "LastIndex",
        "Healthy", "Voter", "StableSince",
    ]  # fmt: skip


def test_without_a_leader_nobody_knows() -> None:
    answer = OperatorApi(ServerHealth=ServerCallError("No cluster leader")).get(
        "/v1/operator/autopilot/health"
    )
    assert (answer.status, answer.body) == (500, b"rpc error making call: No cluster leader")
