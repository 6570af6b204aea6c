"""``ConfigEntry.*`` and ``DiscoveryChain.Get``: shapes, conditions, who may see and change what, intentions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer, PermissionDeniedError
from meshnode.config_entries.model import KINDS
from meshnode.control.endpoints.table import METHODS
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod
from meshnode.rpc.method import RpcError
from tests.support.state_api import Grants

HTTP = {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}
DENY = {"Kind": "service-intentions", "Name": "db", "Sources": [{"Name": "*", "Action": "deny"}]}
#: One entry of each kind that needs no other.
ENTRIES: dict[str, dict[str, Any]] = {
    "service-defaults": HTTP,
    "proxy-defaults": {"Kind": "proxy-defaults", "Name": "global"},
    "service-resolver": {"Kind": "service-resolver", "Name": "web"},
    "service-splitter": {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100}]},
    "service-router": {"Kind": "service-router", "Name": "web"},
    "service-intentions": {**DENY, "Name": "web"},
    "ingress-gateway": {"Kind": "ingress-gateway", "Name": "web"},
    "terminating-gateway": {"Kind": "terminating-gateway", "Name": "web"},
}
#: The right that writing and reading takes; from the documentation of ``/v1/config``.
RIGHTS = dict.fromkeys(ENTRIES, "service:web") | {"service-intentions": "intention:web", "proxy-defaults": ""}
OPERATORS = ("proxy-defaults", "ingress-gateway", "terminating-gateway")


class Server:
    """A state and the methods on it."""

    def __init__(self) -> None:
        self.state = StateMachine()
        self.at = 1_700_000_000.0
        self._ids = (f"id-{number}" for number in itertools.count(1))

    def call(self, name: str, body: Mapping[str, Any], authorizer: Authorizer = ALLOW_ALL) -> Any:
        method = METHODS[name]
        assert isinstance(method, WriteMethod)
        self.at += 1
        command = method.plan(self.state, body, authorizer, Moment(self.at, lambda: next(self._ids)))
        return method.reply(self.state, self.state.apply(self.state.last_index + 1, command))

    def apply(self, entry: Mapping[str, Any], authorizer: Authorizer = ALLOW_ALL, op: str = "upsert") -> Any:
        return self.call("ConfigEntry.Apply", {"Op": op, "Entry": entry}, authorizer)

    def delete(self, kind: str, name: str, authorizer: Authorizer = ALLOW_ALL, **more: Any) -> Any:
        body = {"Entry": {"Kind": kind, "Name": name, **more.pop("entry", {})}, **more}
        return self.call("ConfigEntry.Delete", body, authorizer)

    def read(self, name: str, authorizer: Authorizer = ALLOW_ALL, **body: Any) -> dict[str, Any]:
        method = METHODS[name]
        assert isinstance(method, ReadMethod)
        assert method.watches(body)
        return method.read(self.state, body, authorizer)[1]

    def get(self, kind: str, name: str, authorizer: Authorizer = ALLOW_ALL, **body: Any) -> Any:
        return self.read("ConfigEntry.Get", authorizer, Kind=kind, Name=name, **body)["Entry"]

    def names(self, kind: str, authorizer: Authorizer = ALLOW_ALL) -> list[str]:
        return [row["Name"] for row in self.read("ConfigEntry.List", authorizer, Kind=kind)["Entries"]]


def ready(kind: str) -> Server:
    """A server where an entry of this kind can be written."""
    server = Server()
    if kind in {"service-splitter", "service-router"}:
        server.apply(HTTP)
    return server


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_written_read_listed_and_deleted(kind: str) -> None:
    server = ready(kind)
    name = ENTRIES[kind]["Name"]
    assert server.get(kind, name) is None
    assert server.apply(ENTRIES[kind]) is True
    found = server.get(kind, name.upper())
    assert (found["Kind"], found["Name"]) == (kind, name)
    assert found["CreateIndex"] == found["ModifyIndex"] == server.state.last_index
    assert server.names(kind) == [name]
    assert found in server.read("ConfigEntry.List")["Entries"]
    assert server.delete(kind, name) is True
    assert server.get(kind, name) is None
    assert server.delete(kind, name) is True


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_on_the_index_holds_or_nothing_happens(kind: str) -> None:
    server = ready(kind)
    entry, name = ENTRIES[kind], ENTRIES[kind]["Name"]
    assert server.apply({**entry, "ModifyIndex": 7}, op="upsert-cas") is False
    assert server.apply({**entry, "ModifyIndex": 0}, op="upsert-cas") is True
    assert server.apply({**entry, "Meta": {"k": "v"}, "ModifyIndex": 0}, op="upsert-cas") is False
    index = server.get(kind, name)["ModifyIndex"]
    assert server.apply({**entry, "Meta": {"k": "v"}, "ModifyIndex": index}, op="upsert-cas") is True
    changed = server.get(kind, name)
    assert (changed["Meta"], changed["CreateIndex"]) == ({"k": "v"}, index)
    assert changed["ModifyIndex"] > index
    for wrong in (0, index):
        assert server.delete(kind, name, Op="delete-cas", entry={"ModifyIndex": wrong}) is False
    assert server.delete(kind, name, Op="delete-cas", entry={"ModifyIndex": changed["ModifyIndex"]}) is True
    assert server.get(kind, name) is None


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_write_what(kind: str) -> None:
    server = ready(kind)
    entry, name = ENTRIES[kind], ENTRIES[kind]["Name"]
    right = "operator::write" if kind in OPERATORS else f"{RIGHTS[kind]}:write"
    wrong = "service:web:write" if kind in {*OPERATORS, "service-intentions"} else "operator::write"
    for denied in (Grants(), Grants.of(wrong), Grants.of(right.replace("write", "read"))):
        with pytest.raises(PermissionDeniedError, match="Permission denied"):
            server.apply(entry, denied)
        with pytest.raises(PermissionDeniedError, match="Permission denied"):
            server.delete(kind, name, denied)
    assert server.apply(entry, Grants.of(right)) is True
    assert server.delete(kind, name, Grants.of(right)) is True


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_read_what(kind: str) -> None:
    server = ready(kind)
    entry, name = ENTRIES[kind], ENTRIES[kind]["Name"]
    server.apply(entry)
    if kind == "proxy-defaults":
        assert server.get(kind, name, Grants())
        assert server.names(kind, Grants()) == ["global"]
        return
    wrong = "intention:web:write" if RIGHTS[kind].startswith("service") else "service:web:write"
    for denied in (Grants(), Grants.of(wrong)):
        with pytest.raises(PermissionDeniedError):
            server.get(kind, name, denied)
        assert server.names(kind, denied) == []
    assert server.get(kind, name, Grants.of(f"{RIGHTS[kind]}:read"))
    assert server.names(kind, Grants.of(f"{RIGHTS[kind]}:read")) == ["web"]


@pytest.mark.parametrize(
    "entry",
    [
        {"Kind": "service-resolver", "Name": "web", "Redirect": {"Service": "api"}},
        {"Kind": "service-resolver", "Name": "web", "Failover": {"*": {"Service": "api"}}},
        {"Kind": "service-resolver", "Name": "web", "Failover": {"*": {"Targets": [{"Service": "api"}]}}},
        {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100, "Service": "api"}]},
        {"Kind": "service-router", "Name": "web", "Routes": [{"Destination": {"Service": "api"}}]},
    ],
)
def test_who_leads_to_another_service_must_be_allowed_to_read_it(entry: dict[str, Any]) -> None:
    server = Server()
    server.apply({"Kind": "proxy-defaults", "Config": {"protocol": "http"}})
    with pytest.raises(PermissionDeniedError):
        server.apply(entry, Grants.of("service:web:write"))
    assert server.apply(entry, Grants.of("service:web:write", "service:api:read")) is True


@pytest.mark.parametrize(
    ("call", "body", "because"),
    [
        ("ConfigEntry.Apply", {"Op": "replace", "Entry": HTTP}, "Unknown operation 'replace': use one of upsert"),
        ("ConfigEntry.Apply", {"Entry": {"Kind": "x"}}, 'invalid config entry kind "x"'),
        ("ConfigEntry.Apply", {"Entry": {**HTTP, "Name": ""}}, "Name is required"),
        ("ConfigEntry.Apply", {"Entry": 5}, "Entry must be a struct"),
        ("ConfigEntry.Apply", {"Op": "delete", "Entry": {"Kind": "service-router"}}, "Name is required"),
        ("ConfigEntry.Delete", {"Op": "upsert", "Entry": HTTP}, "Unknown operation 'upsert': use delete or delete-cas"),
        ("ConfigEntry.Delete", {"Op": "delete-all", "Entry": HTTP}, "Unknown operation 'delete-all'"),
        ("ConfigEntry.Delete", {"Entry": {"Kind": "x", "Name": "y"}}, 'invalid config entry kind "x"'),
        ("ConfigEntry.Delete", {"Op": "delete-cas", "Entry": {**HTTP, "ModifyIndex": "1"}}, "ModifyIndex must be a"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(call: str, body: dict[str, Any], because: str) -> None:
    server = Server()
    with pytest.raises(RpcError) as refused:
        server.call(call, body)
    assert str(refused.value).startswith(because)
    assert server.state.last_index == 0


def test_a_kind_that_does_not_exist_is_not_read_either() -> None:
    for name in ("ConfigEntry.Get", "ConfigEntry.List"):
        with pytest.raises(RpcError, match='invalid config entry kind "services"'):
            Server().read(name, Kind="services", Name="x")


def test_an_entry_may_be_deleted_by_apply() -> None:
    server = Server()
    server.apply(HTTP)
    assert server.apply(HTTP, op="delete") is True
    assert server.names("service-defaults") == []


# Intentions


def intention(source: str, destination: str, action: str, **fields: Any) -> dict[str, Any]:
    return {"SourceName": source, "DestinationName": destination, "Action": action, **fields}


def test_an_entry_shows_the_intentions_that_the_api_made_and_the_other_way_round() -> None:
    server = Server()
    made = intention("web", "db", "allow", Description="d", Meta={"k": "v"}, Audit=True)
    server.call("Intention.Apply", {"Op": "create", "Intention": made})
    entry = server.get("service-intentions", "db")
    assert entry["Sources"] == [
        {
            "Name": "web", "Action": "allow", "Precedence": 9, "LegacyID": "id-1", "Type": "consul", "Description": "d",
            "Audit": True, "LegacyMeta": {"k": "v"}, "LegacyCreateTime": "2023-11-14T22:13:21Z",
            "LegacyUpdateTime": "2023-11-14T22:13:21Z",
        }
    ]  # fmt: skip
    assert (
        server.apply({**DENY, "Sources": [*entry["Sources"], *DENY["Sources"]], "Meta": {"m": "1"}}) is True
    )
    rows = server.read("Intention.List")["Intentions"]
    assert [(row["SourceName"], row["Action"], row["ID"], row["Meta"]) for row in rows] == [
        ("web", "allow", "id-1", {"k": "v"}), ("*", "deny", rows[1]["ID"], {}),
    ]  # fmt: skip
    assert server.get("service-intentions", "db")["Meta"] == {"m": "1"}


def test_an_upsert_by_name_edits_the_sources_and_the_index_of_the_entry() -> None:
    server = Server()
    server.apply({**DENY, "Meta": {"m": "1"}})
    before = server.get("service-intentions", "db")
    server.call("Intention.Apply", {"Op": "upsert", "Intention": intention("web", "DB", "allow")})
    after = server.get("service-intentions", "db")
    assert [each["Name"] for each in after["Sources"]] == ["web", "*"]
    assert (after["Meta"], after["CreateIndex"]) == ({"m": "1"}, before["CreateIndex"])
    assert after["ModifyIndex"] > before["ModifyIndex"]
    server.call("Intention.Apply", {"Op": "delete", "Intention": intention("web", "db", "")})
    gone = server.get("service-intentions", "db")
    assert [each["Name"] for each in gone["Sources"]] == ["*"]
    assert gone["ModifyIndex"] > after["ModifyIndex"]
    stale = {**gone, "Sources": [{"Name": "x", "Action": "deny"}], "ModifyIndex": after["ModifyIndex"]}
    assert server.apply(stale, op="upsert-cas") is False


def test_what_an_entry_does_not_say_about_an_intention_stays_as_it_was() -> None:
    server = Server()
    made = intention("web", "db", "deny", Meta={"k": "v"}, DefaultAddr="a", DefaultPort=1)
    server.call("Intention.Apply", {"Op": "create", "Intention": made})
    server.apply({**DENY, "Sources": [{"Name": "web", "Action": "allow"}]})
    (row,) = server.read("Intention.List")["Intentions"]
    assert (row["ID"], row["Action"], row["Meta"], row["DefaultAddr"], row["DefaultPort"]) == (
        "id-1", "allow", {"k": "v"}, "a", 1,
    )  # fmt: skip
    assert (row["CreatedAt"], row["UpdatedAt"]) == ("2023-11-14T22:13:21Z", "2023-11-14T22:13:22Z")
    server.apply({**DENY, "Sources": [{"Name": "web", "Action": "allow", "LegacyMeta": {}}]})
    assert server.read("Intention.List")["Intentions"][0]["Meta"] == {}


def test_sources_that_an_entry_leaves_out_are_gone_and_those_of_others_stay() -> None:
    server = Server()
    for source, destination in (("web", "db"), ("api", "db"), ("web", "*"), ("web", "other")):
        made = intention(source, destination, "allow")
        server.call("Intention.Apply", {"Op": "create", "Intention": made})
    server.apply({**DENY, "Sources": [{"Name": "api", "Action": "deny"}]})
    rows = server.read("Intention.List")["Intentions"]
    assert {(row["SourceName"], row["DestinationName"], row["Action"]) for row in rows} == {
        ("api", "db", "deny"), ("web", "*", "allow"), ("web", "other", "allow"),
    }  # fmt: skip
    assert server.names("service-intentions") == ["*", "db", "other"]
    assert server.delete("service-intentions", "*") is True
    assert server.names("service-intentions") == ["db", "other"]


def test_intentions_of_other_namespaces_are_entries_of_their_own() -> None:
    server = Server()
    server.apply({**DENY, "Namespace": "ns1"})
    server.apply(DENY)
    assert server.get("service-intentions", "db", Namespace="ns1")["Namespace"] == "ns1"
    assert "Namespace" not in server.get("service-intentions", "db")
    assert server.delete("service-intentions", "db", entry={"Namespace": "ns1"}) is True
    assert server.get("service-intentions", "db", Namespace="ns1") is None
    assert server.get("service-intentions", "db")


# Chains


def test_a_chain_is_compiled_from_the_state() -> None:
    server = Server()
    server.apply(HTTP)
    body: dict[str, Any] = {"Name": "web", "EvaluateInDatacenter": "dc7"}
    chain = server.read("DiscoveryChain.Get", **body)["Chain"]
    assert (chain["Protocol"], chain["StartNode"]) == ("http", "resolver:web.default.dc7")
    other = server.read(
        "DiscoveryChain.Get", **body, OverrideProtocol="GRPC", OverrideConnectTimeout=7_000_000_000,
        OverrideMeshGateway={"Mode": "local"},
    )["Chain"]  # fmt: skip
    assert (other["Protocol"], other["Targets"]["web.default.dc7"]["MeshGateway"]) == (
        "grpc",
        {"Mode": "local"},
    )


def test_a_chain_is_read_by_who_may_read_the_service() -> None:
    server = Server()
    body: dict[str, Any] = {"Name": "web", "EvaluateInDatacenter": "dc1"}
    with pytest.raises(PermissionDeniedError):
        server.read("DiscoveryChain.Get", Grants.of("service:api:write"), **body)
    assert server.read("DiscoveryChain.Get", Grants.of("service:web:read"), **body)["Chain"]
    with pytest.raises(RpcError, match="Must provide service name"):
        server.read("DiscoveryChain.Get", Name="")
