"""The 51 flags of ``agent`` become settings."""

from __future__ import annotations

import contextlib
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.agent.config.flags import parse_agent_flags
from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagError, HelpRequested

CONSUL_1_2_3 = shlex.split("""
advertise advertise-wan bind bootstrap bootstrap-expect client config-dir config-file config-format data-dir
datacenter dev disable-host-node-id disable-keyring-file dns-port domain enable-script-checks encrypt hcl
http-port join join-wan log-file log-level log-rotate-bytes log-rotate-duration node node-id node-meta
non-voting-server pid-file protocol raft-protocol recursor rejoin retry-interval retry-interval-wan retry-join
retry-join-wan retry-max retry-max-wan segment serf-lan-bind serf-lan-port serf-wan-bind serf-wan-port server
server-port syslog ui ui-dir
""")


def test_the_flags_are_those_of_consul() -> None:
    with pytest.raises(HelpRequested) as usage:
        parse_agent_flags(["-h"])
    shown = set(re.findall(r"^  -([a-z-]+)(?:=<.*)?$", str(usage.value), re.MULTILINE))
    assert sorted(shown - {"grpc-port"}) == CONSUL_1_2_3, "and one of Consul 1.3"
    assert len(CONSUL_1_2_3) == 51


def test_the_command_line_of_the_documents_is_read() -> None:
    flags = parse_agent_flags(
        shlex.split("-server -ui -bootstrap-expect 1 -retry-join consul_server_1 -client 0.0.0.0")
    )
    assert {path: entry.value for path, entry in flags.scalars.items()} == {
        "server": True,
        "ui": True,
        "bootstrap_expect": 1,
        "client_addr": "0.0.0.0",
    }
    assert flags.lists["retry_join"].value == ("consul_server_1",)


def test_files_and_directories_keep_their_common_order() -> None:
    flags = parse_agent_flags(["-config-dir", "/b", "-server", "-config-file=/a", "--config-dir=/c"])
    assert flags.paths == ("/b", "/a", "/c")


def test_values_are_typed_and_know_their_flag() -> None:
    flags = parse_agent_flags(
        ["-http-port=0", "-retry-interval", "1m", "-node-meta", "a:b:c", "-node-meta=d", "-hcl", "x=1"]
    )
    assert flags.scalars["ports.http"].value == -1
    assert flags.scalars["retry_interval"].value == 60.0
    assert flags.scalars["node_meta"].value == {"a": "b:c", "d": ""}
    assert str(flags.scalars["node_meta"].origin) == "flag -node-meta"
    assert flags.fragments == ("x=1",)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-sever"], "flag provided but not defined: -sever: did you mean -server?"),
        (["extra"], "agent takes no arguments, got 'extra'"),
        (["extra", "-server"], "agent takes no arguments, got 'extra': -server must come before it"),
        (["-http-port", "65536"], "flag -http-port: ports.http: invalid port: 65536: the highest is 65535"),
        (["-http-port", "x"], 'flag -http-port: "x" is not a whole number'),
        (
            ["-log-level", "loud"],
            'flag -log-level: "loud" can\'t be used: write one of TRACE, DEBUG, INFO, WARN, ERR',
        ),
        (["-config-format", "yaml"], 'flag -config-format: "yaml" is not a format: write hcl or json'),
        (["-node-meta", ":x"], 'flag -node-meta: ":x" has no key: write key:value'),
    ],
)
def test_a_command_line_that_cannot_be_used_is_refused(args: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_agent_flags(args)
    assert str(caught.value).startswith(message)


def test_help_says_which_flags_are_refused_and_why() -> None:
    with pytest.raises(HelpRequested) as caught:
        parse_agent_flags(["-help"])
    assert "-raft-protocol=<int>" in str(caught.value)
    assert "Refused: a key of Consul Enterprise." in str(caught.value)


@given(st.lists(st.sampled_from([f"-{name}" for name in CONSUL_1_2_3]) | st.text(max_size=6), max_size=8))
def test_any_command_line_ends_in_flags_or_in_a_named_error(args: list[str]) -> None:
    with contextlib.suppress(FlagError, HelpRequested, ConfigError):
        parse_agent_flags(args)


def test_a_whole_number_of_a_flag_has_64_bits_at_most() -> None:
    assert parse_agent_flags(["-retry-max", "9223372036854775807"]).scalars["retry_max"].value == 2**63 - 1
    with pytest.raises(
        FlagError, match="9223372036854775808 is too large: the largest is 9223372036854775807"
    ):
        parse_agent_flags(["-retry-max", "9223372036854775808"])
