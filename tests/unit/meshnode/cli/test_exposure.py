"""``exposure``: what a configuration claims, read from its files; wrong input is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshnode.cli.main import main

Output = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.json"
    content = {
        "bind_addr": "10.1.2.3",
        "advertise_addr": "10.1.2.3",
        "server": True,
        "data_dir": str(tmp_path),
    }
    path.write_text(json.dumps(content | {"client_addr": "127.0.0.1", "encrypt": "A" * 43 + "="}))
    return path


def test_the_claims_of_a_file_are_a_row_for_each_knock(file: Path, capsys: Output) -> None:
    assert main(["exposure", str(file)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Door From Address Way Claimed"
    assert "gossip udp outside 10.1.2.3:8301 in clear refused" in lines
    assert "gossip udp outside 10.1.2.3:8301 sealed answered, sealed" in lines
    assert "server rpc outside 10.1.2.3:8300 in clear answered" in lines
    assert "http inside 127.0.0.1:8500 in clear answered" in lines
    assert "http outside - in clear, TLS, mutual TLS nobody listens" in lines
    assert lines[-1] == "Claimed only: -observe asks the running agent."


def test_the_same_as_json_without_the_key(file: Path, capsys: Output) -> None:
    assert main(["exposure", "-json", "-outside", "10.9.9.9", str(file)]) == 0
    text = capsys.readouterr().out
    doors = json.loads(text)["doors"]
    assert {
        "door": "server rpc",
        "from": "outside",
        "way": "in clear",
        "claimed": "nobody listens",
        "seen": None,
    } in doors
    assert "AAAA" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "exposure: name the agent's configuration files, or give -matrix"),
        (["-matrix", "some"], "-matrix: 'some' is neither covering nor full"),
        (["-matrix", "full", "x.json"], "-matrix makes its own configurations: leave out the files"),
        (["-inside", "localhost", "FILE"], "-inside: 'localhost' is not an IP address"),
        (["-outside", "0", "FILE"], "-outside: '0' is not an IP address"),
        (["/nowhere.json"], "/nowhere.json"),
    ],
)
def test_wrong_input_is_named(file: Path, capsys: Output, arguments: list[str], message: str) -> None:
    assert main(["exposure", *[str(file) if one == "FILE" else one for one in arguments]]) == 1
    assert message in capsys.readouterr().err
