from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.watch_handler import (
    HttpHandler,
    ProgramHandler,
    WatchDefinition,
    parse_watch,
    run_handler,
)
from meshnode.base.errors import ConfigError
from meshnode.watch.machine import RunHandler
from meshnode.watch.plan import parse_plan
from tests.support.http_stub import stub_agent

WANTED = RunHandler("17", [{"Node": "é"}])


def no_tls(skip_verify: bool) -> Any:
    raise AssertionError("no TLS here")


def handle(handler: ProgramHandler | HttpHandler) -> None:
    asyncio.run(run_handler(handler, WANTED, no_tls))


def test_a_program_is_given_by_its_arguments_or_by_one_line_for_the_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SHELL", raising=False)
    watch = parse_watch({"type": "nodes", "args": ["/bin/x", "a b"], "token": "t"}, "watches[0]")
    assert watch == WatchDefinition(parse_plan({"type": "nodes"}), ProgramHandler(("/bin/x", "a b")), "t")
    watch = parse_watch(
        {"type": "nodes", "handler": "x | y", "args": [], "handler_type": "script"}, "watches[0]"
    )
    assert watch.handler == ProgramHandler(("/bin/sh", "-c", "x | y"))


def test_a_request_is_given_by_its_configuration() -> None:
    settings = {
        "path": "https://h/p",
        "method": "PUT",
        "timeout": 3.0,
        "header": {"A": ["1", "2"]},
        "tls_skip_verify": True,
    }
    watch = parse_watch(
        {"type": "nodes", "handler_type": "http", "http_handler_config": settings}, "watches[0]"
    )
    assert watch.handler == HttpHandler("https://h/p", "PUT", 3.0, (("A", ("1", "2")),), tls_skip_verify=True)
    short = {"type": "nodes", "handler_type": "http", "http_handler_config": {"path": "http://h"}}
    assert parse_watch(short, "watches[0]").handler == HttpHandler("http://h", "POST", 10.0)


def test_secrets_are_not_shown() -> None:
    settings = {"path": "http://h", "header": {"Authorization": ["hidden"]}}
    watch = parse_watch(
        {"type": "nodes", "token": "hidden", "handler_type": "http", "http_handler_config": settings},
        "watches[0]",
    )
    assert "hidden" not in repr(watch)


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({}, "watches[2].type: a watch needs one"),
        ({"type": "key", "args": ["x"]}, "watches[2].key: a watch of type 'key' needs it"),
        ({"type": "nodes"}, "watches[2].args: the watch has nothing to run"),
        ({"type": "nodes", "handler": "x", "args": ["x"]}, "watches[2].handler: args is given too"),
        ({"type": "nodes", "args": [5]}, "watches[2].args: a list of texts is expected"),
        ({"type": "nodes", "handler_type": "mail", "args": ["x"]}, "watches[2].handler_type: 'mail' is not recognized"),
        ({"type": "nodes", "handler_type": "http"}, "watches[2].http_handler_config.path: '' is not a URL"),
        ({"type": "nodes", "handler_type": "http", "http_handler_config": {"path": "ftp://x"}}, "is not a URL"),
        ({"type": "nodes", "handler_type": "http", "http_handler_config": {"path": "http://x:99999"}}, "is not a URL"),
        ({"type": "nodes", "handler_type": "http", "http_handler_config": {"path": "http://x", "body": "y"}},
         "watches[2].http_handler_config.body: there is no such key"),
        ({"type": "nodes", "handler_type": "http", "args": ["x"], "http_handler_config": {"path": "http://x"}},
         "watches[2].args: a watch with handler_type http runs no program"),
    ],
)  # fmt: skip
def test_a_fault_names_the_key_in_its_place(definition: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_watch(definition, "watches[2]")
    assert words in str(raised.value)


def test_a_program_gets_the_data_and_the_index(tmp_path: Path) -> None:
    out = tmp_path / "out"
    handle(ProgramHandler(("/bin/sh", "-c", f"echo $CONSUL_INDEX > {out}; cat >> {out}")))
    assert out.read_text() == '17\n[{"Node":"é"}]\n'


def test_what_a_program_prints_is_logged_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    handle(ProgramHandler(("/bin/sh", "-c", "seq 1 2000; exit 3")))
    assert "exit status 3" in caplog.text
    assert "Captured 4096 of 8893 bytes\n...\n" in caplog.text
    handle(ProgramHandler(("/no/such/program",)))
    assert "Failed to run watch handler '/no/such/program': can't run '/no/such/program'" in caplog.text


def test_a_request_carries_the_data_and_the_index(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with stub_agent() as stub:
        stub.answer("POST /hook", b"thanks")
        handle(HttpHandler(f"http://{stub.address}/hook?secret=1", header=(("X-Me", ("1",)),)))
        assert json.loads(stub.last.body) == [{"Node": "é"}]
        assert stub.last.query == {"secret": "1"}
        headers = {name.lower(): value for name, value in stub.last.headers.items()}
        assert (headers["x-consul-index"], headers["content-type"]) == ("17", "application/json")
        assert headers["x-me"] == "1"
        assert "thanks" in caplog.text
        handle(
            HttpHandler(f"http://{stub.address}/elsewhere", "PUT", header=(("content-type", ("text/x",)),))
        )
        assert (stub.last.method, {n.lower(): v for n, v in stub.last.headers.items()}["content-type"]) == (
            "PUT",
            "text/x",
        )
    assert f"http watch handler 'http://{stub.address}/elsewhere' failed: " in caplog.text
    assert "404" in caplog.text
    handle(HttpHandler(f"http://me:password@{stub.address}/hook"))
    assert "connection refused" in caplog.text
    assert "password" not in caplog.text
