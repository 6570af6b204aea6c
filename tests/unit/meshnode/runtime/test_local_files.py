"""Files of services and checks: they come back as they were, and a damaged one harms nobody else."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError, MeshError
from meshnode.catalog.model import CRITICAL, PASSING, ServiceAddress, Weights
from meshnode.local.check_type import (
    AliasCheck,
    CertificateCheck,
    CheckType,
    DockerCheck,
    GrpcCheck,
    H2PingCheck,
    HttpCheck,
    ScriptCheck,
    TcpCheck,
    TtlCheck,
    UdpCheck,
)
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.persisted import (
    SavedStatus,
    parse_check_record,
    parse_service_record,
    parse_status_record,
    serialize_check,
)
from meshnode.runtime.local_files import MAX_RECORD_BYTES, LocalFiles

SERVICE = ServiceDefinition(
    "web1", "web", tags=("a", "b"), address="10.0.0.9", port=80, meta={"k": "v"}, weights=Weights(3, 2),
    enable_tag_override=True, native=True, token="secret",
    managed_proxy={"ExecMode": "daemon", "Command": ["x"], "Config": {"bind_port": 1}},
)  # fmt: skip
RUNS: list[CheckType | None] = [
    None,
    TtlCheck(ttl=30.0),
    AliasCheck("n2", "web"),
    TcpCheck(address="localhost:22", interval=10.0, timeout=1.5),
    TcpCheck(address="x:1", use_tls=True, tls_skip_verify=True, tls_server_name="n", interval=10.0),
    UdpCheck(address="x:53", interval=10.0),
    H2PingCheck(address="x:443", interval=10.0),
    H2PingCheck(address="x:80", use_tls=False, tls_server_name="n", interval=10.0),
    ScriptCheck(args=("a", "b"), interval=10.0, success_before_passing=2, failures_before_critical=3),
    DockerCheck(container="d", args=("a",), shell="/bin/sh", interval=10.0),
    GrpcCheck(target="x:1/svc", use_tls=True, tls_skip_verify=True, interval=10.0),
    CertificateCheck(target="/etc/x.pem", interval=60.0),
    HttpCheck(
        url="http://x/h", method="PUT", header={"X": ("1", "2")}, body="{}", tls_skip_verify=True, interval=0.5,
        tls_server_name="n", disable_redirects=True, output_max_size=99,
    ),
]  # fmt: skip


def name(identifier: str) -> str:
    return hashlib.md5(identifier.encode(), usedforsecurity=False).hexdigest()


def check(run: CheckType | None = RUNS[1], check_id: str = "c") -> CheckDefinition:
    return CheckDefinition(check_id, "C", run, "n", "web1", "secret", PASSING, 90.0 if run else 0.0)


@pytest.mark.parametrize(
    "service",
    [
        ServiceDefinition(
            "a", "a", tagged_addresses={"wan": ServiceAddress("1.2.3.4", 8), "x": ServiceAddress("y")}
        ),
        ServiceDefinition("b", "b", socket_path="/run/b.sock"),
    ],
)
def test_a_service_comes_back_with_all_the_ways_to_it(tmp_path: Path, service: ServiceDefinition) -> None:
    LocalFiles(tmp_path).save_service(service)
    assert LocalFiles(tmp_path).load_services() == [service]


def test_a_service_comes_back_as_it_was(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(SERVICE)
    assert LocalFiles(tmp_path).load_services() == [SERVICE]
    files.remove_service("WEB1")
    assert files.load_services() == []
    files.remove_service("web1")


@pytest.mark.parametrize("run", RUNS, ids=lambda run: type(run).__name__)
def test_every_kind_of_check_comes_back_as_it_was(tmp_path: Path, run: CheckType | None) -> None:
    files = LocalFiles(tmp_path)
    files.save_check(check(run))
    assert files.load_checks() == [check(run)]


def test_files_are_where_consul_has_them_and_for_nobody_else(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(SERVICE)
    files.save_check(check())
    files.save_status(SavedStatus("c", PASSING, "o", 99.5))
    paths = [tmp_path / "services" / name("web1"), tmp_path / "checks" / name("c"),
             tmp_path / "checks" / "state" / name("c")]  # fmt: skip
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600] * 3
    assert sorted(json.loads(paths[0].read_bytes())) == ["Service", "Token"]
    assert sorted(json.loads(paths[1].read_bytes())) == ["Check", "ChkType", "Token"]
    assert json.loads(paths[2].read_bytes()) == {
        "CheckID": "c",
        "Status": PASSING,
        "Output": "o",
        "Expires": 99,
    }
    files.remove_check("c")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == paths[:1]


def test_a_status_holds_until_it_expires(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    saved = SavedStatus("Check", PASSING, "o", 100)
    files.save_status(saved)
    assert files.load_status(99.9) == {"check": saved}
    assert files.load_status(100) == {}


def test_what_consul_wrote_is_read(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "checks").mkdir()
    service = {"Token": "t", "Service": {
        "Kind": "", "ID": "web1", "Service": "web", "Tags": None, "Address": "", "Meta": None, "Port": 80,
        "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": False, "ProxyDestination": "",
        "Connect": {"Native": False, "Proxy": None}, "CreateIndex": 0, "ModifyIndex": 0,
    }}  # fmt: skip
    record = {"Token": "t", "Check": {
        "Node": "n", "CheckID": "c", "Name": "C", "Status": "passing", "Notes": "", "Output": "x", "ServiceID": "web1",
        "ServiceName": "web", "ServiceTags": [], "Definition": {}, "CreateIndex": 0, "ModifyIndex": 0,
    }, "ChkType": {
        "CheckID": "", "Name": "", "Status": "", "Notes": "", "ScriptArgs": None, "HTTP": "http://x", "Header": None,
        "Method": "", "TCP": "", "Interval": 10000000000, "AliasNode": "", "AliasService": "", "DockerContainerID": "",
        "Shell": "", "GRPC": "", "GRPCUseTLS": False, "TLSSkipVerify": False, "Timeout": 0, "TTL": 0,
        "DeregisterCriticalServiceAfter": 0, "OfALaterVersion": {"x": 1},
    }}  # fmt: skip
    (tmp_path / "services" / name("web1")).write_text(json.dumps(service))
    (tmp_path / "checks" / name("c")).write_text(json.dumps(record))
    files = LocalFiles(tmp_path)
    assert files.load_services() == [ServiceDefinition("web1", "web", port=80, token="t")]
    (found,) = files.load_checks()
    assert (found.id, found.service_id, found.run) == ("c", "web1", HttpCheck(url="http://x", interval=10.0))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b'{"Service": ', "Expecting value"),
        (b"[]", "it is not a JSON object"),
        (b"{}", "Service is missing"),
        (b'{"Service": {"Service": 1}}', "Service.Service: expected string, got number"),
        (b'{"Service": {"Service": "x", "Port": "80"}}', "Port: expected number, got string"),
        (b"\xff\xfe\xff", ""),
        (b"[" * 200_000, "it is nested too deeply"),
        (b" " * (MAX_RECORD_BYTES + 1), "it is larger than"),
    ],
    ids=range(9),
)
def test_a_damaged_file_is_set_aside_by_name_and_the_others_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, reason: str
) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(SERVICE)
    damaged = tmp_path / "services" / "0damaged"
    damaged.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        assert files.load_services() == [SERVICE]
    (line,) = caplog.messages
    assert str(damaged) in line
    assert reason in line
    assert not damaged.exists()
    assert damaged.with_name("0damaged.damaged").read_bytes() == content
    caplog.clear()
    assert files.load_services() == [SERVICE]
    assert caplog.messages == []


def test_a_record_as_long_as_allowed_is_read(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(SERVICE)
    path = tmp_path / "services" / name("web1")
    path.write_bytes(path.read_bytes().ljust(MAX_RECORD_BYTES))
    assert files.load_services() == [SERVICE]


def test_what_a_crash_left_half_written_is_swept_away(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(SERVICE)
    half = tmp_path / "services" / (name("web1") + ".tmp")
    half.write_bytes(b'{"Serv')
    assert files.load_services() == [SERVICE]
    assert not half.exists()


def test_a_directory_that_can_not_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "services").write_text("in the way")
    with pytest.raises(MeshError, match=f"{tmp_path}/services/.* can't be written: "):
        LocalFiles(tmp_path).save_service(SERVICE)


NAMES = st.sampled_from(["Service", "Check", "ChkType", "Token", "Status", "CheckID", "Expires"])
INSIDE = st.dictionaries(st.sampled_from(["Name", "Service", "TTL", "Status"]), st.text(max_size=3))


@given(st.dictionaries(NAMES, st.none() | st.integers() | st.text(max_size=3) | INSIDE))
def test_any_record_is_read_or_refused_with_a_sentence(record: dict[str, Any]) -> None:
    for parse in (parse_service_record, parse_check_record, parse_status_record):
        try:
            text = repr(parse(record))
        except ConfigError as error:
            text = str(error)
        assert text


def test_a_check_without_a_status_is_critical_in_its_record() -> None:
    assert serialize_check(CheckDefinition("c", "C", None))["Check"]["Status"] == CRITICAL
