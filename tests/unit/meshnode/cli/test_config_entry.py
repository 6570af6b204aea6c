"""``config delete``, ``list``, ``read`` and ``write``: calls, output and exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

BASE = "/v1/config"
WEB = {"Kind": "service-defaults", "Name": "web", "Protocol": "http", "CreateIndex": 13, "ModifyIndex": 13}
HCL = 'kind = "service-defaults"\nname = "web"\nprotocol = "http"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web.hcl"
    path.write_text(HCL)
    return path


@pytest.mark.parametrize(
    "text", [HCL, json.dumps({"Kind": "service-defaults", "Name": "web", "Protocol": "http"})]
)
def test_an_entry_is_written_from_a_file_in_hcl_or_json(
    agent: StubAgent, run: Any, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "entry"
    path.write_text(text)
    agent.answer(f"PUT {BASE}", True)
    done = run("config", "write", "-datacenter=dc2", str(path))
    assert (done.code, done.out, done.err) == (0, "Config entry written: service-defaults/web\n", "")
    assert agent.last.query == {"dc": "dc2"}
    assert {name.lower(): value for name, value in json.loads(agent.last.body).items()} == {
        "kind": "service-defaults", "name": "web", "protocol": "http",
    }  # fmt: skip


def test_an_entry_is_written_from_standard_input(
    agent: StubAgent, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.answer(f"PUT {BASE}", True)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'Kind = "proxy-defaults"')))
    assert run("config", "write", "-").out == "Config entry written: proxy-defaults/global\n"


@pytest.mark.parametrize(("args", "cas"), [(["-cas"], "0"), (["-cas", "-modify-index=26"], "26")])
def test_a_condition_is_sent_and_its_failure_told(
    agent: StubAgent, run: Any, file: Path, args: list[str], cas: str
) -> None:
    agent.answer(f"PUT {BASE}", False)
    done = run("config", "write", *args, str(file))
    assert (done.code, done.out, done.err) == (1, "", "Config entry not updated: service-defaults/web\n")
    assert agent.last.query == {"cas": cas}


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (b'{"Kind": ', "Failed to decode config entry input: {file}:1:"),
        (b"\xff", "Failed to decode config entry input: {file} is not UTF-8"),
        (b'name = "web"', "Failed to decode config entry input: {file}: Kind is required"),
    ],
)
def test_a_file_that_is_no_entry_is_refused_with_its_name(
    agent: StubAgent, run: Any, file: Path, content: bytes, because: str
) -> None:
    file.write_bytes(content)
    done = run("config", "write", str(file))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(because.format(file=file))
    assert agent.asked == []


def test_the_reason_of_a_server_is_told(agent: StubAgent, run: Any, file: Path) -> None:
    agent.answer(f"PUT {BASE}", b"Request decode failed: no", 400)
    done = run("config", "write", str(file))
    assert (done.code, done.err) == (
        1,
        "Error writing config entry service-defaults/web: "
        "Unexpected response code: 400 (Request decode failed: no)\n",
    )


def test_an_entry_is_read_as_json_indented_by_four(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {BASE}/service-defaults/web", WEB)
    done = run("config", "read", "-kind", "service-defaults", "-name", "web", "-stale")
    assert (done.code, done.err) == (0, "")
    assert done.out == json.dumps(WEB, indent=4) + "\n"
    assert agent.last.query == {"stale": ""}


def test_names_are_listed_one_to_a_line(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {BASE}/service-defaults", [WEB, {**WEB, "Name": "api"}])
    agent.answer(f"GET {BASE}/service-router", [])
    assert run("config", "list", "-kind", "service-defaults").out == "web\napi\n"
    assert (run("config", "list", "-kind", "service-router").out, agent.last.path) == (
        "",
        f"{BASE}/service-router",
    )


@pytest.mark.parametrize("by_file", [False, True])
def test_an_entry_is_deleted_by_name_or_by_file(
    agent: StubAgent, run: Any, file: Path, by_file: bool
) -> None:
    agent.answer(f"DELETE {BASE}/service-defaults/web", {})
    named = ["-filename", str(file)] if by_file else ["-kind", "service-defaults", "-name", "web"]
    done = run("config", "delete", *named)
    assert (done.code, done.out, done.err) == (0, "Config entry deleted: service-defaults/web\n", "")


def test_a_deletion_under_a_condition(agent: StubAgent, run: Any) -> None:
    args = ["config", "delete", "-kind", "service-defaults", "-name", "web", "-cas", "-modify-index", "26"]
    agent.answer(f"DELETE {BASE}/service-defaults/web", True)
    assert run(*args).out == "Config entry deleted: service-defaults/web\n"
    assert agent.last.query == {"cas": "26"}
    agent.answer(f"DELETE {BASE}/service-defaults/web", False)
    done = run(*args)
    assert (done.code, done.out, done.err) == (1, "", "Config entry not deleted: service-defaults/web\n")


@pytest.mark.parametrize(
    ("args", "because"),
    [
        (["write"], "Must provide exactly one positional argument to specify the config entry to write"),
        (
            ["write", "a", "b"],
            "Must provide exactly one positional argument to specify the config entry to write",
        ),
        (["write", "/does/not/exist"], "Failed to read file: '/does/not/exist'"),
        (["write", "-modify-index=3", "FILE"], "Cannot specify -modify-index without -cas"),
        (
            ["write", "-cas", "-modify-index=x", "FILE"],
            "-modify-index: 'x' is no index: write a whole number",
        ),
        (["write", "-cas", f"-modify-index={2**63}", "FILE"], f"-modify-index: '{2**63}' is no index"),
        (["read"], "Must specify the -kind parameter"),
        (["read", "-kind=service-router"], "Must specify the -name parameter"),
        (["list"], "Must specify the -kind parameter"),
        (["delete", "-kind=service-router"], "Must specify the -name parameter"),
        (["delete", "-kind=a", "-name=b", "-cas"], "Must specify a -modify-index greater than 0 with -cas"),
        (
            ["delete", "-kind=a", "-name=b", "-cas", "-modify-index=0"],
            "Must specify a -modify-index greater than 0",
        ),
        (["delete", "-kind=a", "-name=b", "-modify-index=1"], "Cannot specify -modify-index without -cas"),
        (["delete", "-kind=a", "-filename=FILE"], "filename can't be used with kind or name"),
        (["delete", "-filename=/does/not/exist"], "Failed to read file: '/does/not/exist'"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_sent(
    agent: StubAgent, run: Any, file: Path, args: list[str], because: str
) -> None:
    done = run("config", *(arg.replace("FILE", str(file)) for arg in args))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(because)
    assert agent.asked == []


def test_a_file_without_a_name_deletes_nothing(agent: StubAgent, run: Any, file: Path) -> None:
    file.write_text('kind = "service-router"')
    done = run("config", "delete", "-filename", str(file))
    assert (done.code, done.err) == (1, f"{file}: Kind and Name are required\n")
    assert agent.asked == []
