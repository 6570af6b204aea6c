from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.plan import gossip_plan, gossip_tags, http_listeners, http_settings, metric_names
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
        ({"protocol": 3}, "vsn", "3"),
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


TIMING = {
    "gossip_nodes": (9, 9),
    "gossip_interval": ("3s", 3.0),
    "probe_interval": ("7s", 7.0),
    "probe_timeout": ("900ms", 0.9),
    "suspicion_mult": (8, 8),
    "retransmit_mult": (11, 11),
}


@pytest.mark.parametrize("wan", [False, True])
@pytest.mark.parametrize("name", TIMING)
def test_a_pool_has_the_timing_of_its_own_keys_and_of_no_others(config: Any, name: str, wan: bool) -> None:
    written, wanted = TIMING[name]
    plain = config(server=True)
    settings = config(server=True, **{"gossip_wan" if wan else "gossip_lan": {name: written}})
    own, other = plan(settings, wan=wan).serf.memberlist, plan(settings, wan=not wan).serf.memberlist
    assert own == replace(plan(plain, wan=wan).serf.memberlist, **{name: wanted})
    assert own != plan(plain, wan=wan).serf.memberlist
    assert other == plan(plain, wan=not wan).serf.memberlist


@pytest.mark.parametrize("wan", [False, True])
def test_the_failed_are_kept_as_long_as_their_pool_says(config: Any, wan: bool) -> None:
    settings = config(server=True, **{"reconnect_timeout_wan" if wan else "reconnect_timeout": "9h"})
    assert plan(settings, wan=wan).serf.reconnect_timeout == 9 * 3600
    assert plan(settings, wan=not wan).serf.reconnect_timeout == 72 * 3600


@pytest.mark.parametrize(
    ("incoming", "outgoing"), [(True, True), (False, True), (True, False), (False, False)]
)
def test_what_is_not_sealed_is_refused_and_sent_as_the_configuration_says(
    config: Any, incoming: bool, outgoing: bool
) -> None:
    made = plan(config(encrypt=KEY, encrypt_verify_incoming=incoming, encrypt_verify_outgoing=outgoing))
    assert made.verification == (incoming, outgoing)
    assert (made.serf.memberlist.verify_incoming, made.serf.memberlist.verify_outgoing) == (
        incoming,
        outgoing,
    )


def test_keys_of_gossip_are_kept_in_a_file_unless_that_is_off(config: Any) -> None:
    on, off = plan(config(encrypt=KEY)), plan(config(encrypt=KEY, disable_keyring_file=True))
    assert (on.keyring_path.name, on.serf.persists_keyring) == ("local.keyring", True)
    assert (off.keyring_path, off.serf.persists_keyring) == (None, False)


@pytest.mark.parametrize("rejoins", [True, False])
def test_a_node_that_left_rejoins_where_it_is_told_to(config: Any, rejoins: bool) -> None:
    assert plan(config(rejoin_after_leave=rejoins)).serf.rejoin_after_leave is rejoins


def test_gossip_listens_on_the_port_of_its_key(config: Any) -> None:
    assert plan(config(ports={"serf_lan": 9301})).bind == Address("127.0.0.1", 9301)


def test_a_socket_has_the_owner_and_the_group_of_the_configuration(config: Any, tmp_path: Path) -> None:
    settings = config(
        addresses={"http": f"unix://{tmp_path}/s"}, unix_sockets={"user": "12", "group": "34", "mode": "660"}
    )
    assert http_listeners(settings, lambda: pytest.fail("no TLS here")) == [
        UnixListener(tmp_path / "s", "addresses.http", mode="660", user="12", group="34")
    ]


@pytest.mark.parametrize(
    ("telemetry", "counter", "gauge"),
    [
        ({}, "consul.x", "consul.node1.x"),
        ({"disable_hostname": True}, "consul.x", "consul.x"),
        ({"metrics_prefix": "mesh"}, "mesh.x", "mesh.node1.x"),
    ],
)
def test_metrics_are_called_as_the_configuration_says(
    config: Any, telemetry: dict[str, Any], counter: str, gauge: str
) -> None:
    names = metric_names(config(telemetry=telemetry))
    assert names.outside("consul.x", gauge=False) == counter
    assert names.outside("consul.x", gauge=True) == gauge


def test_how_old_discovery_may_be_reaches_the_api(config: Any) -> None:
    assert http_settings(config(discovery_max_stale="4s")).discovery_max_stale == 4.0
