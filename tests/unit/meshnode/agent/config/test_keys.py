"""The table: it has every key of Consul 1.2.3, and what it calls working reaches the model."""

from __future__ import annotations

import shlex
import typing
from dataclasses import fields, is_dataclass

import pytest

from meshnode.agent.config.assemble import settings_of
from meshnode.agent.config.checks_acl import SAME
from meshnode.agent.config.key import WORKS, Kind, Noted, Refused
from meshnode.agent.config.keys import KEYS, SECTIONS, SHAPES, children, defaults
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.config.setting import SETTING
from meshnode.base.duration import format_duration
from tests.unit.meshnode.agent.config.loading import read

#: Names of the keys of Consul 1.2.3, as its reference lists them (nested names without their parents).
CONSUL_1_2_3 = shlex.split("""
node_name node_id disable_host_node_id node_meta datacenter data_dir server bootstrap bootstrap_expect
non_voting_server pid_file tagged_addresses translate_wan_addrs leave_on_terminate skip_leave_on_interrupt
rejoin_after_leave disable_update_check disable_anonymous_signature enable_debug disable_remote_exec
disable_coordinates discard_check_output discovery_max_stale session_ttl_min check_update_interval
enable_script_checks enable_agent_tls_for_checks
bind_addr advertise_addr advertise_addr_wan client_addr serf_lan serf_wan addresses dns http https unix_sockets user
group mode ports proxy_min_port proxy_max_port
start_join start_join_wan retry_join retry_join_wan retry_interval retry_interval_wan retry_max retry_max_wan
reconnect_timeout reconnect_timeout_wan
encrypt encrypt_verify_incoming encrypt_verify_outgoing disable_keyring_file gossip_lan gossip_wan gossip_nodes
gossip_interval probe_interval probe_timeout suspicion_mult retransmit_mult segment segments name bind port advertise
rpc_listener
ca_file ca_path cert_file key_file server_name verify_incoming verify_incoming_rpc verify_incoming_https
verify_outgoing verify_server_hostname tls_min_version tls_cipher_suites tls_prefer_server_cipher_suites
acl_datacenter acl_default_policy acl_down_policy acl_ttl acl_master_token acl_agent_master_token acl_agent_token
acl_token acl_replication_token enable_acl_replication acl_enforce_version_8 acl_enable_key_list_policy
connect enabled ca_provider ca_config proxy allow_managed_root allow_managed_api_registration proxy_defaults
exec_mode daemon_command script_command config
domain recursors dns_config allow_stale max_stale node_ttl service_ttl enable_truncate only_passing recursor_timeout
disable_compression udp_answer_limit a_record_limit enable_additional_node_meta_txt
http_config block_endpoints response_headers disable_http_unprintable_char_filter limits rpc_rate rpc_max_burst ui
ui_dir
protocol raft_protocol raft_snapshot_threshold raft_snapshot_interval performance raft_multiplier leave_drain_time
rpc_hold_timeout autopilot cleanup_dead_servers last_contact_threshold max_trailing_logs server_stabilization_time
redundancy_zone_tag disable_upgrade_migration upgrade_version_tag
log_level log_file log_rotate_bytes log_rotate_duration enable_syslog syslog_facility telemetry metrics_prefix
disable_hostname filter_default prefix_filter prometheus_retention_time statsd_address statsite_address
dogstatsd_addr dogstatsd_tags circonus_api_app circonus_api_token circonus_api_url circonus_broker_id
circonus_broker_select_tag circonus_check_display_name circonus_check_force_metric_activation circonus_check_id
circonus_check_instance_id circonus_check_search_tag circonus_check_tags circonus_submission_interval
circonus_submission_url
service services kind id tags address meta check checks token weights passing warning enable_tag_override
proxy_destination native command
notes service_id status args header method tcp interval docker_container_id shell grpc grpc_use_tls tls_skip_verify
alias_node alias_service timeout ttl deregister_critical_service_after
watches snapshot_agent
acl_disabled_ttl ae_interval check_deregister_interval_min check_reap_interval consul coordinate update_batch_size
update_max_batches update_period raft election_timeout heartbeat_timeout leader_lease_timeout health_interval revision
version version_prerelease segment_limit segment_name_limit sync_coordinate_interval_min sync_coordinate_rate_target
""")

