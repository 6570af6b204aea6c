from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.plan import gossip_plan, gossip_tags, http_listeners, http_settings
from meshnode.base.address import Address
from meshnode.runtime.http_server import TcpListener, UnixListener

ID, OTHER_ID = "b54fe110-7af5-cafc-d1fb-afc8ba432b1c", "00000000-7af5-cafc-d1fb-afc8ba432b1c"
KEY = base64.b64encode(bytes(16)).decode()
HERE = Address("127.0.0.1", 8301)


def plan(config: Any, *, wan: bool = False, known: dict[str, str] | None = None) -> Any:
    return gossip_plan(config, ID, wan=wan, names_by_id=lambda: known or {})


def test_a_server_announces_itself_as_consul_does(config: Any) -> None:
    tags = gossip_tags(config(server=True, bootstrap_expect=3), ID)
    assert tags.pop("build").startswith("1.2.3:meshnode")
    assert tags == {
        "role": "consul", "dc": "dc1", "id": ID, "vsn": "2", "vsn_min": "2", "vsn_max": "3", "segment": "",
        "port": "8300", "raft_vsn": "3", "wan_join_port": "8302", "expect": "3",
    }  # fmt: skip


def test_a_client_announces_no_port(config: Any) -> None:
    tags = gossip_tags(config(), ID)
    assert tags["role"] == "node"
    assert not {"port", "expect", "bootstrap", "wan_join_port"} & set(tags)


@pytest.mark.parametrize(
    ("keys", "tag", "value"),
    [
        ({"server": True, "bootstrap": True}, "bootstrap", "1"),
        ({"server": True, "bootstrap_expect": 1}, "expect", None),
        ({"server": True, "ports": {"serf_wan": -1}}, "wan_join_port", None),
    ],
)
def test_tags_follow_the_configuration(
    config: Any, keys: dict[str, Any], tag: str, value: str | None
) -> None:
    assert gossip_tags(config(**keys), ID).get(tag) == value


def test_the_pools_have_their_own_name_port_files_and_timing(config: Any, tmp_path: Path) -> None:
    settings = config(server=True, encrypt=KEY, gossip_lan={"probe_interval": "2s"})
    lan, wan = plan(settings), plan(settings, wan=True)
    assert (lan.name, wan.name) == ("node1", "node1.dc1")
    assert (lan.bind, wan.bind) == (HERE, Address("127.0.0.1", 8302))
    assert (lan.serf.memberlist.probe_interval, wan.serf.memberlist.probe_interval) == (2.0, 5.0)
    assert lan.keyring_path == tmp_path / "data" / "serf" / "local.keyring"
    assert wan.keyring_path == tmp_path / "data" / "serf" / "remote.keyring"
    assert (lan.snapshot_path.name, wan.snapshot_path.name) == ("local.snapshot", "remote.snapshot")
    assert lan.encrypt == bytes(16)
    assert KEY not in repr(lan)
    assert "\\x00" not in repr(lan)


@pytest.mark.parametrize(
    ("name", "tags", "reason"),
    [
        ("a", {"dc": "dc1", "id": OTHER_ID}, ""),
        ("a", {}, ""),
        ("a", {"dc": "dc2"}, "Member 'a' part of wrong datacenter 'dc2': this pool is 'dc1'"),
        ("a", {"dc": "dc1", "id": ID}, f"Member 'a' has conflicting node ID '{ID}' with this agent's ID"),
        ("node1", {"dc": "dc1", "id": ID}, ""),
        ("a", {"id": "x"}, "Member 'a' has conflicting node ID 'x' with member 'b'"),
        ("b", {"id": "x"}, ""),
    ],
)
def test_the_lan_pool_refuses_other_datacenters_and_ids_that_are_taken(
    config: Any, name: str, tags: dict[str, str], reason: str
) -> None:
    assert plan(config(), known={"x": "b"}).refuse_member(name, HERE, tags) == reason


@pytest.mark.parametrize(
    ("tags", "refused"), [({"role": "consul"}, False), ({"role": "node"}, True), ({}, False)]
)
def test_the_wan_pool_is_for_servers(config: Any, tags: dict[str, str], refused: bool) -> None:
    assert bool(plan(config(server=True), wan=True).refuse_member("a.dc2", HERE, tags)) == refused


def test_listeners_are_tcp_tls_and_unix(config: Any, tmp_path: Path) -> None:
    settings = config(addresses={"http": f"unix://{tmp_path}/s 127.0.0.1"}, unix_sockets={"mode": "600"})
    settings = replace(settings, ports=replace(settings.ports, https=10443))  # the loader wants a certificate

    def tls() -> Any:
        raise AssertionError("asked for only when a client connects")

    assert http_listeners(settings, tls) == [
        UnixListener(tmp_path / "s", "addresses.http", mode="600"),
        TcpListener(Address("127.0.0.1", 8500), "ports.http"),
        TcpListener(Address("127.0.0.1", 10443), "ports.https", tls),
    ]


def test_the_settings_of_the_api(config: Any) -> None:
    settings = http_settings(
        config(http_config={"block_endpoints": ["/v1/kv"], "response_headers": {"A": "b"}})
    )
    assert (settings.block_endpoints, dict(settings.response_headers)) == (("/v1/kv",), {"A": "b"})
    assert (settings.pretty, settings.prometheus_retention) == (False, 0.0)
