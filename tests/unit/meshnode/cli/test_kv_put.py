from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli import data_argument
from tests.support.http_stub import StubAgent


@pytest.fixture
def store(agent: StubAgent) -> StubAgent:
    agent.answer("PUT /v1/kv/a/b", b"true")
    return agent


@pytest.mark.parametrize(
    ("args", "query", "body", "out"),
    [
        (["a/b", "one"], {}, b"one", "Success! Data written to: a/b\n"),
        (["a/b"], {}, b"", "Success! Data written to: a/b\n"),
        (["a/b", ""], {}, b"", "Success! Data written to: a/b\n"),
        (["a/b", "-x"], {}, b"-x", "Success! Data written to: a/b\n"),
        (["a/b", "\udcff"], {}, b"\xff", "Success! Data written to: a/b\n"),
        (["-flags=18446744073709551615", "a/b", "x"], {"flags": "18446744073709551615"}, b"x",
         "Success! Data written to: a/b\n"),
        (["-base64", "a/b", "b25l"], {}, b"one", "Success! Data written to: a/b\n"),
        (["-cas", "-modify-index=7", "a/b", "x"], {"cas": "7"}, b"x", "Success! Data written to: a/b\n"),
        (["-cas", "-modify-index=0", "a/b", "x"], {"cas": "0"}, b"x", "Success! Data written to: a/b\n"),
        (["-acquire", "-session=9f", "a/b"], {"acquire": "9f"}, b"", "Success! Lock acquired on: a/b\n"),
        (["-release", "-session=9f", "a/b"], {"release": "9f"}, b"", "Success! Lock released on: a/b\n"),
        (["-datacenter=dc2", "-stale", "a/b"], {"dc": "dc2"}, b"", "Success! Data written to: a/b\n"),
    ],
)  # fmt: skip
def test_each_way_to_write(
    store: StubAgent, run: Any, args: list[str], query: dict[str, str], body: bytes, out: str
) -> None:
    done = run("kv", "put", *args)
    assert (done.code, done.out, done.err) == (0, out, "")
    assert (store.last.query, store.last.body) == (query, body)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-cas", "-modify-index=7"], "Error! Did not write to a/b: CAS failed\n"),
        (["-acquire", "-session=9f"], "Error! Did not acquire lock\n"),
        (["-release", "-session=9f"], "Error! Did not release lock\n"),
    ],
)
def test_what_stands_against_it_is_a_failure(
    agent: StubAgent, run: Any, flags: list[str], words: str
) -> None:
    agent.answer("PUT /v1/kv/a/b", b"false\n")
    done = run("kv", "put", *flags, "a/b", "x")
    assert (done.code, done.out, done.err) == (1, "", words)


def test_data_comes_from_a_file_or_from_standard_input(
    store: StubAgent, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_bytes(b"\x00\xffraw\n")
    run("kv", "put", "a/b", f"@{tmp_path / 'data'}")
    assert store.last.body == b"\x00\xffraw\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"b25l\n")))
    run("kv", "put", "-base64", "a/b", "-")
    assert store.last.body == b"one"


def test_a_file_may_be_as_long_as_allowed_and_not_longer(
    store: StubAgent, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_argument, "MAX_DATA_BYTES", 4)
    (tmp_path / "data").write_bytes(b"1234")
    assert run("kv", "put", "a/b", f"@{tmp_path / 'data'}").code == 0
    (tmp_path / "data").write_bytes(b"12345")
    done = run("kv", "put", "a/b", f"@{tmp_path / 'data'}")
    assert done.err == f"Error! {tmp_path / 'data'}: more than 4 bytes are not taken: split the data\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Error! Missing KEY argument"),
        (["a", "b", "c"], "Error! Too many arguments (expected 1 or 2, got 3)"),
        (["a", "b", "-cas"], "-cas must come before KEY"),
        (["/a", "b"], "Invalid key. Key must not begin with a '/': /a"),
        (["a", "@/no/such"], "Error! Failed to read file: '/no/such': No such file or directory"),
        (["a", "@"], "Error! Failed to read file: '': No such file or directory"),
        (["-base64", "a", "?"], "Error! Cannot base 64 decode data: "),
        (["-acquire", "a"], "Error! Missing -session (required with -acquire and -release)"),
        (["-release", "a"], "Error! Missing -session (required with -acquire and -release)"),
        (["-cas", "a"], "Must specify -modify-index with -cas!"),
        (["-flags=-1", "a"], "flag -flags: -1 is too small"),
        (["-flags=18446744073709551616", "a"], "flag -flags: 18446744073709551616 is too large"),
    ],
)
def test_what_cannot_be_written_is_refused(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("kv", "put", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err


def test_a_refusal_begins_as_consuls_does(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/kv/a", b"Permission denied", status=403)
    done = run("kv", "put", "a", "hidden-value")
    assert done.err == "Error! Failed writing data: Unexpected response code: 403 (Permission denied)\n"
