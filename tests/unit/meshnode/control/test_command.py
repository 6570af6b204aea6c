"""Commands as bytes: round trip over the union, golden bytes, bounds, garbage."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any, get_args

import msgpack
import pytest

from meshnode.acl.model import Policy, Role, ServiceIdentity, Token
from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.catalog.coordinates import Coordinate, NodeCoordinate
from meshnode.catalog.model import Check, CheckDefinition, Node, Service, ServiceAddress, Weights
from meshnode.catalog.store import Registration
from meshnode.connect.model import CaConfig, CaRoot, CaState, NodeTrust, Revoked, RootKey, Rotation
from meshnode.control import command as commands
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
    parse_command,
    serialize_command,
)
from meshnode.control.log import MAX_COMMAND_BYTES
from meshnode.control.prepared.model import DnsOptions, Failover, PreparedQuery, ServiceQuery, Template
from meshnode.intentions.model import HeaderMatch, HttpMatch, Intention, Permission
from meshnode.kv.sessions import Session
from meshnode.kv.txn import TxnOp

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
    ConnectCaSet(CA, 4, 5),
    ConnectReport(NodeTrust("n1", ("ab",), ("cd",))),
    ConnectRevoke(Revoked("ab", 1.0, "lost", 2.0)),
    RestoreChunk("r", 3, b"\x00\xff", 4),
    RestoreCommit("r", 4, 5),
    AutopilotSet(AutopilotConfig(False, 0.5, 9, 10.0, "", False, "", 3, 4), 4, 5),
]


def test_every_command_has_a_sample() -> None:
    assert {type(sample) for sample in SAMPLES} == set(get_args(Command))


@pytest.mark.parametrize("command", SAMPLES, ids=lambda c: type(c).__name__)
def test_a_command_survives_the_round_trip(command: Command) -> None:
    assert parse_command(serialize_command(command)) == command


@pytest.mark.parametrize(
    ("command", "golden"),
    [
        (SAMPLES[0], "950101a3612f62c40200ffcfffffffffffffffff"),
        (SAMPLES[2], "960201a16bc4017601cf8000000000000000"),
        (SAMPLES[3], "970301a16bc4017601a173cb41d954fc40200000"),
        (SAMPLES[4], "960401a16bc4017601a173"),
        (SAMPLES[5], "930501a16b"),
        (SAMPLES[6], "940601a16b07"),
        (SAMPLES[7], "930701a0"),
        (SAMPLES[8], "9408019296a3736574a16bc401760100a096a46c6f636ba16bc4000000a173cb41d954fc40200000"),
        (
            SAMPLES[10],
            "93100199a26964a26e31a46c6f636b92aa736572664865616c7468a178cb3fe0000000000000a664656c657465a33130"
            "730000",
        ),
        (SAMPLES[11], "951101a26964cb41d954fc4020000003"),
        (
            SAMPLES[12],
            "9520019498a26e31a831302e302e302e31d92461616161616161612d303030302d343030302d383030302d3030303030"
            "30303030303031a364633181a377616ea7312e322e332e3481a47261636ba2c3a90000dc0011a3776562a57765622d31"
            "ad636f6e6e6563742d70726f787992a27631a4626c7565a831302e302e302e325081a16ba176920a02c3a3617069c282"
            "a7436f6d6d616e6492a372756ea26974a6436f6e66696781a4646565709401cb4004000000000000c081a178c381a975"
            "7073747265616d7390000081a377616e92a7312e322e332e34cd1f90ad2f72756e2f7765622e736f636b929ca26e31a2"
            "6331a143a770617373696e67a56e6f746573a76f75740a707574a57765622d31a09098a0c280a0a0cb00000000000000"
            "00cb0000000000000000cb000000000000000000009ca26e31a26332a0a8637269746963616ca0a0a0a09098a8687474"
            "703a2f2f78c381a14892a161a162a3505554a0cb4024000000000000cb3ff8000000000000cb404e0000000000000000"
            "c3cb41d954fc4020000009",
        ),
        (SAMPLES[14], "972101a26e31a57765622d31a0cb41d954fc4020000000"),
        (
            SAMPLES[15],
            "9422019193a26e31a09498cb3ff0000000000000cb3ff0000000000000cb3ff0000000000000cb3ff0000000000000cb"
            "3ff0000000000000cb3ff0000000000000cb3ff0000000000000cb3ff0000000000000cb3fb999999999999acbbfe000"
            "0000000000cb3f50624dd2f1a9fc02",
        ),
        (SAMPLES[16], "9430016304"),
        (SAMPLES[17], "943101a76e6f64652d696405"),
        (SAMPLES[18], "964001a26131a27331cb41d954fc4020000007"),
        (
            SAMPLES[19],
            "9441019da161a173a16491a17091a1729192a377656291a3646331c3cb41d954fc40200000cb41d954fc4f200000a663"
            "6c69656e74a00000c3",
        ),
        (SAMPLES[20], "934201a161"),
        (SAMPLES[21], "94430197a170a46e616d65a164ac61636c203d2022726561642291a36463310000c2"),
        (SAMPLES[22], "934401a170"),
        (SAMPLES[23], "94450197a172a46e616d65a16491a1709192a3776562900000c3"),
        (SAMPLES[24], "934601a172"),
        (SAMPLES[25], "944701cb41d954fc4020000003"),
        (
            QuerySet(QUERY, create=True),
            "94500199a2696499a3776562920391a3646332c391a26331a65f6167656e7492a27631a321763281a47261636ba13181"
            "a16ba176c3a171a773657373696f6ea5746f6b656e93b16e616d655f7072656669785f6d61746368a65e282e2a2924c3"
            "91a33130730000c3",
        ),
        (QueryDelete("id"), "935101a26964"),
        (
            IntentionSet(INTENTION, create=True),
            "946001dc0011a26964a3776562a26462a0a36e7331a764656661756c74a6636f6e73756ca1649192a464656e7995a0a6"
            "2f61646d696ea09197a178c2a131a0a0a0c391a347455481a16ba176a93132372e302e302e3150c3cb41d954fc402000"
            "00cb41d954fc406000000304c3",
        ),
        (
            IntentionUpsert(Intention("id", "*", "db", "allow")),
            "936101dc0011a26964a12aa26462a5616c6c6f77a764656661756c74a764656661756c74a6636f6e73756ca09080a000"
            "c2cb0000000000000000cb00000000000000000000",
        ),
        (IntentionDelete("id"), "936201a26964"),
        (
            REPLACED,
            "976301a26462a764656661756c7491dc0011a26964a3776562a26462a5616c6c6f77a764656661756c74a764656661756c"
            "74a6636f6e73756ca09080a000c2cb0000000000000000cb0000000000000000000081a16ba17607",
        ),
        (
            ConfigEntrySet(WEB_IS_HTTP),
            "94680183a44b696e64b0736572766963652d64656661756c7473a44e616d65a3776562a850726f746f636f6ca468747470c0",
        ),
        (
            ConfigEntryDelete("service-router", "web", 3),
            "956901ae736572766963652d726f75746572a377656203",
        ),
        (
            ConnectCaSet(CA, 4, 5),
            "9570019498a26964a6636f6e73756ccb410fa40000000000cb415da9c000000000a765632d7032353681ab4c656166436572"
            "7454544ca33732680000919ca26162a24341cfffffffffffffffffa26566cb3ff0000000000000cb4000000000000000a370"
            "656d91a178c3cb400800000000000004059193a26162a36b65798098a26162a26364a772656973737565cb3ff00000000000"
            "00cb4000000000000000c3c2c00405",
        ),
        (ConnectReport(NodeTrust("n1", ("ab",), ("cd",))), "93710193a26e3191a2616291a26364"),
        (
            ConnectRevoke(Revoked("ab", 1.0, "lost", 2.0)),
            "93720194a26162cb3ff0000000000000a46c6f7374cb4000000000000000",
        ),
        (
            AutopilotSet(AutopilotConfig(False, 0.5, 9), 4, 5),
            "95340199c2cb3fe000000000000009cb4024000000000000a0c2a000000405",
        ),
    ],
)
def test_the_bytes_do_not_change_between_releases(command: Command, golden: str) -> None:
    assert serialize_command(command).hex() == golden
    assert parse_command(bytes.fromhex(golden)) == command


def test_what_was_written_before_services_had_further_ways_is_read_without_any() -> None:
    golden = (
        "9520019498a26e31a831302e302e302e31d92461616161616161612d303030302d343030302d383030302d3030303030"
        "30303030303031a364633181a377616ea7312e322e332e3481a47261636ba2c3a900009fa3776562a57765622d31ad63"
        "6f6e6e6563742d70726f787992a27631a4626c7565a831302e302e302e325081a16ba176920a02c3a3617069c282a743"
        "6f6d6d616e6492a372756ea26974a6436f6e66696781a4646565709401cb4004000000000000c081a178c381a9757073"
        "747265616d73900000929ca26e31a26331a143a770617373696e67a56e6f746573a76f75740a707574a57765622d31a0"
        "9098a0c280a0a0cb0000000000000000cb0000000000000000cb000000000000000000009ca26e31a26332a0a8637269"
        "746963616ca0a0a0a09098a8687474703a2f2f78c381a14892a161a162a3505554a0cb4024000000000000cb3ff80000"
        "00000000cb404e0000000000000000c3cb41d954fc4020000009"
    )
    assert REGISTRATION.service is not None
    bare = replace(REGISTRATION.service, tagged_addresses={}, socket_path="")
    read = parse_command(bytes.fromhex(golden))
    assert read == replace(SAMPLES[12], registration=replace(REGISTRATION, service=bare))


def test_a_ca_is_read_that_was_written_before_keys_could_be_elsewhere() -> None:
    written = (
        "9570019498a26964a6636f6e73756ccb410fa40000000000cb415da9c000000000a765632d7032353681ab4c656166436572"
        "7454544ca33732680000919ca26162a24341cfffffffffffffffffa26566cb3ff0000000000000cb4000000000000000a370"
        "656d91a178c3cb400800000000000004059192a26162a36b657997a26162a26364a772656973737565cb3ff0000000000000"
        "cb4000000000000000c3c20405"
    )
    assert parse_command(bytes.fromhex(written)) == ConnectCaSet(CA, 4, 5)


def test_the_golden_bytes_are_plain_msgpack() -> None:
    assert msgpack.unpackb(serialize_command(KvPut("a", b"v", 3))) == [1, 1, "a", b"v", 3]


def test_no_tag_is_given_twice_or_changed() -> None:
    assert {tag: of.__name__ for tag, (of, _) in commands._TAGS.items()} == {
        1: "KvPut",
        2: "KvCas",
        3: "KvAcquire",
        4: "KvRelease",
        5: "KvDelete",
        6: "KvDeleteCas",
        7: "KvDeleteTree",
        8: "Txn",
        16: "SessionCreate",
        17: "SessionDestroy",
        32: "Register",
        33: "Deregister",
        34: "UpdateCoordinates",
        48: "ReapTombstones",
        49: "Lead",
        50: "RestoreChunk",
        51: "RestoreCommit",
        52: "AutopilotSet",
        64: "AclBootstrap",
        65: "AclTokenSet",
        66: "AclTokenDelete",
        67: "AclPolicySet",
        68: "AclPolicyDelete",
        69: "AclRoleSet",
        70: "AclRoleDelete",
        71: "AclReapTokens",
        80: "QuerySet",
        81: "QueryDelete",
        96: "IntentionSet",
        97: "IntentionUpsert",
        98: "IntentionDelete",
        99: "IntentionsReplace",
        104: "ConfigEntrySet",
        105: "ConfigEntryDelete",
        112: "ConnectCaSet",
        113: "ConnectReport",
        114: "ConnectRevoke",
    }


def test_a_field_that_has_a_default_may_be_missing_at_the_end() -> None:
    assert parse_command(msgpack.packb([1, 1, "k", b"v"])) == KvPut("k", b"v", 0)


@pytest.mark.parametrize(
    ("data", "because"),
    [
        (b"", "can't be read"),
        (b"\xc1", "can't be read"),
        (b"\x93\x01\x01", "can't be read"),
        (msgpack.packb([1, 1, "k", b"v", 0]) + b"\x00", "can't be read"),
        (b"\x93\x01\x01\xa1\xff", "can't be read"),
        (b"\x91" * 3000 + b"\xc0", "can't be read"),
        (msgpack.packb(7), "isn't one"),
        (msgpack.packb([]), "isn't one"),
        (msgpack.packb([1]), "isn't one"),
        (msgpack.packb(["1", 1]), "isn't one"),
        (msgpack.packb({"a": 1}), "isn't one"),
        (msgpack.packb({1: 1}), "can't be read"),
        (msgpack.packb([200, 1]), "tag 200 is unknown: was it written by a newer meshnode"),
        (msgpack.packb([1, 2, "k", b"v", 0]), "KvPut of version 2: this meshnode reads 1"),
        (msgpack.packb([1, True, "k", b"v", 0]), "KvPut of version True"),
        (msgpack.packb([1, 1, "k"]), "KvPut is written as a tuple of 1"),
        (msgpack.packb([1, 1, "k", b"v", 0, 0]), "KvPut is written as a tuple of 4"),
        (msgpack.packb([1, 1, b"k", b"v", 0]), "KvPut.key is a bytes, not text"),
        (msgpack.packb([3, 1, "k", b"v", 0, "s", float("nan")]), "KvAcquire.at"),
    ],
)
def test_garbage_is_the_writers_fault(data: bytes, because: str) -> None:
    with pytest.raises(RemoteProtocolError, match=because):
        parse_command(data)


def test_a_command_may_have_so_many_bytes_and_not_one_more() -> None:
    frame = len(serialize_command(KvPut("k", b"x" * 70000))) - 70000
    largest = KvPut("k", b"x" * (MAX_COMMAND_BYTES - frame))
    data = serialize_command(largest)
    assert len(data) == MAX_COMMAND_BYTES
    assert parse_command(data) == largest
    with pytest.raises(LocalProtocolError, match="at most"):
        serialize_command(KvPut("k", largest.value + b"x"))
    with pytest.raises(RemoteProtocolError, match="at most"):
        parse_command(data + b"x")


@pytest.mark.parametrize(
    "command",
    [KvPut("k", b"", 2**64), KvPut("\ud800", b""), KvPut(object(), b"")],  # type: ignore[arg-type]
)
def test_what_can_not_be_written_is_our_own_fault(command: Command) -> None:
    with pytest.raises(LocalProtocolError, match="can't be written"):
        serialize_command(command)


def test_mutated_commands_end_in_a_command_or_a_protocol_error() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "20261125"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    corpus = [serialize_command(sample) for sample in SAMPLES]
    read = 0
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "5000"))):
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.randrange(1, 4)):
            match rng.randrange(4):
                case 0 if data:
                    data[rng.randrange(len(data))] = rng.randrange(256)
                case 1 if data:
                    del data[rng.randrange(len(data)) :]
                case 2:
                    data.insert(rng.randrange(len(data) + 1), rng.randrange(256))
                case _:
                    start = rng.randrange(len(data) + 1)
                    data[start:start] = rng.choice(corpus)[: rng.randrange(9)]
        try:
            parsed: Any = parse_command(bytes(data))
        except RemoteProtocolError:
            continue
        read += 1
        assert parse_command(serialize_command(parsed)) == parsed
    assert read, "some mutations only change a value"
