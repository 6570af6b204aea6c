"""What the loader refuses, warns about and notes: keys, values, and the rules between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.config.load import load
from meshnode.base.errors import ConfigError
from tests.unit.meshnode.agent.config.loading import complaint, fragment, read, write
from tests.unit.meshnode.agent.config.machine import machine

KEY = "pUqJrVyVRj5jsiYEkM/tFQ=="


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "consul.d"
    path.mkdir()
    return path


# Keys that this release refuses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"ui_dir": "/srv/page"},
            'ui_dir = "/srv/page": not in this release: the agent serves its own web page',
        ),
        (
            {"ports": {"expose_min_port": 1}},
            "ports.expose_min_port = 1: not in this release: proxies open no ports",
        ),
        (
            {"xds": {"update_max_per_second": 9}},
            "xds: not in this release: Envoy is told of each change at once",
        ),
        ({"raft_protocol": 2}, "raft_protocol = 2: the replicated log is an engine's"),
        (
            {"autopilot": {"server_stabilization_time": "5s"}},
            "autopilot.server_stabilization_time = 5: the replicated log",
        ),
        ({"enable_acl_replication": True}, "enable_acl_replication = true: ACLs are not copied"),
        ({"dns_config": {"use_cache": True}}, "dns_config.use_cache = true: not in this release"),
        ({"enable_debug": True}, "enable_debug = true: there is no Go runtime"),
        ({"segment": "x"}, 'segment = "x": a key of Consul Enterprise'),
        ({"non_voting_server": True}, "non_voting_server = true: a key of Consul Enterprise"),
        ({"license_path": "/x"}, 'license_path = "/x": a key of Consul Enterprise'),
        ({"telemetry": {"statsd_address": "x:1"}}, 'telemetry.statsd_address = "x:1": metrics are served'),
        ({"ae_interval": "5m"}, "ae_interval = 300: a constant of Consul"),
        ({"auto_encrypt": {"tls": True}}, "auto_encrypt: not in this release"),
        ({"disable_host_node_id": False}, "disable_host_node_id = false: not in this release"),
    ],
)
def test_what_is_not_built_is_refused_by_name_with_the_reason(settings: dict[str, Any], message: str) -> None:
    assert message in complaint(fragment(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"ui_dir": ""},
        {"connect": {"enabled": False}},
        {"ports": {"dns": -1}},
        {"ports": {"dns": 0}},
        {"domain": "consul"},
        {"domain": "consul."},
        {"services": []},
        {"raft_protocol": 3},
        {"performance": {"raft_multiplier": 5}},
        {"acl_default_policy": "allow"},
        {"disable_remote_exec": True},
        {"enable_debug": False},
    ],
)
def test_a_refused_key_may_have_its_harmless_value(settings: dict[str, Any]) -> None:
    assert read(fragment(**settings)).warnings == ()


def test_a_refused_token_is_not_shown() -> None:
    tokens = {"config_file_service_registration": "3f7a2c1e-secret"}
    said = complaint(fragment(acl={"tokens": tokens}))
    assert "acl.tokens.config_file_service_registration: a key of later Consul releases" in said
    assert "3f7a2c1e" not in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"service": {"port": 80}}, "services[0]"),
        ({"services": [{"name": "web"}, {"name": "WEB"}]}, "services[1]"),
        ({"check": {"name": "x", "ttl": "10s", "http": "http://x"}}, "checks[0]"),
        ({"watches": [{"type": "key"}]}, "watches[0]"),
        ({"watches": [{"type": "kee", "key": "x"}]}, "watches[0].type"),
        ({"domain": "exa mple."}, 'domain: "exa mple." is not a domain name'),
        ({"recursors": ["dns.example"]}, "recursors[0]"),
        ({"dns_config": {"udp_answer_limit": 0}}, "dns_config.udp_answer_limit cannot be 0"),
        ({"dns_config": {"service_ttl": {"web": "soon"}}}, "dns_config.service_ttl.web"),
        ({"acl_datacenter": "dc2"}, 'acl_datacenter: "dc2" is another data centre than this one, "dc1"'),
        ({"primary_datacenter": "we.st"}, 'primary_datacenter: "we.st" can\'t be a name'),
        (
            {"server": True, "primary_datacenter": "west", "ports": {"serf_wan": -1}},
            'primary_datacenter: "west" is reached over the WAN pool, which is off: set ports.serf_wan',
        ),
        ({"acl_default_policy": "deny"}, "acl_default_policy: ACLs are off, so nothing is denied"),
        ({"acl": {"default_policy": "deny"}}, "acl.default_policy: ACLs are off"),
        (
            {"acl": {"enabled": True, "tokens": {"default": "a b"}}},
            "acl.tokens.default: a token has no spaces",
        ),
    ],
)
def test_a_bad_value_of_a_service_a_watch_dns_or_acls_is_named(
    settings: dict[str, Any], message: str
) -> None:
    assert message in complaint(fragment(**settings))


def test_the_primary_datacenter_may_be_another_one_and_then_the_ca_is_its() -> None:
    settings = {"datacenter": "East", "primary_datacenter": "West"}
    identity = read(fragment(**settings)).config.identity
    assert (identity.datacenter, identity.primary_datacenter) == ("east", "west")
    ca = {"enabled": True, "ca_config": {"leaf_cert_ttl": "1h"}}
    (warning,) = read(fragment(**settings, connect=ca)).warnings
    assert warning.startswith("connect.ca_config has no effect")
    assert '"west"' in warning


@pytest.mark.parametrize(
    "settings",
    [{"acl_replication_token": "copier"}, {"acl": {"tokens": {"replication": "copier"}}}],
)
def test_the_token_for_the_primary_datacenter_has_two_spellings(settings: dict[str, Any]) -> None:
    acls = read(fragment(**settings)).config.acls
    assert acls.replication_token == "copier"
    assert "copier" not in repr(acls)


@pytest.mark.parametrize(
    ("settings", "primary"),
    [
        ({}, "dc1"),
        ({"primary_datacenter": ""}, "dc1"),
        ({"primary_datacenter": "DC1"}, "dc1"),
        ({"datacenter": "East", "primary_datacenter": "eAST"}, "east"),
    ],
)
def test_the_primary_datacenter_may_be_named_when_it_is_this_one(
    settings: dict[str, Any], primary: str
) -> None:
    identity = read(fragment(**settings)).config.identity
    assert identity.primary_datacenter == identity.datacenter == primary


@pytest.mark.parametrize(
    "settings",
    [
        {"acl_datacenter": "DC1", "acl_default_policy": "deny", "acl_master_token": "m", "acl_token": "d"},
        {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": "m", "default": "d"}}},
        {
            "acl": {"enabled": True, "default_policy": "deny", "tokens": {"initial_management": "m"}},
            "acl_token": "d",
        },
    ],
)
def test_both_spellings_of_acls_are_one(settings: dict[str, Any]) -> None:
    acls = read(fragment(**settings)).config.acls
    assert (acls.enabled, acls.datacenter, acls.default_policy) == (True, "dc1", "deny")
    assert (acls.master_token, acls.default_token, acls.down_policy) == ("m", "d", "extend-cache")
    assert "'m'" not in repr(acls)


@pytest.mark.parametrize(
    ("settings", "ttl", "lists"),
    [
        ({}, 30.0, False),
        ({"acl_ttl": "5s", "acl_enable_key_list_policy": True}, 5.0, True),
        ({"acl": {"token_ttl": "6s", "enable_key_list_policy": True}}, 6.0, True),
        ({"acl": {"token_ttl": "0s"}, "acl_ttl": "5s"}, 0.0, False),
        ({"acl": {"enable_key_list_policy": False}, "acl_enable_key_list_policy": True}, 30.0, False),
    ],
)
def test_the_later_spelling_of_acls_wins_with_zero_and_false_too(
    settings: dict[str, Any], ttl: float, lists: bool
) -> None:
    acls = read(fragment(**settings)).config.acls
    assert (acls.token_ttl, acls.key_list_policy) == (ttl, lists)


@pytest.mark.parametrize(
    ("arguments", "on"),
    [
        ([], False),
        (["-ui"], True),
        ([fragment(ui=True)], True),
        ([fragment(ui_config={"enabled": True})], True),
        ([fragment(ui_config={"enabled": False}), "-ui"], True),
        (["-dev"], True),
        (["-dev", fragment(ui=False)], False),
        (["-dev", fragment(ui_config={"enabled": False})], False),
    ],
)
def test_the_web_page_is_turned_on_and_off_by_either_key(arguments: list[str], on: bool) -> None:
    assert read(*arguments).config.http.ui is on


def test_a_key_without_effect_is_noted() -> None:
    (warning,) = read(fragment(disable_update_check=False)).warnings
    assert "disable_update_check = false has no effect: meshnode never phones home" in warning
    assert read(fragment(disable_update_check=True, disable_anonymous_signature=True)).warnings == ()
    (warning,) = read(fragment(snapshot_agent={"a": 1})).warnings
    assert "snapshot_agent has no effect" in warning


def test_the_pace_that_guides_for_consul_set_is_taken_with_a_warning() -> None:
    (warning,) = read(fragment(performance={"raft_multiplier": 1})).warnings
    assert "performance.raft_multiplier = 1 has no effect: there is no raft to tune" in warning


# Rules of Consul


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"datacenter": "a b"}, 'datacenter cannot be "a b". Please use only [a-z0-9-_].'),
        ({"bootstrap": True}, "'bootstrap = true' requires 'server = true'"),
        ({"bootstrap_expect": 3}, "'bootstrap_expect > 0' requires 'server = true'"),
        ({"server": True, "bootstrap": True, "bootstrap_expect": 3},
         "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive"),
        ({"server": True, "bootstrap_expect": -1}, "bootstrap_expect cannot be -1."),
        ({"node_name": "a b"}, "node_name: 'a b' can't be used"),
        ({"node_name": "x" * 129}, "can't be used: at most 128 characters"),
        ({"node_id": "x"}, 'node_id: "x" is not a UUID'),
        ({"node_meta": {"": "x"}}, 'node_meta: "" can\'t be a key'),
        ({"node_meta": {"a b": "x"}}, 'node_meta: "a b" can\'t be a key: write 1 to 128 characters of A-Za-z0-9_-'),
        ({"node_meta": {"x" * 129: "x"}}, "can't be a key"),
        ({"node_meta": {"consul-x": "x"}}, "node_meta.consul-x: keys that begin with consul- are reserved"),
        ({"node_meta": {"a": "x" * 513}}, "node_meta.a: the value has 513 characters, over 512"),
        ({"node_meta": {f"k{n}": "" for n in range(65)}}, "node_meta cannot have more than 64 pairs, it has 65"),
        ({"retry_join": ["provider=aws tag_key=x"]}, "retry_join[0]: cloud discovery (provider=...) is not in this"),
        ({"retry_join": ["a", "10.0.0.300"]},
         'retry_join[1]: "10.0.0.300" is not an address: write an IP address or a host name'),
        ({"start_join": ["a b"]}, 'start_join[0]: "a b" is not an address'),
        ({"start_join": ["a:99999"]}, "start_join[0]: address 'a:99999' has port '99999'"),
        ({"retry_join_wan": ["a"]}, "retry_join_wan: only servers are in the WAN pool"),
        ({"reconnect_timeout": "7h59m"}, "reconnect_timeout cannot be shorter than 8h"),
        ({"retry_interval": "0s"}, "retry_interval must be longer than 0s"),
        ({"retry_max": -1}, "retry_max cannot be -1: the least is 0"),
        ({"gossip_lan": {"probe_timeout": "2s"}}, "gossip_lan.probe_timeout cannot be longer than gossip_lan."),
        ({"gossip_lan": {"gossip_nodes": 0}}, "gossip_lan.gossip_nodes cannot be 0: the least is 1"),
        ({"performance": {"leave_drain_time": "-1s"}}, "performance.leave_drain_time cannot be negative"),
        ({"autopilot": {"last_contact_threshold": "-1s"}}, "autopilot.last_contact_threshold cannot be negative"),
        ({"autopilot": {"max_trailing_logs": -1}}, "autopilot.max_trailing_logs cannot be -1: the least is 0"),
        ({"verify_incoming": True}, "VerifyIncoming set, and no CA certificate provided!"),
        ({"verify_incoming_rpc": True, "ca_file": "/x"}, "VerifyIncoming set, and no Cert/Key pair provided!"),
        ({"verify_outgoing": True}, "VerifyOutgoing set, and no CA certificate provided!"),
        ({"verify_server_hostname": True}, "VerifyOutgoing set, and no CA certificate provided!"),
        ({"cert_file": "/x"}, "cert_file is set and key_file is not: they go together"),
        ({"key_file": "/x"}, "key_file is set and cert_file is not: they go together"),
        ({"ports": {"https": 10443}}, "ports.https: HTTPS needs a certificate: set cert_file and key_file"),
        ({"tls_min_version": "tls10"}, 'tls_min_version: "tls10" can\'t be offered'),
        ({"tls_min_version": "ssl3"}, 'tls_min_version: "ssl3" is not a version'),
        ({"tls_cipher_suites": "TLS_FAST"}, 'tls_cipher_suites: "TLS_FAST" is not a cipher suite'),
        ({"http_config": {"response_headers": {"a b": "x"}}}, 'http_config.response_headers: "a b" is not the name'),
        ({"http_config": {"response_headers": {"a": "x\ny"}}}, "a header can't hold line breaks"),
        ({"unix_sockets": {"mode": "rw"}}, 'unix_sockets.mode: "rw" is not a mode'),
        ({"limits": {"rpc_rate": -2}}, "limits.rpc_rate cannot be negative; -1 is no limit"),
        ({"telemetry": {"prefix_filter": ["consul"]}}, 'telemetry.prefix_filter[0]: "consul" must begin with "+"'),
        ({"ports": {"serf_lan": -1}}, "ports.serf_lan can't be turned off"),
        ({"server": True, "ports": {"server": 0}}, "ports.server can't be turned off"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_named(settings: dict[str, Any], message: str) -> None:
    said = complaint(fragment(**settings))
    assert message in said
    assert "flag -hcl[0]:1:" in said


def test_an_agent_needs_a_data_directory_unless_it_is_for_development() -> None:
    with pytest.raises(ConfigError, match="data_dir cannot be empty"):
        load([], {}, machine())


def test_a_development_agent_waits_for_no_other_server() -> None:
    assert "'bootstrap_expect > 0' not allowed in dev mode" in complaint("-dev", "-bootstrap-expect=3")


def test_a_data_directory_that_is_a_file_or_of_an_old_consul_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "x", "")
    assert complaint(f"-data-dir={file}") == f"flag -data-dir: data_dir {file} is not a directory"
    (tmp_path / "mdb").mkdir()
    assert "Deprecated data folder found" in complaint(f"-data-dir={tmp_path}")


def test_a_machine_without_a_name_needs_a_node_name() -> None:
    assert complaint(hostname="") == "node_name cannot be empty: this machine has no host name either"


@pytest.mark.parametrize(
    ("expect", "warning"),
    [
        (1, "BootstrapExpect is set to 1; this is the same as Bootstrap mode."),
        (2, "A cluster with 2 servers will provide no failure tolerance."),
        (4, "A cluster with an even number of servers does not achieve optimum fault tolerance."),
    ],
)
def test_a_number_of_servers_that_is_no_good_is_warned_about(expect: int, warning: str) -> None:
    loaded = read("-server", f"-bootstrap-expect={expect}")
    assert warning in loaded.warnings[0]
    assert loaded.config.identity.bootstrap == (expect == 1)
    assert loaded.config.identity.bootstrap_expect == (0 if expect == 1 else expect)


def test_three_servers_are_not_warned_about() -> None:
    assert read("-server", "-bootstrap-expect=3").warnings == ()


def test_a_name_that_dns_does_not_take_is_warned_about() -> None:
    assert 'Node name "web.1" will not be discoverable via DNS' in read("-node=web.1").warnings[0]


def test_the_gossip_key_is_decoded_and_never_printed() -> None:
    config = read("-encrypt", KEY).config
    assert config.gossip.encrypt is not None
    assert len(config.gossip.encrypt) == 16
    assert repr(config.gossip.encrypt) not in repr(config)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "pUqJrVyVRj5jsiYEkM/t",
            "encrypt has invalid key: the gossip key decodes to 15 bytes, and AES takes 16, 24 or 32",
        ),
        ("not base64 at all!!", "encrypt has invalid key: the gossip key (19 characters) is not base64"),
    ],
)
def test_a_gossip_key_that_cannot_be_used_is_refused_and_not_shown(key: str, message: str) -> None:
    said = complaint("-encrypt", key)
    assert said.startswith(f"flag -encrypt: {message}")
    assert key not in said


def test_a_keyring_file_beside_encrypt_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "serf").mkdir()
    (tmp_path / "serf" / "local.keyring").write_text("[]")
    (tmp_path / "serf" / "remote.keyring").write_text("[]")
    lan = "WARNING: LAN keyring exists but -encrypt given, using keyring"
    wan = "WARNING: WAN keyring exists but -encrypt given, using keyring"
    assert read(f"-data-dir={tmp_path}", "-encrypt", KEY).warnings == (lan,)
    assert read(f"-data-dir={tmp_path}", "-encrypt", KEY, "-server").warnings == (lan, wan)
    assert read(f"-data-dir={tmp_path}", "-encrypt", KEY, "-disable-keyring-file").warnings == ()


def test_verification_settings_are_folded_together(tmp_path: Path) -> None:
    config = read(fragment(encrypt_verify_incoming=False)).config
    assert (config.gossip.verify_incoming, config.gossip.verify_outgoing) == (False, True)
    settings = read().config.tls_settings()
    assert (settings.verify_incoming_rpc, settings.server_name, settings.datacenter) == (False, "web1", "dc1")
