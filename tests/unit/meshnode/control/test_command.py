"""Commands as bytes: round trip over the union, and golden bytes, so that old logs can be read."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import msgpack
import pytest

from meshnode.connect.model import NodeTrust, Revoked
from meshnode.control import command as commands
from meshnode.control.autopilot import AutopilotConfig
from meshnode.control.command import (
    AutopilotSet,
    Command,
    ConfigEntryDelete,
    ConfigEntrySet,
    ConnectCaSet,
    ConnectReport,
    ConnectRevoke,
    IntentionDelete,
    IntentionSet,
    IntentionUpsert,
    KvPut,
    PrimaryRules,
    QueryDelete,
    QuerySet,
    parse_command,
    serialize_command,
)
from meshnode.control.config_entry_commands import EntryName
from meshnode.intentions.model import Intention
from tests.unit.meshnode.control.commands import (
    CA,
    INTENTION,
    QUERY,
    REGISTRATION,
    REPLACED,
    SAMPLES,
    WEB_IS_HTTP,
)


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
            PrimaryRules(({"Kind": "service-defaults"},), (), (), (EntryName("k", "n"),), ("id",), 5),
            "986a019181a44b696e64b0736572766963652d64656661756c747390909192a16ba16e91a2696405",
        ),
        (
            ConnectCaSet(CA, 4, 5),
            "9570019598a26964a6636f6e73756ccb410fa40000000000cb415da9c000000000a765632d7032353681ab4c656166436572"
            "7454544ca33732680000919ca26162a24341cfffffffffffffffffa26566cb3ff0000000000000cb4000000000000000a370"
            "656d91a178c3cb400800000000000004059194a26162a36b657980a098a26162a26364a772656973737565cb3ff0000000000"
            "000cb4000000000000000c3c2c0900405",
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


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("92a26162a36b6579", id="before keys could be elsewhere"),
        pytest.param("93a26162a36b657980", id="before keys could be an intermediate's"),
    ],
)
def test_a_ca_is_read_that_an_older_release_wrote(key: str) -> None:
    written = (
        "9570019498a26964a6636f6e73756ccb410fa40000000000cb415da9c000000000a765632d7032353681ab4c656166436572"
        "7454544ca33732680000919ca26162a24341cfffffffffffffffffa26566cb3ff0000000000000cb4000000000000000a370"
        f"656d91a178c3cb4008000000000000040591{key}97a26162a26364a772656973737565cb3ff0000000000000cb40000000"
        "00000000c3c20405"
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
        106: "PrimaryRules",
        112: "ConnectCaSet",
        113: "ConnectReport",
        114: "ConnectRevoke",
    }


def test_a_field_that_has_a_default_may_be_missing_at_the_end() -> None:
    assert parse_command(msgpack.packb([1, 1, "k", b"v"])) == KvPut("k", b"v", 0)
