"""``prove -bundle`` and ``-verify``: the same verdict on another machine, and each changed byte named."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from meshnode.base.address import Address
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.cli.main import main
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.manifest import MANIFEST, parse, serialize
from tests.support.frames import pcap, udp

A, B = Address("10.0.0.1", 8301), Address("10.0.0.2", 8301)
KEY = bytes(range(32))
SECRET = base64.b64encode(KEY).decode()
CANARY = "canary4f1c9a77b2"
EVENT = b"\x08\x03" + msgpack.packb({"LTime": 1, "Name": "deploy", "Payload": CANARY})
SEALED, CLEAR = udp(A, B, Keyring([KEY]).seal(EVENT, bytes(12), b"")), udp(A, B, EVENT)

Output = pytest.CaptureFixture[str]


def run(*args: object) -> int:
    return main(["prove", *map(str, args)])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "mesh.pcap").write_bytes(pcap([SEALED, SEALED]).getvalue())
    (tmp_path / "twin.pcap").write_bytes(pcap([CLEAR]).getvalue())
    (tmp_path / "gossip.json").write_text(json.dumps([SECRET]))
    (tmp_path / "words").write_text(f"\n{CANARY}\n")
    return tmp_path


def bundle(files: Path, name: str = "bundle", *more: object, mesh: str = "mesh.pcap") -> int:
    return run(
        "-ports", "8301", "-canary-file", files / "words", "-gossip-keyring", files / "gossip.json",
        "-control", files / "twin.pcap", "-node", "server1=10.0.0.1", "-config-file", files / "words",
        "-bundle", files / name, *more, files / mesh,
    )  # fmt: skip


def verify(files: Path, name: str = "bundle", *, key: bool = True) -> int:
    return run("-verify", files / name, *(("-gossip-keyring", files / "gossip.json") if key else ()))


@pytest.mark.parametrize("name", ["bundle", "bundle.tar.gz", "bundle.tgz"])
@pytest.mark.parametrize(("mesh", "code"), [("mesh.pcap", 0), ("twin2.pcap", 2), ("silent.pcap", 3)])
def test_a_bundle_comes_to_the_same_verdict_again(
    files: Path, capsys: Output, name: str, mesh: str, code: int
) -> None:
    shutil.copy(files / "twin.pcap", files / "twin2.pcap")
    (files / "silent.pcap").write_bytes(pcap([]).getvalue())
    assert bundle(files, name, mesh=mesh) == code
    made = capsys.readouterr().out
    shutil.move(files / name, files / f"moved-{name}")
    assert verify(files, f"moved-{name}") == code
    again = capsys.readouterr().out
    assert "VERIFIED: no file of" in again
    assert again.splitlines()[-1] == made.splitlines()[-1]
    assert made.splitlines()[0].split()[-1] == again.splitlines()[0].split()[-1]
    assert SECRET not in made + again


def test_a_bundle_holds_captures_verdict_report_and_digests(files: Path) -> None:
    assert bundle(files) == 0
    content = json.loads((files / "bundle" / "verdict.json").read_text())
    assert (content["schema"], content["outcome"]) == ("meshnode.prove/1", "proved")
    assert [one["file"] for one in content["captures"]] == ["captures/mesh.pcap"]
    asked = json.loads((files / "bundle" / "question.json").read_text())
    assert asked["canaries"] == [{"word": CANARY, "sha256": hashlib.sha256(CANARY.encode()).hexdigest()}]
    assert asked["nodes"] == {"10.0.0.1": "server1"}
    assert list(asked["configs"].values()) == [hashlib.sha256((files / "words").read_bytes()).hexdigest()]
    assert set(parse((files / "bundle" / MANIFEST).read_bytes())) == {
        "README.txt", "captures/mesh.pcap", "control/twin.pcap", "question.json", "report.html", "verdict.json"
    }  # fmt: skip
    everything = b"".join(path.read_bytes() for path in (files / "bundle").rglob("*") if path.is_file())
    assert SECRET.encode() not in everything
    assert KEY not in everything


def test_the_summary_names_the_bundle_and_tells_no_secret(files: Path) -> None:
    assert bundle(files, "bundle", "-summary-file", files / "summary.json") == 0
    text = (files / "summary.json").read_text()
    found = json.loads(text)
    digest = hashlib.sha256((files / "bundle" / MANIFEST).read_bytes()).hexdigest()
    assert (found["outcome"], found["bundle"]) == ("proved", {"file": "bundle", "manifest_sha256": digest})
    assert CANARY not in text
    assert SECRET not in text
    assert bundle(files, "other", "-summary-file", "/nowhere/summary.json") == 1


def test_digests_of_configurations_are_in_the_question_and_in_the_report(files: Path) -> None:
    assert bundle(files, "bundle", f"-config-digest=server1={'ab' * 32}") == 0
    asked = json.loads((files / "bundle" / "question.json").read_text())
    assert asked["configs"]["server1"] == "ab" * 32
    assert "ab" * 32 in (files / "bundle" / "report.html").read_text()
    assert verify(files) == 0


def test_one_changed_byte_anywhere_is_named(files: Path, capsys: Output) -> None:
    bundle(files)
    folder = files / "bundle"
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, written = str(path.relative_to(folder)), path.read_bytes()
        for at in {0, len(written) // 2, len(written) - 1}:
            path.write_bytes(written[:at] + bytes((written[at] ^ 1,)) + written[at + 1 :])
            capsys.readouterr()
            assert verify(files) == 1, (name, at)
            output = capsys.readouterr().out
            assert name in output or name == MANIFEST, (name, at, output)
            assert output.splitlines()[-1] == f"CHANGED: {folder} is not what it was."
        path.write_bytes(written)
    assert verify(files) == 0


def test_a_changed_byte_inside_an_archive_is_named(files: Path, capsys: Output) -> None:
    bundle(files, "b.tar.gz")
    written = (files / "b.tar.gz").read_bytes()
    for at in range(0, len(written), 211):
        (files / "b.tar.gz").write_bytes(written[:at] + bytes((written[at] ^ 8,)) + written[at + 1 :])
        capsys.readouterr()
        assert verify(files, "b.tar.gz") == 1
        assert "b.tar.gz was changed" in capsys.readouterr().out


def test_a_file_that_is_missing_or_new_is_named(files: Path, capsys: Output) -> None:
    bundle(files)
    (files / "bundle" / "new").write_text("x")
    (files / "bundle" / "captures" / "mesh.pcap").unlink()
    assert verify(files) == 1
    output = capsys.readouterr().out
    assert "captures/mesh.pcap is missing" in output
    assert "new is not in the MANIFEST" in output


def forge(folder: Path, change: Callable[[Path], None]) -> None:
    """Change files, and write the list anew, as a forger would."""
    change(folder)
    names = parse((folder / MANIFEST).read_bytes())
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / MANIFEST).write_bytes(serialize(found))


def swap_words(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def whole(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            swap_words("verdict.json", '"proved"', '"failed"'),
            "verdict.json says something else about control.outcome",
        ),
        (
            swap_words("verdict.json", '"payload_bytes": ', '"payload_bytes": 1'),
            "about verdicts[0].flows[0].payload",
        ),
        (swap_words("report.html", "PROVED", "Proved"), "report.html is not the page of this verdict"),
        (swap_words("question.json", "server1", "server9"), "something else about question.nodes.10.0.0.1"),
        (
            lambda folder: (folder / "captures/mesh.pcap").write_bytes(pcap([SEALED]).getvalue()) and None,
            "verdict.json says something else about captures[0].frames",
        ),
    ],
)
def test_a_forger_who_writes_the_list_anew_does_not_come_to_the_same_verdict(
    files: Path, capsys: Output, change: Callable[[Path], None], message: str
) -> None:
    bundle(files)
    forge(files / "bundle", change)
    assert verify(files) == 1
    output = capsys.readouterr().out
    assert message in output
    assert "CHANGED: judged again" in output


def test_without_the_key_the_files_are_compared_and_the_rest_is_void(files: Path, capsys: Output) -> None:
    bundle(files)
    assert verify(files, key=False) == 3
    output = capsys.readouterr().out
    assert "No file of" in output
    assert (
        f"without the gossip keys {gossip_key_fingerprint(KEY)}: give them with -gossip-keyring (given: none)"
        in output
    )
    (files / "gossip.json").write_text(json.dumps([base64.b64encode(bytes(32)).decode()]))
    assert verify(files) == 3


def test_a_bundle_with_keys_needs_no_others_and_says_what_it_is(files: Path) -> None:
    assert bundle(files, "bundle", "-bundle-keys") == 0
    assert verify(files, key=False) == 0
    assert json.loads((files / "bundle" / "SECRET-gossip.json").read_text()) == [SECRET]
    assert "holds the keys of the gossip" in (files / "bundle" / "report.html").read_text()


def test_a_report_of_another_version_is_not_compared(files: Path, capsys: Output) -> None:
    bundle(files)
    forge(files / "bundle", swap_words("question.json", "meshnode 0", "meshnode 99."))
    assert verify(files) == 0
    assert "The report is by meshnode 99." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-verify", "/nowhere"], "-verify: there is no bundle /nowhere"),
        (["-verify", "/nowhere", "-json"], "-verify asks what the bundle was asked: leave out -json"),
        (["-verify", "/nowhere", "x"], "takes no arguments"),
        (["-bundle", "b", "-no-control", "x"], "-bundle keeps a mesh with its control: give -control"),
        (["-bundle", "b", "-expect", "plaintext", "x"], "-bundle keeps a mesh with its control"),
        (["-bundle-keys", "-control", "y", "x"], "-bundle-keys needs -bundle, and -gossip-keyring"),
        (["-control", "y", "-no-control", "x"], "contradict each other"),
        (["-control", "x", "x"], "-control: x is judged as the mesh, too"),
        (["-control", "y", "-expect", "plaintext", "x"], "leave out -control"),
        (["-format", "xml", "x"], "-format: 'xml' is neither text nor json"),
        (["-node", "server1", "x"], "-node: 'server1' is not a name with an address such as server1=10.0.0.1"),
        (["-node", "a=b", "x"], "-node: 'a=b' is not a name with an address"),
        (["-config-file", "/nowhere", "x"], "-config-file: can't read /nowhere: No such file"),
        (["-config-digest", "server1=abc", "x"], "-config-digest: 'server1=abc' is not a name with a SHA-256"),
        (["-config-digest", "=" + "0" * 64, "x"], "is not a name with a SHA-256"),
        (["-config-digest", "a=" + "g" * 64, "x"], "is not a name with a SHA-256"),
        (["-canary-file", "/nowhere", "x"], "-canary-file: can't read /nowhere: No such file"),
        (["-canary-file", "/dev/null", "x"], "-canary-file: /dev/null holds 0 words"),
        (["-canary-file", "/dev/zero", "x"], "-canary-file: /dev/zero is larger than"),
    ],
)  # fmt: skip
def test_a_bad_command_line_is_a_sentence(args: list[str], message: str, capsys: Output) -> None:
    assert run(*args) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_a_directory_that_is_no_bundle_is_said_to_be_none(tmp_path: Path, capsys: Output) -> None:
    assert run("-verify", tmp_path) == 1
    assert f"there is no {MANIFEST}: is this a bundle?" in capsys.readouterr().out


def test_without_a_control_a_verdict_is_void(files: Path, capsys: Output) -> None:
    keyring = ("-gossip-keyring", files / "gossip.json")
    assert run(*keyring, "-capture", files / "mesh.pcap") == 3
    assert "there is no control" in capsys.readouterr().out
    assert run(*keyring, "-no-control", files / "mesh.pcap") == 0
    assert run(*keyring, files / "twin.pcap") == 2


def test_rows_of_pairs_are_named_by_their_nodes(files: Path, capsys: Output) -> None:
    assert (
        run(
            "-no-control",
            "-gossip-keyring",
            files / "gossip.json",
            "-node",
            "server1=10.0.0.1",
            files / "mesh.pcap",
        )
        == 0
    )
    rows = capsys.readouterr().out.splitlines()
    assert any(row.startswith("server1 > 10.0.0.2  8301  tells  encrypted and authenticated") for row in rows)


def test_whatever_a_forger_writes_into_a_bundle_is_answered_by_a_sentence(
    files: Path, capsys: Output
) -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "15"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    bundle(files)
    folder = files / "bundle"
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "60"))):
        name = rng.choice(["question.json", "verdict.json"])
        written = (folder / name).read_text()
        content = json.loads(written)
        place = content if rng.random() < 0.7 else content.get("question", content)
        place[rng.choice(list(place))] = rng.choice(
            [None, 5, "x", [], {}, [5], ["x"], [{}], {"x": 5}, [[]], True]
        )
        forge(folder, whole(name, json.dumps(content)))
        assert verify(files) in (0, 1, 3), content
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err + shown.out
        assert "internal" not in shown.err
        forge(folder, whole(name, written))
    assert verify(files) == 0


@pytest.mark.parametrize(
    ("text", "message"), [("[" * 100_000, "not JSON"), ("[]", "no JSON object"), ("{", "not JSON")]
)
def test_a_document_that_is_none_is_named(files: Path, capsys: Output, text: str, message: str) -> None:
    bundle(files)
    forge(files / "bundle", whole("question.json", text))
    assert verify(files) == 1
    assert "question.json of the bundle is" in (shown := capsys.readouterr().err)
    assert message in shown


def test_a_document_that_is_too_long_is_not_read(
    files: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(files)
    size = (files / "bundle" / "verdict.json").stat().st_size
    for limit, code in ((size, 0), (size - 1, 1)):
        monkeypatch.setattr("meshnode.cli.prove_bundle.MAX_DOCUMENT_BYTES", limit)
        assert verify(files) == code
    assert "verdict.json of the bundle is larger than" in capsys.readouterr().err
