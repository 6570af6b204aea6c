"""Ports and defaults of the proxies that come with services, and what ``validate`` says of such services."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshnode.agent.config.assemble import settings_of
from meshnode.agent.config.checks_proxies import proxy_rules
from meshnode.agent.config.load import Loaded, load
from meshnode.base.errors import ConfigError
from meshnode.local.proxy_plan import PortRange


def loaded(text: str, *flags: str) -> Loaded:
    return load([*flags, "-bind", "127.0.0.1", "-data-dir", "/nonexistent", "-hcl", text], {})


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        loaded(text)
    return str(refused.value)


def test_the_rules_are_consuls_unless_the_configuration_has_others() -> None:
    rules = proxy_rules(settings_of(loaded("").config).__getitem__, "127.0.0.1")
    assert (rules.sidecar_ports, rules.managed_ports) == (PortRange(21000, 21255), PortRange(20000, 20255))
    assert (rules.defaults.exec_mode, rules.defaults.bind_address) == ("daemon", "127.0.0.1")
    text = """
      ports { sidecar_min_port = 1000  sidecar_max_port = 1001  proxy_min_port = 2000  proxy_max_port = 2000 }
      connect { proxy_defaults { exec_mode = "script"  daemon_command = ["d"]  script_command = ["s", "-x"]
        config { a = 1 } } }
    """
    rules = proxy_rules(settings_of(loaded(text).config).__getitem__, "10.0.0.1", ("own",))
    assert (rules.sidecar_ports, rules.managed_ports) == (PortRange(1000, 1001), PortRange(2000, 2000))
    defaults = rules.defaults
    assert (defaults.exec_mode, defaults.daemon_command, defaults.script_command) == (
        "script",
        ("d",),
        ("s", "-x"),
    )
    assert (dict(defaults.config), defaults.own_command, defaults.bind_address) == (
        {"a": 1},
        ("own",),
        "10.0.0.1",
    )


def test_a_root_agent_runs_managed_proxies_where_that_is_said_and_in_dev() -> None:
    assert not loaded("").config.connect.allow_managed_root
    assert loaded("connect { proxy { allow_managed_root = true } }").config.connect.allow_managed_root
    assert load(["-dev"], {}).config.connect.allow_managed_root
    assert not loaded("").config.connect.allow_managed_api_registration
    text = "connect { proxy { allow_managed_api_registration = true } }"
    assert loaded(text).config.connect.allow_managed_api_registration


@pytest.mark.parametrize("kind", ["sidecar", "proxy"])
def test_a_range_of_ports_holds_one_or_is_switched_off(kind: str) -> None:
    for first, last in ((2, 1), (1, 0), (0, 5)):
        text = f"ports {{ {kind}_min_port = {first}  {kind}_max_port = {last} }}"
        assert f"{kind}_max_port" in refusal(text)
        assert "must be less than" in refusal(text)
    for first, last in ((1, 1), (0, 0), (-1, -1)):
        loaded(f"ports {{ {kind}_min_port = {first}  {kind}_max_port = {last} }}")


@pytest.mark.parametrize(
    ("connect", "reason"),
    [
        ("sidecar_service { id = \"x\" }", "services[0]: A SidecarService cannot specify an ID"),
        ("sidecar_service { kind = \"gateway\" }", 'services[0]: Invalid service kind "gateway"'),
        ("sidecar_service { portt = 1 }", "service.connect.sidecar_service.portt"),
        ("proxy { exec_mode = \"thread\" }", 'services[0].connect.proxy.exec_mode: "thread" can\'t be used'),
        ("proxy { exec_mode = \"script\" }", "services[0]: Connect.Proxy.Command is empty"),
        ("proxy { config { bind_port = 70000 } }", "services[0]: Connect.Proxy.Config.bind_port: '70000' is not"),
        ("native = true  proxy {}", "services[0]: Services that are Connect native may not have a proxy"),
    ],
)  # fmt: skip
def test_a_proxy_that_an_agent_would_not_take_is_refused_before_it_starts(connect: str, reason: str) -> None:
    assert reason in refusal(f'service {{ name = "web"  port = 80  connect {{ {connect} }} }}')


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            'ports { sidecar_min_port = 5  sidecar_max_port = 5 }  services = [{ name = "a", port = 1, '
            'connect = { sidecar_service = {} } }, { name = "b", port = 1, connect = { sidecar_service = {} } }]',
            "none left in the configured range [5, 5]",
        ),
        (
            'services = [{ name = "a", connect = { sidecar_service = {} } }, { name = "a-sidecar-proxy" }]',
            'the id "a-sidecar-proxy" is that of the proxy of service "a" and of another service',
        ),
        (
            'service { name = "a"  address = "0.0.0.0" }',
            "services[0]: Invalid service address: nobody can connect to 0.0.0.0",
        ),
        (
            'service { name = "a"  check { args = ["x"]  interval = "1s" } }',
            'services[0]: check "service:a": Scripts are disabled on this agent; to enable',
        ),
        (
            'check { name = "a"  args = ["x"]  interval = "1s" }',
            'checks[0]: check "a": Scripts are disabled on this agent; to enable',
        ),
        (
            'connect { proxy_defaults { config { bind_port = 5 } } }',
            "connect.proxy_defaults.config.bind_port: two proxies can't have one port",
        ),
        ('connect { proxy_defaults { exec_mode = "x" } }', 'exec_mode: "x" can\'t be used: write one of daemon'),
    ],
)  # fmt: skip
def test_what_an_agent_would_refuse_together_is_refused_before_it_starts(text: str, reason: str) -> None:
    assert reason in refusal(text)


@pytest.mark.parametrize(
    "connect",
    [
        {"sidecar_service": {}},
        {"proxy": {}},
        {"sidecar_service": {"port": 5}, "proxy": {"config": {"upstreams": []}}},
    ],
)
def test_the_documents_definitions_are_valid(connect: dict[str, Any], tmp_path: Any) -> None:
    path = tmp_path / "socat.json"
    path.write_text(json.dumps({"service": {"name": "socat", "port": 8181, "connect": connect}}))
    config = load(["-dev", "-config-file", str(path)], {}).config
    assert len(config.local.services) == 1
