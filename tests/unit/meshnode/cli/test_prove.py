"""``meshnode prove``: flags, sentences, exit codes, and keys that are never shown."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import msgpack
import pytest

from meshnode.base.address import Address
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.cli.main import main
from meshnode.gossip.memberlist.keyring import Keyring
from tests.support.frames import conversation, pcap, tcp, udp

A, B = Address("10.0.0.1", 8301), Address("10.0.0.2", 8301)
CLIENT, HTTP = Address("10.0.0.1", 40000), Address("10.0.0.2", 8500)
KEY = bytes(range(32))
SECRET = base64.b64encode(KEY).decode()
CANARY = "canary4f1c9a77b2"
EVENT = b"\x08\x03" + msgpack.packb({"LTime": 1, "Name": "deploy", "Payload": CANARY})
SEALED = udp(A, B, Keyring([KEY]).seal(EVENT, bytes(12), b""))
CLEAR = udp(A, B, EVENT)

Output = pytest.CaptureFixture[str]


def run(*args: object) -> int:
    return main(["prove", "-no-control", *map(str, args)])


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "gossip.json"
    path.write_text(json.dumps({"version": 1, "keys": [{"key": SECRET, "created": "x", "size": 32}]}))
    return path


def capture(tmp_path: Path, *frames: bytes, name: str = "x.pcap") -> Path:
    path = tmp_path / name
    path.write_bytes(pcap(frames).getvalue())
    return path


def test_sealed_gossip_is_proved_with_its_key(tmp_path: Path, keys: Path, capsys: Output) -> None:
    assert run("-gossip-keyring", keys, "-canary", CANARY, capture(tmp_path, SEALED)) == 0
    output = capsys.readouterr().out
    assert output.splitlines()[-1] == (
        "PROVED: everything on port 8301 is encrypted, and 1 canary planted can be read nowhere "
        "(1 travelled inside sealed gossip)."
    )
    assert f"Gossip keys tried: {gossip_key_fingerprint(KEY)}" in output
    assert SECRET not in output
    assert KEY.hex() not in output


def test_keys_come_from_standard_input_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps([SECRET])))
    assert run("-gossip-keyring", "-", capture(tmp_path, SEALED)) == 0


def test_a_leak_exits_with_2_and_shows_the_bytes_as_tcpdump_does(
    tmp_path: Path, keys: Path, capsys: Output
) -> None:
    assert run("-gossip-keyring", keys, "-canary", CANARY, capture(tmp_path, SEALED, CLEAR)) == 2
    output = capsys.readouterr().out
    assert "00:00:01.000005 IP 10.0.0.1.8301 > 10.0.0.2.8301: UDP, payload\n\t0x0000:  0803 83" in output
    assert "\n8301   plaintext" in output
    assert output.splitlines()[-1] == "FAILED: port 8301 shows 1 canary in clear."


def test_what_proves_nothing_exits_with_3(tmp_path: Path, keys: Path, capsys: Output) -> None:
    silent = capture(tmp_path, tcp(CLIENT, HTTP, b"", 1, 2))
    assert run(silent) == 3
    assert "VOID: no payload was captured on ports 8300, 8301, 8302, 8500, 10443" in capsys.readouterr().out
    assert run(capture(tmp_path, SEALED)) == 3
    assert "no key was given to open it" in capsys.readouterr().out
    assert run("-gossip-keyring", keys, "-require", "8300,8301", capture(tmp_path, SEALED)) == 3
    assert "port 8300 carried nothing" in capsys.readouterr().out
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(pcap([SEALED, SEALED]).getvalue()[:-3])
    assert run("-gossip-keyring", keys, cut) == 3
    assert "cut.pcap is cut short after frame 1" in capsys.readouterr().out


def test_the_control_finds_every_canary_or_is_void(tmp_path: Path, capsys: Output) -> None:
    path = capture(tmp_path, CLEAR)
    assert run("-expect", "plaintext", "-canary", CANARY, "-require", "8301", path) == 0
    assert "PROVED: the control finds every canary in clear, on port 8301." in capsys.readouterr().out
    assert run("-expect", "plaintext", "-canary", CANARY, "-canary", "another-canary", path) == 3
    assert "1 canary of 2 not found on any port" in capsys.readouterr().out
    assert run("-expect", "plaintext", path) == 3


def test_ports_that_may_be_readable_are_named(tmp_path: Path, keys: Path) -> None:
    http = conversation(CLIENT, HTTP, (">", b"GET / HTTP/1.1\r\n\r\n"))
    path = capture(tmp_path, SEALED, *http)
    assert run("-gossip-keyring", keys, path) == 2
    assert run("-gossip-keyring", keys, "-plaintext-ports", "8500", path) == 0
    assert run("-gossip-keyring", keys, "-ports", "8301", path) == 0


def test_several_captures_are_judged_together(tmp_path: Path, keys: Path) -> None:
    good, bad = capture(tmp_path, SEALED, name="a"), capture(tmp_path, CLEAR, name="b")
    assert run("-gossip-keyring", keys, good, good) == 0
    assert run("-gossip-keyring", keys, good, bad) == 2


def test_json_says_the_same_on_the_screen_and_in_the_file(tmp_path: Path, keys: Path, capsys: Output) -> None:
    target = tmp_path / "verdict.json"
    path = capture(tmp_path, SEALED, CLEAR)
    assert run("-json", "-json-file", target, "-gossip-keyring", keys, "-canary", CANARY, path) == 2
    printed = capsys.readouterr().out
    content = json.loads(printed)
    assert json.loads(target.read_text()) == content
    assert SECRET not in printed
    assert (content["outcome"], content["exit"], content["expect"]) == ("failed", 2, "encrypted")
    judged = next(one for one in content["verdicts"] if one["port"] == 8301)
    assert (judged["judgement"], judged["canaries"], judged["sealed_canaries"]) == (
        "plaintext",
        [CANARY],
        [CANARY],
    )
    assert judged["excerpt"]["source"] == "10.0.0.1:8301"
    assert content["captures"] == [
        {"file": str(path), "frames": 2, "skipped": 0, "damaged": 0, "lost_fragments": 0, "cut": False}
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name at least one capture file"),
        (["-expect", "maybe", "x"], "-expect: 'maybe' is neither encrypted nor plaintext"),
        (["-ports", "8300,http", "x"], "-ports: '8300,http' is not a list of port numbers"),
        (["-ports", "0", "x"], "-ports: ports are numbers from 1 to 65535"),
        (["-ports", "70000", "x"], "-ports: ports are numbers from 1 to 65535"),
        (["-ports", "", "x"], "-ports: '' is not a list"),
        (["-plaintext-ports", "x", "x"], "-plaintext-ports: 'x' is not a list"),
        (["-ports", "8300", "-require", "8301", "x"], "-require: port 8301 is not among the ports"),
        (["x", "-json"], "-json must come before the capture files"),
        (["-gossip-keyring", "/nowhere", "x"], "-gossip-keyring: can't read /nowhere: No such file"),
        (["/nowhere.pcap"], "can't read the capture /nowhere.pcap: No such file"),
        (["-prots", "1", "x"], "-prots"),
    ],
)  # fmt: skip
def test_a_bad_command_line_is_a_sentence_and_exits_with_1(
    args: list[str], message: str, capsys: Output
) -> None:
    assert run(*args) == 1
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not a JSON list of base64 keys"),
        ('{"keys": 3}', "is not a JSON list of base64 keys"),
        ('["%%%"]', "is not a JSON list of base64 keys"),
        ("[]", "holds no key"),
        (json.dumps([base64.b64encode(b"too-short-a-key").decode()]), "a gossip key of 15 bytes"),
    ],
)
def test_a_bad_keyring_is_named_and_not_shown(
    content: str, message: str, tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / "ring"
    path.write_text(content)
    assert run("-gossip-keyring", path, capture(tmp_path, SEALED)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert str(path) in error
    assert "dG9v" not in error


def test_a_file_that_is_no_capture_and_a_folder_are_named(tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "x.txt"
    path.write_text("hello")
    assert run(path) == 1
    assert "x.txt is not a pcap or pcapng capture: it starts with 0x68656c6c" in capsys.readouterr().err
    assert run(tmp_path) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_a_short_canary_is_refused(tmp_path: Path, capsys: Output) -> None:
    assert run("-canary", "abc", capture(tmp_path, SEALED)) == 1
    assert "canary 'abc' is found by chance" in capsys.readouterr().err


def test_a_json_file_that_can_not_be_written_is_named(tmp_path: Path, keys: Path, capsys: Output) -> None:
    assert run("-json-file", "/nowhere/x", "-gossip-keyring", keys, capture(tmp_path, SEALED)) == 1
    assert "-json-file: can't write /nowhere/x" in capsys.readouterr().err
