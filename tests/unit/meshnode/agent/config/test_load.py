"""Loading: the order of sources, the rules of Consul with its texts, and every mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.agent.config.errors import ConfigErrors
from meshnode.agent.config.load import load, load_files
from meshnode.base.address import Address
from tests.unit.meshnode.agent.config.loading import complaint, read, write
from tests.unit.meshnode.agent.config.machine import machine


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "consul.d"
    path.mkdir()
    return path


# Sources


def test_an_agent_without_settings_is_a_client_with_the_defaults_of_consul() -> None:
    config = read().config
    assert not config.dev
    assert (config.identity.node_name, config.identity.datacenter, config.identity.domain) == (
        "web1",
        "dc1",
        "consul.",
    )
    assert (config.addresses.bind, config.addresses.advertise) == ("0.0.0.0", "10.0.0.2")
    assert config.http_listeners == (Address("127.0.0.1", 8500),)
    assert config.https_listeners == ()
    assert (config.ports.serf_lan, config.ports.serf_wan, config.ports.server) == (8301, 8302, 8300)
    assert (config.process.leave_on_terminate, config.process.skip_leave_on_interrupt) == (True, False)
    assert (config.gossip.lan.probe_interval, config.gossip.wan.probe_interval) == (1.0, 5.0)


def test_a_server_stays_when_it_is_interrupted() -> None:
    process = read("-server").config.process
    assert (process.leave_on_terminate, process.skip_leave_on_interrupt) == (False, True)


def test_dev_is_a_server_in_memory_on_loopback() -> None:
    config = load(["-dev"], {}, machine(eth0="10.0.0.2/24", eth1="10.0.1.2/24")).config
    assert config.dev
    assert config.identity.server
    assert config.identity.data_dir == ""
    assert (config.addresses.bind, config.addresses.advertise) == ("127.0.0.1", "127.0.0.1")
    assert config.keyring_file(wan=False) is None
    assert (config.logging.level, config.gossip.lan.probe_interval) == ("DEBUG", 0.1)


def test_files_win_over_defaults_in_the_order_of_their_names_and_other_files_are_skipped(
    directory: Path,
) -> None:
    write(directory, "10.json", {"datacenter": "a", "ports": {"http": 1001, "server": 1002}})
    write(directory, "20.hcl", 'datacenter = "b"\nports { http = 1003 }')
    write(directory, "30.yaml", "datacenter: c")
    write(directory, "40.json.bak", "nonsense")
    (directory / "50.json").mkdir()
    loaded = read("-config-dir", str(directory))
    assert loaded.config.identity.datacenter == "b"
    assert (loaded.config.ports.http, loaded.config.ports.server) == (1003, 1002)
    assert [path.name for path in loaded.files] == ["10.json", "20.hcl"]


def test_links_to_files_are_followed(directory: Path, tmp_path: Path) -> None:
    write(tmp_path, "real.json", {"datacenter": "linked"})
    (directory / "x.json").symlink_to(tmp_path / "real.json")
    assert read("-config-dir", str(directory)).config.identity.datacenter == "linked"


def test_files_and_directories_win_in_the_order_given(directory: Path, tmp_path: Path) -> None:
    write(directory, "a.json", {"datacenter": "from-directory"})
    file = write(tmp_path, "b.json", {"datacenter": "from-file"})
    assert (
        read("-config-file", str(file), "-config-dir", str(directory)).config.identity.datacenter
        == "from-directory"
    )
    assert (
        read("-config-dir", str(directory), "-config-file", str(file)).config.identity.datacenter
        == "from-file"
    )


def test_a_forced_format_reads_every_file(directory: Path) -> None:
    write(directory, "settings", 'datacenter = "x"')
    assert read("-config-dir", str(directory)).config.identity.datacenter == "dc1"
    assert read("-config-format=hcl", "-config-dir", str(directory)).config.identity.datacenter == "x"


def test_a_named_file_of_another_format_is_skipped_with_a_warning(directory: Path) -> None:
    file = write(directory, "x.yaml", "a: 1")
    assert read("-config-file", str(file)).warnings == (
        f"skipping file {file}, extension must be .hcl or .json, or config format must be set (-config-format)",
    )


def test_the_environment_wins_over_files_and_flags_over_the_environment(directory: Path) -> None:
    write(directory, "a.json", {"datacenter": "file", "node_name": "file", "log_level": "err"})
    environ = {
        "CONSUL_LOCAL_CONFIG": '{"datacenter": "consul", "node_name": "consul"}',
        "MESHNODE_LOCAL_CONFIG": 'node_name = "meshnode"',
    }
    config = read("-config-dir", str(directory), "-node=flag", environ=environ).config
    assert (config.identity.datacenter, config.identity.node_name) == ("consul", "flag")
    assert read("-config-dir", str(directory), environ=environ).config.identity.node_name == "meshnode"
    assert config.logging.level == "ERR"


def test_a_mistake_in_the_environment_is_found_there() -> None:
    environ = {"CONSUL_LOCAL_CONFIG": '{"server": 1}'}
    assert complaint(environ=environ).startswith(
        "environment variable CONSUL_LOCAL_CONFIG:1:12: server: expected"
    )


def test_an_hcl_fragment_wins_over_everything(directory: Path) -> None:
    write(directory, "a.json", {"datacenter": "file"})
    config = read("-config-dir", str(directory), "-datacenter=flag", '-hcl=datacenter = "fragment"').config
    assert config.identity.datacenter == "fragment"


def test_lists_are_appended_and_those_of_flags_come_first(directory: Path) -> None:
    write(directory, "a.json", {"retry_join": ["b"]})
    write(directory, "b.json", {"retry_join": ["c"]})
    config = read("-config-dir", str(directory), "-retry-join=a", '-hcl=retry_join = ["d"]').config
    assert config.join.lan.retry == ("a", "b", "c", "d")


def test_maps_are_merged_key_by_key(directory: Path) -> None:
    write(directory, "a.json", {"node_meta": {"a": "1", "b": "1"}})
    config = read("-config-dir", str(directory), "-node-meta=b:2", '-hcl=node_meta { c = "3" }').config
    assert dict(config.identity.node_meta) == {"a": "1", "b": "2", "c": "3"}


# Mistakes in files


def test_a_path_that_does_not_exist_is_named() -> None:
    assert complaint("-config-file=/no/such.json").startswith("/no/such.json does not exist")


def test_a_file_that_is_not_utf8_is_named(directory: Path) -> None:
    (directory / "a.json").write_bytes(b'{"a": "\xff"}')
    assert (
        complaint("-config-dir", str(directory)) == f"{directory}/a.json is not UTF-8: byte 7 can't be read"
    )


def test_a_syntax_error_names_file_line_and_column(directory: Path) -> None:
    file = write(directory, "a.json", '{"server": true,\n "ports": {https: 1}}')
    assert complaint("-config-dir", str(directory)).startswith(
        f"{file}:2:12: expected a key in double quotes"
    )


def test_all_mistakes_of_all_sources_are_reported_at_once(directory: Path) -> None:
    write(directory, "a.json", {"verify_incomming": True, "ui_dir": "/srv"})
    write(directory, "b.hcl", "server = 1")
    with pytest.raises(ConfigErrors) as caught:
        read("-config-dir", str(directory), "-raft-protocol=2", "-hcl=x = 1")
    assert len(caught.value.problems) == 5
    assert str(caught.value).startswith("5 errors occurred:\n  * ")


# Rules of Consul


def test_files_alone_can_be_checked(directory: Path) -> None:
    write(directory, "a.json", {"data_dir": "/none", "node_name": "x"})
    assert load_files([str(directory)], machine=machine()).config.identity.node_name == "x"


def test_a_log_file_that_is_a_directory_gets_a_name() -> None:
    assert read("-log-file=/var/log/").config.logging.file == "/var/log/meshnode.log"
    assert read("-log-file=/var/log/x").config.logging.file == "/var/log/x"
