from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli.services import _progress
from tests.support.http_stub import StubAgent

REGISTER = "PUT /v1/agent/service/register"
HCL = """
node_name = "ignored"
service {
  id = "web1"
  name = "web"
  port = "8080"
  enable_tag_override = true
  meta { Some_Key = "v" }
  check { http = "http://localhost/", interval = "10s", tls_skip_verify = true, header { X_a = ["b"] } }
}
services = [{ name = "db", checks = [{ ttl = "10s" }, { args = ["/bin/check", "-v"], interval = "5s" }] }]
"""


def lowered(body: bytes) -> Any:
    """The API compares keys without case."""
    return {key.lower(): value for key, value in json.loads(body).items()}


def test_services_of_hcl_files_are_registered_in_order(agent: StubAgent, run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.hcl").write_text(HCL)
    (tmp_path / "b.json").write_text('{"service": {"Name": "cache", "Weights": {"Passing": 2}}}')
    agent.answer(REGISTER)
    done = run("services", "register", str(tmp_path / "a.hcl"), str(tmp_path / "b.json"))
    assert (done.code, done.err) == (0, "")
    assert done.out == "Registered service: web\nRegistered service: db\nRegistered service: cache\n"
    assert [lowered(asked.body) for asked in agent.asked] == [
        {
            "id": "web1", "name": "web", "port": 8080, "enabletagoverride": True, "meta": {"Some_Key": "v"},
            "check": {"http": "http://localhost/", "interval": "10s", "tlsskipverify": True, "header": {"X_a": ["b"]}},
        },
        {"name": "db", "checks": [{"ttl": "10s"}, {"args": ["/bin/check", "-v"], "interval": "5s"}]},
        {"name": "cache", "weights": {"passing": 2}},
    ]  # fmt: skip


def test_a_repeated_block_is_several_checks(agent: StubAgent, run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.hcl").write_text('service { name = "a"\ncheck { ttl = "1s" }\ncheck { ttl = "2s" } }')
    agent.answer(REGISTER)
    assert run("services", "register", str(tmp_path / "a.hcl")).code == 0
    assert lowered(agent.last.body)["checks"] == [{"ttl": "1s"}, {"ttl": "2s"}]


def test_flags_describe_one_service(agent: StubAgent, run: Any) -> None:
    agent.answer(REGISTER)
    flags = ["-name=web", "-id=w1", "-address=10.0.0.1", "-port=80", "-tag=a", "-tag=b", "-meta=k=v=w"]
    assert run("services", "register", *flags).out == "Registered service: web\n"
    assert lowered(agent.last.body) == {
        "name": "web", "id": "w1", "address": "10.0.0.1", "port": 80, "tags": ["a", "b"], "meta": {"k": "v=w"},
    }  # fmt: skip
    run("services", "register", "-name=web")
    assert lowered(agent.last.body) == {"name": "web"}


def test_services_are_deregistered_by_their_id_or_name(agent: StubAgent, run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.hcl").write_text(HCL)
    for name in ("web1", "db", "x%2Fy"):
        agent.answer(f"PUT /v1/agent/service/deregister/{name}")
    done = run("services", "deregister", str(tmp_path / "a.hcl"))
    assert (done.code, done.out) == (0, "Deregistered service: web1\nDeregistered service: db\n")
    assert run("services", "deregister", "-id=x/y").out == "Deregistered service: x/y\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('service { nmae = "x" }', "a.hcl:1:11: a service has no key 'nmae': did you mean name?"),
        ('service { name = "x"\n check { intervall = "1s" } }', "a.hcl:2:10: a check has no key 'intervall'"),
        ("service { port = 1 }", 'a service needs a name: add name = "web"'),
        ("services = [1]", "a.hcl:1:13: a service is an object: write { ... }"),
        ('node_name = "x"', "a.hcl: it holds no service"),
        ("service {", "a.hcl:1:"),
        ('{"service": ', "a.hcl:1:"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(
    agent: StubAgent, run: Any, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "a.hcl").write_text(text)
    for command in ("register", "deregister"):
        done = run("services", command, str(tmp_path / "a.hcl"))
        assert (done.code, done.out, agent.asked) == (1, "", [])
        assert done.err.startswith("Error: ")
        assert words in done.err


def test_nothing_is_registered_when_the_last_file_is_wrong(
    agent: StubAgent, run: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.hcl").write_text(HCL)
    (tmp_path / "b.hcl").write_bytes(b"\xff")
    done = run("services", "register", str(tmp_path / "a.hcl"), str(tmp_path / "b.hcl"))
    assert (done.code, agent.asked) == (1, [])
    assert done.err == f"Error: {tmp_path / 'b.hcl'}: it is not UTF-8 text\n"
    assert "Failed to read file: '/no/such'" in run("services", "register", "/no/such").err


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"name": "b", "port": "x"}, "Port"),
        ({"name": "b", "port": 70000}, "Port"),
        ({"name": "b", "check": {"http": "ftp://a", "interval": "1s"}}, "ftp"),
        ({"name": "b", "checks": [{"tcp": "a:1"}]}, "Interval"),
        ({"name": "b", "address": "0.0.0.0"}, "Invalid service address"),
        ({"id": "b"}, "Missing service name"),
    ],
)
def test_nothing_is_registered_when_an_agent_would_refuse_the_last_one(
    agent: StubAgent, run: Any, tmp_path: Path, service: dict[str, Any], words: str
) -> None:
    (tmp_path / "a.hcl").write_text(HCL)
    (tmp_path / "b.json").write_text(json.dumps({"services": [{"name": "c"}, service]}))
    done = run("services", "register", str(tmp_path / "a.hcl"), str(tmp_path / "b.json"))
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert done.err.startswith(f'Error: {tmp_path / "b.json"}: service "b": ')
    assert words in done.err


def test_when_the_agent_refuses_one_it_is_said_what_became_of_the_others(
    agent: StubAgent, run: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.hcl").write_text(HCL)
    (tmp_path / "b.json").write_text('{"services": [{"name": "c"}, {"name": "d"}]}')
    files = [str(tmp_path / "a.hcl"), str(tmp_path / "b.json")]
    agent.answer(REGISTER, b"Permission denied", status=403)
    refused = "Unexpected response code: 403 (Permission denied)"
    done = run("services", "register", *files)
    assert (done.out, len(agent.asked)) == ("", 1)
    assert done.err == f'Error registering service "web": {refused}; not tried: db, c, d\n'
    assert _progress(["web", "db", "c"], 1) == "; registered before it: web; not tried: c"
    assert _progress(["web", "db"], 1) == "; registered before it: web"
    assert _progress(["web"], 0) == ""


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["register"], "Service registration requires at least one argument or flags."),
        (["register", "-port=1"], "Service registration requires at least one argument or flags."),
        (["register", "-name=a", "f.hcl"], "Service registration requires arguments or -id, not both."),
        (["register", "f.hcl", "-name=a"], "-name=a must come before the files"),
        (["register", "-name=a", "-meta=x"], '-meta: Missing "=" value in argument: x'),
        (["register", "-name=a", "-port=65536"], "65536 is too large: the largest is 65535"),
        (["deregister"], "Service deregistration requires at least one argument or -id."),
        (["deregister", "-id=a", "f.hcl"], "Service deregistration requires arguments or -id, not both."),
    ],
)
def test_bad_arguments_are_refused(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("services", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err


def test_a_refusal_names_the_service(agent: StubAgent, run: Any) -> None:
    agent.answer(REGISTER, b"Permission denied", status=403)
    agent.answer("PUT /v1/agent/service/deregister/web", b"Permission denied", status=403)
    refusal = "Unexpected response code: 403 (Permission denied)\n"
    assert run("services", "register", "-name=web").err == f'Error registering service "web": {refusal}'
    assert run("services", "deregister", "-id=web").err == f'Error deregistering service "web": {refusal}'