_TYPES = {
    Kind.STRING: str,
    Kind.BOOLEAN: bool,
    Kind.INTEGER: int,
    Kind.NUMBER: float,
    Kind.DURATION: float,
    Kind.PORT: int,
    Kind.ADDRESS: str,
    Kind.ADDRESSES: str,
    Kind.STRINGS: tuple,
    Kind.STRING_MAP: dict,
    Kind.LISTS_MAP: dict,
    Kind.OPEN: dict,
    Kind.OPENS: tuple,
    Kind.OBJECT: dict,
    Kind.OBJECTS: tuple,
}
ROWS = [*KEYS.values(), *(row for shape in SHAPES.values() for row in shape)]


def test_every_key_of_consul_is_in_the_table() -> None:
    known = {row.name for row in ROWS}
    assert [name for name in CONSUL_1_2_3 if name not in known] == []
    assert len(set(CONSUL_1_2_3)) == len(CONSUL_1_2_3)


def test_no_path_is_there_twice_and_every_parent_is_an_object() -> None:
    assert len(KEYS) == sum(len(rows) for rows in SECTIONS.values())
    assert all(KEYS[row.parent].kind is Kind.OBJECT for row in KEYS.values() if row.parent)
    for shape in SHAPES.values():
        paths = {row.path: row for row in shape}
        assert len(paths) == len(shape)
        assert all(paths[row.parent].kind is Kind.OBJECT for row in shape if row.parent)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_a_row_has_a_meaning_and_a_default_of_its_kind(row: typing.Any) -> None:
    assert row.meaning.endswith((".", ")")) or row.meaning.endswith("`")
    assert row.default is None or type(row.default) is _TYPES[row.kind]
    assert row.shape == "" or row.shape in SHAPES
    if row.kind is Kind.DURATION and row.default is not None:
        assert format_duration(row.default)


def test_no_flag_is_there_twice() -> None:
    flags = [row.flag for row in KEYS.values() if row.flag]
    assert len(set(flags)) == len(flags)


def test_each_key_works_and_reaches_the_model_or_says_why_not() -> None:
    reached = {
        *settings_of(read("-dev").config),
        *(other for others in SAME.values() for other in others),
        "acl_enable_key_list_policy",
        "ui_config.enabled",
    }
    reached |= {"service", "check"}  # join their lists
    for path, row in KEYS.items():
        if isinstance(row.status, Refused | Noted):
            assert len(row.status.reason) > 10, path
        elif row.kind is not Kind.OBJECT:
            assert path in reached, f"{path} works by the table, but no field of the model has it"
    assert settings_of(read("-dev").config).keys() <= set(defaults())


def test_fields_of_the_model_have_the_type_that_their_key_gives() -> None:
    expected: dict[str, typing.Any] = {
        "encrypt": bytes | None,
        "tls_cipher_suites": tuple[str, ...],
        "leave_on_terminate": bool,
        "services": tuple[typing.Mapping[str, typing.Any], ...],
        "checks": tuple[typing.Mapping[str, typing.Any], ...],
        "watches": tuple[typing.Mapping[str, typing.Any], ...],
        "dns_config.service_ttl": typing.Mapping[str, float],
        "connect.ca_config": typing.Mapping[str, typing.Any],
        "connect.proxy_defaults.config": typing.Mapping[str, typing.Any],
        "config_entries.bootstrap": tuple[typing.Mapping[str, typing.Any], ...],
    }
    by_kind: dict[Kind, typing.Any] = {
        **{kind: typ for kind, typ in _TYPES.items() if typ in (str, bool, int, float)},
        Kind.ADDRESSES: tuple[str, ...],
        Kind.STRINGS: tuple[str, ...],
        Kind.STRING_MAP: typing.Mapping[str, str],
    }

    def check(cls: type) -> None:
        hints = typing.get_type_hints(cls)
        for part in fields(cls):
            path = part.metadata.get(SETTING)
            if path:
                wanted = expected.get(path) or by_kind[KEYS[path].kind]
                assert str(hints[part.name]).replace("collections.abc", "typing") == str(wanted), path
            elif is_dataclass(hints[part.name]):
                check(hints[part.name])

    check(AgentConfig)


def test_rows_are_found_by_their_parents() -> None:
    assert set(children("", "unix_sockets")) == {"user", "group", "mode"}
    assert "http" in children("check", "")
    assert children("", "ports")["https"].status is WORKS
