"""How managed proxies are started: the program, and what is in its environment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.config import AgentConfig
from meshnode.agent.managed_command import api_environment, inherited, own_command


@pytest.mark.parametrize("name", ["consul", "meshnode"])
def test_the_proxy_is_the_program_that_runs_now_under_the_same_name(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert own_command(str(program)) == (str(program), "connect", "proxy")
    program.chmod(0o644)
    assert own_command(str(program))[0] == sys.executable


@pytest.mark.parametrize("program", ["/usr/bin/pytest", "", "-c", "/nonexistent/consul"])
def test_where_there_is_no_program_it_is_the_module(program: str) -> None:
    assert own_command(program) == (sys.executable, "-m", "meshnode", "connect", "proxy")


def test_nothing_of_the_agents_own_is_inherited() -> None:
    environment = {
        "PATH": "/bin", "LANG": "C", "CONSUL_LOCAL_CONFIG": "secret", "CONSUL_HTTP_TOKEN": "t",
        "MESHNODE_LOCAL_CONFIG": "secret", "CONNECT_PROXY_TOKEN": "t", "NOTIFY_SOCKET": "/run/x",
    }  # fmt: skip
    assert inherited(environment) == {"PATH": "/bin", "LANG": "C"}


@pytest.mark.parametrize(
    ("keys", "address"),
    [
        ({}, "127.0.0.1:8500"),
        ({"client_addr": "0.0.0.0"}, "127.0.0.1:8500"),
        ({"client_addr": "::"}, "[::1]:8500"),
        ({"client_addr": "127.0.0.9", "ports": {"http": 18500}}, "127.0.0.9:18500"),
        ({"addresses": {"http": "unix:///run/consul.sock"}}, "unix:///run/consul.sock"),
        ({"ports": {"http": -1}}, None),
    ],
)
def test_the_api_is_asked_where_it_listens(
    config: Callable[..., AgentConfig], keys: dict[str, Any], address: str | None
) -> None:
    expected = {} if address is None else {"CONSUL_HTTP_ADDR": address}
    assert api_environment(config(**keys)) == expected


@pytest.mark.parametrize("mutual", [False, True])
def test_without_plain_http_it_is_asked_over_tls_with_the_agents_own_certificate_where_that_is_needed(
    config: Callable[..., AgentConfig], mutual: bool
) -> None:
    plain = config()
    tls = replace(
        plain.tls, ca_file="/ca.pem", cert_file="/c.pem", key_file="/k.pem", server_name="n1",
        verify_incoming_https=mutual,
    )  # fmt: skip
    found = api_environment(replace(plain, ports=replace(plain.ports, http=-1, https=8501), tls=tls))
    own = {"CONSUL_CLIENT_CERT": "/c.pem", "CONSUL_CLIENT_KEY": "/k.pem"} if mutual else {}
    assert found == {
        "CONSUL_HTTP_ADDR": "127.0.0.1:8501", "CONSUL_HTTP_SSL": "true", "CONSUL_CACERT": "/ca.pem",
        "CONSUL_TLS_SERVER_NAME": "n1", **own,
    }  # fmt: skip
