from __future__ import annotations

import base64
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from meshnode.agent.describe import Description, public_config
from meshnode.gossip.serf.coordinate import Coordinate

KEY = base64.b64encode(b"sixteen byte key").decode()


def test_the_configuration_is_plain_data_without_the_key(config: Any) -> None:
    shown = public_config(config(encrypt=KEY, node_meta={"a": "b"}, retry_join=["10.0.0.1"]))
    text = json.dumps(shown)
    assert KEY not in text
    assert "sixteen byte key" not in text
    assert shown["gossip"]["encrypt"] == "hidden"
    assert shown["identity"]["node_meta"] == {"a": "b"}
    assert shown["join"]["retry_lan"] == ["10.0.0.1"]


def test_a_password_in_the_url_of_a_check_is_not_shown(config: Any) -> None:
    checks = [
        {"name": "web", "http": "http://me:pass@word@127.0.0.1/health?a=b", "interval": "10s"},
        {"name": "own", "args": ["sh", "-c", "curl https://me:password@127.0.0.1/"], "interval": "10s"},
    ]
    service = {"name": "api", "check": {"http": "https://me:password@127.0.0.1/", "interval": "10s"}}
    text = json.dumps(
        public_config(config(checks=checks, services=[service], enable_local_script_checks=True))
    )
    assert "word@" not in text
    assert "http://me:xxxxx@127.0.0.1/health?a=b" in text
    assert text.count("https://me:xxxxx@127.0.0.1/") == 2


def test_secrets_of_definitions_are_hidden_wherever_they_are(config: Any) -> None:
    shown = public_config(
        config(
            services=[{
                "name": "web", "token": "of-the-service",
                "check": {"http": "http://127.0.0.1/", "interval": "1s",
                          "header": {"Authorization": ["Bearer of-the-check"], "Accept": ["text/plain"]}},
            }],
            watches=[{"type": "key", "key": "app/x", "token": "of-the-watch", "handler_type": "http",
                      "http_handler_config": {"path": "http://127.0.0.1/",
                                              "header": {"X-Consul-Token": ["of-its-call"]}}}],
        )
    )  # fmt: skip
    text = json.dumps(shown)
    for secret in ("of-the-service", "of-the-check", "of-the-watch", "of-its-call"):
        assert secret not in text
    assert "app/x" in text
    assert "text/plain" in text
    assert text.count('"hidden"') >= 4


def test_a_key_that_is_not_set_is_shown_as_that(config: Any) -> None:
    assert public_config(config())["gossip"]["encrypt"] is None


def agent_of(config: Any) -> Any:
    """As much of an agent as is looked at: without TLS and without a server."""
    serf = SimpleNamespace(coordinate=Coordinate, stats=lambda: {"members": "1"}, keyring=None)
    lan = SimpleNamespace(shell=SimpleNamespace(serf=serf), local="the member", servers=())
    tls = SimpleNamespace(own_certificate=None)
    return SimpleNamespace(
        config=config, node_id="id", lan=lan, wan=None, server=None, tls=tls, config_digest="one"
    )


def test_another_configuration_is_shown_from_its_reload_on(config: Any) -> None:
    agent = agent_of(config(node_meta={"a": "b"}))
    description = Description(agent)
    before = description.parts()
    assert description.parts() == before
    assert description.parts().debug_config is before.debug_config
    agent.config, agent.config_digest = config(node_meta={"a": "c"}, log_level="debug"), "two"
    after = description.parts()
    assert (after.meta, after.debug_config["identity"]["node_meta"]) == ({"a": "c"}, {"a": "c"})
    assert after.debug_config["logging"]["level"] == "DEBUG"
    assert after.meshnode["ConfigDigest"] == "two"


def test_what_moves_by_itself_is_looked_at_each_time(config: Any) -> None:
    agent = agent_of(config())
    description = Description(agent)
    description.parts()
    serf = agent.lan.shell.serf
    serf.coordinate = lambda: replace(Coordinate(), error=0.25)
    serf.stats = lambda: {"members": "2"}
    agent.lan.local = "the member with another tag"
    serf.keyring = SimpleNamespace(fingerprints=("ab:cd",))
    parts = description.parts()
    assert parts.coord is not None
    assert parts.coord["Error"] == 0.25
    assert parts.stats["serf_lan"] == {"members": "2"}
    assert parts.member == "the member with another tag"
    assert parts.meshnode["GossipKeyFingerprints"] == ["ab:cd"]
    assert parts.meshnode["WanGossipKeyFingerprints"] == []


def test_a_server_names_the_keys_of_the_wan_beside_those_of_its_lan(config: Any) -> None:
    agent = agent_of(config())
    agent.lan.shell.serf.keyring = SimpleNamespace(fingerprints=("lan",))
    wan = SimpleNamespace(stats=dict, keyring=SimpleNamespace(fingerprints=("new", "old")))
    agent.wan = SimpleNamespace(shell=SimpleNamespace(serf=wan), servers=())
    shown = Description(agent).parts().meshnode
    assert (shown["GossipKeyFingerprints"], shown["WanGossipKeyFingerprints"]) == (["lan"], ["new", "old"])
