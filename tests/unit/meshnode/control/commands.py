"""One of each command, with every field set."""

from __future__ import annotations

from meshnode.acl.model import Policy, Role, ServiceIdentity, Token
from meshnode.catalog.coordinates import Coordinate, NodeCoordinate
from meshnode.catalog.model import Check, CheckDefinition, Node, Service, ServiceAddress, Weights
from meshnode.catalog.store import Registration
from meshnode.connect.model import CaConfig, CaRoot, CaState, NodeTrust, Revoked, RootKey, Rotation
from meshnode.control.autopilot import AutopilotConfig
from meshnode.control.command import (
    AclBootstrap,
    AclPolicyDelete,
    AclPolicySet,
    AclReapTokens,
    AclRoleDelete,
    AclRoleSet,
    AclTokenDelete,
    AclTokenSet,
    AutopilotSet,
    Command,
    ConfigEntryDelete,
    ConfigEntrySet,
    ConnectCaSet,
    ConnectReport,
    ConnectRevoke,
    Deregister,
    IntentionDelete,
    IntentionSet,
    IntentionsReplace,
    IntentionUpsert,
    KvAcquire,
    KvCas,
    KvDelete,
    KvDeleteCas,
    KvDeleteTree,
    KvPut,
    KvRelease,
    Lead,
    PrimaryRules,
    QueryDelete,
    QuerySet,
    ReapTombstones,
    Register,
    RestoreChunk,
    RestoreCommit,
    SessionCreate,
    SessionDestroy,
    Txn,
    UpdateCoordinates,
)
from meshnode.control.config_entry_commands import EntryName
from meshnode.control.prepared.model import DnsOptions, Failover, PreparedQuery, ServiceQuery, Template
from meshnode.intentions.model import Destination, HeaderMatch, HttpMatch, Intention, Permission
from meshnode.kv.sessions import Session
from meshnode.kv.txn import TxnOp

__all__ = ["AT", "CA", "INTENTION", "QUERY", "REGISTRATION", "REPLACED", "SAMPLES", "WEB_IS_HTTP"]


AT = 1_700_000_000.5
REGISTRATION = Registration(
    Node("n1", "10.0.0.1", "aaaaaaaa-0000-4000-8000-000000000001", "dc1", {"wan": "1.2.3.4"}, {"rack": "é"}),
    Service(
        "web",
        "web-1",
        "connect-proxy",
        ("v1", "blue"),
        "10.0.0.2",
        80,
        {"k": "v"},
        Weights(10, 2),
        True,
        "api",
        False,
        {"Command": ["run", "it"], "Config": {"deep": [1, 2.5, None, {"x": True}]}},
        {"upstreams": []},
        tagged_addresses={"wan": ServiceAddress("1.2.3.4", 8080)},
        socket_path="/run/web.sock",
    ),
    (
        Check("n1", "c1", "C", "passing", "notes", "out\nput", "web-1"),
        Check(
            "n1",
            "c2",
            definition=CheckDefinition("http://x", True, {"H": ("a", "b")}, "PUT", "", 10.0, 1.5, 60.0),
        ),
    ),
    skip_node_update=True,
)
QUERY = PreparedQuery(
    "id",
    ServiceQuery(
        "web", Failover(3, ("dc2",)), True, ("c1",), "_agent", ("v1", "!v2"), {"rack": "1"}, {"k": "v"}, True
    ),
    "q",
    "session",
    "token",
    Template("name_prefix_match", "^(.*)$", True),
    DnsOptions("10s"),
)
CA = CaState(
    CaConfig("id", settings={"LeafCertTTL": "72h"}),
    (CaRoot("ab", "CA", 2**64 - 1, "ef", 1.0, 2.0, "pem", ("x",), True, 3.0, 4, 5),),
    (RootKey("ab", "key"),),
    Rotation("ab", "cd", "reissue", 1.0, 2.0, True),
)
INTENTION = Intention(
    "id", "web", "db", "", "ns1", "default", "consul", "d",
    (Permission("deny", HttpMatch("", "/admin", "", (HeaderMatch("x", exact="1", invert=True),), ("GET",))),),
    {"k": "v"}, "127.0.0.1", 80, True, AT, AT + 1, 3, 4,
)  # fmt: skip
REPLACED = IntentionsReplace("db", "default", (Intention("id", "web", "db", "allow"),), {"k": "v"}, 7)
WEB_IS_HTTP = {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}
SAMPLES: list[Command] = [
    KvPut("a/b", b"\x00\xff", 2**64 - 1),
    KvPut("", b""),
    KvCas("k", b"v", 1, 2**63),
    KvAcquire("k", b"v", 1, "s", AT),
    KvRelease("k", b"v", 1, "s"),
    KvDelete("k"),
    KvDeleteCas("k", 7),
    KvDeleteTree(""),
    Txn((TxnOp("set", "k", b"v", 1), TxnOp("lock", "k", b"", 0, 0, "s")), AT),
    Txn((), 0.0),
    SessionCreate(Session("id", "n1", "lock", ("serfHealth", "x"), 0.5, "delete", "10s")),
    SessionDestroy("id", AT, 3),
    Register(REGISTRATION, AT, 9),
    Register(Registration(Node("n")), AT),
    Deregister("n1", "web-1", "", AT),
    UpdateCoordinates((NodeCoordinate("n1", "", Coordinate((1.0,) * 8, 0.1, -0.5, 0.001)),), 2),
    ReapTombstones(99, 4),
    Lead("node-id", 5),
    AclBootstrap("a1", "s1", AT, 7),
    AclTokenSet(
        Token(
            "a",
            "s",
            "d",
            ("p",),
            ("r",),
            (ServiceIdentity("web", ("dc1",)),),
            True,
            AT,
            AT + 60,
            "client",
            "",
        ),
        create=True,
    ),
    AclTokenDelete("a"),
    AclPolicySet(Policy("p", "name", "d", 'acl = "read"', ("dc1",)), create=False),
    AclPolicyDelete("p"),
    AclRoleSet(Role("r", "name", "d", ("p",), (ServiceIdentity("web"),)), create=True),
    AclRoleDelete("r"),
    AclReapTokens(AT, 3),
    QuerySet(QUERY, create=True),
    QueryDelete("id"),
    IntentionSet(INTENTION, create=True),
    IntentionUpsert(Intention("id", "*", "db", "allow")),
    IntentionDelete("id"),
    REPLACED,
    ConfigEntrySet(WEB_IS_HTTP),
    ConfigEntrySet({**WEB_IS_HTTP, "Meta": {"k": "v"}}, 0),
    ConfigEntryDelete("service-router", "web", 3),
    PrimaryRules(
        ({"Kind": "service-defaults", "Name": "web", "Protocol": "http"},),
        (INTENTION,),
        (Destination("db", meta={"k": "v"}),),
        (EntryName("service-router", "web"),),
        ("id",),
        5,
    ),
    ConnectCaSet(CA, 4, 5),
    ConnectReport(NodeTrust("n1", ("ab",), ("cd",))),
    ConnectRevoke(Revoked("ab", 1.0, "lost", 2.0)),
    RestoreChunk("r", 3, b"\x00\xff", 4),
    RestoreCommit("r", 4, 5),
    AutopilotSet(AutopilotConfig(False, 0.5, 9, 10.0, "", False, "", 3, 4), 4, 5),
]
