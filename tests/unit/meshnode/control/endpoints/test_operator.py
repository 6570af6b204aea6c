"""The shapes of ``Operator.*``, there and back, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.acl.authorizer import PermissionDeniedError
from meshnode.control.autopilot import AutopilotConfig
from meshnode.control.command import AutopilotSet
from meshnode.control.endpoints.operator import (
    METHODS,
    ServerHealth,
    autopilot_config,
    autopilot_fields,
    find_peer,
    health_fields,
    parse_stats,
    raft_server,
    refuse_removal,
    stats_fields,
)
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod
from meshnode.control.server_health import LogStats
from meshnode.rpc.method import RpcError
from tests.support.state_api import Grants
from tests.unit.meshnode.control.test_server_health import peer

MOMENT = Moment(0.0, lambda: "id")
configs = st.builds(
    AutopilotConfig,
    last_contact_threshold=st.integers(0, 10**15).map(lambda n: n / 1e9),
    max_trailing_logs=st.integers(0, 2**63 - 1),
    create_index=st.integers(0, 2**63),
    modify_index=st.integers(0, 2**63),
)


def get(body: Any, *rules: str) -> Any:
    method = METHODS["Operator.AutopilotGetConfiguration"]
    assert isinstance(method, ReadMethod)
    assert method.watches(body) == (("autopilot",),)
    return method.read(StateMachine(), body, Grants.of(*rules))


def plan(body: Any, *rules: str) -> Any:
    method = METHODS["Operator.AutopilotSetConfiguration"]
    assert isinstance(method, WriteMethod)
    return method.plan(StateMachine(), body, Grants.of(*rules), MOMENT)


@given(configs)
def test_settings_survive_the_way_through_consuls_struct(config: AutopilotConfig) -> None:
    assert autopilot_config(autopilot_fields(config)) == config


def test_reading_the_settings_needs_operator_read() -> None:
    index, fields = get({}, "operator::read")
    assert (index, fields) == (0, autopilot_fields(AutopilotConfig()))
    with pytest.raises(PermissionDeniedError):
        get({}, "node:*:write")


def test_setting_them_needs_operator_write() -> None:
    fields = autopilot_fields(AutopilotConfig(modify_index=7))
    assert plan({"Config": fields, "CAS": True}, "operator::write").expected == 7
    assert plan({"Config": fields}, "operator::write") == AutopilotSet(AutopilotConfig(modify_index=7))
    with pytest.raises(PermissionDeniedError):
        plan({"Config": fields}, "operator::read")


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"ServerStabilizationTime": 0}, "ServerStabilizationTime must stay 10s"),
        ({"MaxTrailingLogs": "9"}, "MaxTrailingLogs must be a number, not str"),
        ({"CleanupDeadServers": 1}, "CleanupDeadServers must be true or false"),
        ({"RedundancyZoneTag": "z"}, "RedundancyZoneTag must stay empty"),
    ],
)
def test_bad_settings_from_another_server_are_refused(changes: dict[str, Any], because: str) -> None:
    with pytest.raises(RpcError, match=because):
        plan({"Config": autopilot_fields(AutopilotConfig()) | changes}, "operator::write")


def test_a_server_in_the_configuration_has_consuls_fields() -> None:
    assert raft_server(peer(2, leads=True)) == {
        "ID": "id2", "Node": "server2", "Address": "10.0.0.2:8300", "Leader": True, "ProtocolVersion": "3",
        "Voter": True,
    }  # fmt: skip


def test_a_peer_is_found_by_id_or_address_and_else_consuls_sentence_says_so() -> None:
    peers = [peer(1), peer(2)]
    assert find_peer(peers, peer_id="id2") is peers[1]
    assert find_peer(peers, address="10.0.0.1:8300") is peers[0]
    with pytest.raises(RpcError, match=r'^id "id3" was not found in the Raft configuration$'):
        find_peer(peers, peer_id="id3")
    with pytest.raises(RpcError, match=r'^address "id1" was not found in the Raft configuration$'):
        find_peer(peers, address="id1")


@pytest.mark.parametrize("status", ["alive", "leaving"])
def test_only_a_failed_server_may_be_removed(status: str) -> None:
    refuse_removal(peer(1, "failed"))
    with pytest.raises(RpcError, match=f"server server1 is {status}: run `consul leave` on it"):
        refuse_removal(peer(1, status))


@given(
    st.builds(
        LogStats,
        st.none() | st.integers(0, 10**12).map(lambda n: n / 1e9),
        st.integers(0, 2**63),
        st.integers(0, 2**63),
    )
)
def test_stats_survive_the_wire(stats: LogStats) -> None:
    read = parse_stats(stats_fields(stats))
    assert (read.last_term, read.last_index) == (stats.last_term, stats.last_index)
    if stats.last_contact is None:
        assert read.last_contact is None
    else:
        assert read.last_contact is not None
        assert math.isclose(read.last_contact, stats.last_contact, abs_tol=1e-9)


@pytest.mark.parametrize(
    "body",
    [None, [], b"x", {}, {"LastContact": 5}, {"LastContact": "soon"}, {"LastContact": "0s", "LastTerm": "7"}],
)
def test_stats_of_a_server_that_says_nonsense_are_refused(body: Any) -> None:
    with pytest.raises(RpcError):
        parse_stats(body)


def test_the_health_report_has_consuls_fields() -> None:
    well = ServerHealth(peer(1, leads=True), LogStats(0.0, 3, 40), True, 1488836871.9)
    away = ServerHealth(peer(2, "failed"), None, False, 0.0)
    report = health_fields([well, away], 1)
    assert (report["Healthy"], report["FailureTolerance"]) == (False, 1)
    assert report["Servers"][0] == {
        "ID": "id1", "Name": "server1", "Address": "10.0.0.1:8300", "SerfStatus": "alive", "Version": "1.2.3",
        "Leader": True, "LastContact": 0, "LastTerm": 3, "LastIndex": 40, "Healthy": True, "Voter": True,
        "StableSince": "2017-03-06T21:47:51Z",
    }  # fmt: skip
    assert (report["Servers"][1]["LastContact"], report["Servers"][1]["Healthy"]) == (-1, False)
    assert health_fields([well], 0)["Healthy"] is True
