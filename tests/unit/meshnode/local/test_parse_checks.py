"""Checks in both forms: every way to run one, and what makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

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
from meshnode.local.definitions import ScriptPolicy
from meshnode.local.parse import MAX_CHECKS, MAX_NAME_CHARS, configured_check, parse_check, parse_service
from tests.unit.meshnode.local.parsing import refusal


def run_of(**fields: Any) -> CheckType | None:
    return parse_check({"Name": "c", **fields}).run


def test_one_check_alone_has_no_number_in_its_id() -> None:
    (check,) = parse_service({"Name": "web", "Checks": [{"TTL": "5s"}]}).checks
    assert (check.id, check.name, check.service_id) == ("service:web", "Service 'web' check", "web")


def test_a_check_of_a_service_takes_its_id_from_the_service_and_not_from_its_name() -> None:
    checks = parse_service(
        {"Name": "web", "Checks": [{"Name": "n", "TTL": "5s"}, {"Name": "n", "TTL": "6s"}]}
    ).checks
    assert [(check.id, check.name) for check in checks] == [("service:web:1", "n"), ("service:web:2", "n")]


SHARED = {"Interval": "10s", "Timeout": 2_000_000_000, "SuccessBeforePassing": 2, "FailuresBeforeCritical": 3}
REPEATED: dict[str, Any] = {
    "interval": 10.0,
    "timeout": 2.0,
    "success_before_passing": 2,
    "failures_before_critical": 3,
}


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"Args": ["a", "b"], **SHARED}, ScriptCheck(args=("a", "b"), **REPEATED)),
        ({"ScriptArgs": ["a"], **SHARED}, ScriptCheck(args=("a",), **REPEATED)),
        (
            {"DockerContainerID": "d1", "Shell": "/bin/sh", "Args": ["a"], **SHARED},
            DockerCheck(container="d1", shell="/bin/sh", args=("a",), **REPEATED),
        ),
        (
            {"HTTP": "http://x/h", "Method": "POST", "Header": {"X-A": ["1", "2"]}, "Body": "{}",
             "TLSSkipVerify": True, "OutputMaxSize": 99, **SHARED},
            HttpCheck(url="http://x/h", method="POST", header={"X-A": ("1", "2")}, body="{}", tls_skip_verify=True,
                      output_max_size=99, **REPEATED),
        ),
        ({"TCP": "localhost:22", **SHARED}, TcpCheck(address="localhost:22", **REPEATED)),
        (
            {"TCP": "x:1", "TCPUseTLS": True, "TLSServerName": "n", "TLSSkipVerify": True, **SHARED},
            TcpCheck(address="x:1", use_tls=True, tls_server_name="n", tls_skip_verify=True, **REPEATED),
        ),
        ({"UDP": "x:53", **SHARED}, UdpCheck(address="x:53", **REPEATED)),
        ({"H2PING": "x:443", **SHARED}, H2PingCheck(address="x:443", use_tls=True, **REPEATED)),
        (
            {"H2PING": "x:80", "H2PINGUseTLS": False, "TLSServerName": "n", **SHARED},
            H2PingCheck(address="x:80", use_tls=False, tls_server_name="n", **REPEATED),
        ),
        (
            {"GRPC": "127.0.0.1:12345/svc", "GRPCUseTLS": True, **SHARED},
            GrpcCheck(target="127.0.0.1:12345/svc", use_tls=True, **REPEATED),
        ),
        ({"TTL": "30s"}, TtlCheck(ttl=30.0)),
        ({"AliasNode": "n2", "AliasService": "web"}, AliasCheck("n2", "web")),
        ({"AliasService": "web"}, AliasCheck("", "web")),
        ({"Certificate": "/etc/x.pem"}, CertificateCheck(target="/etc/x.pem", interval=60.0)),
        ({"Certificate": "db:443", **SHARED}, CertificateCheck(target="db:443", **REPEATED)),
    ],
)  # fmt: skip
def test_every_way_to_run_a_check_is_read_in_both_forms(fields: dict[str, Any], wanted: CheckType) -> None:
    assert run_of(**fields) == wanted
    in_seconds = {**fields, **({"Timeout": 2.0} if "Timeout" in fields else {})}
    assert configured_check({"name": "c", **in_seconds}, "check").run == wanted


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Interval": "1s", "TTL": "1s"}, "Invalid check: Interval and TTL cannot both be specified"),
        ({"HTTP": "http://x"}, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"),
        ({}, "Invalid check: TTL must be > 0 for TTL checks"),
        ({"TTL": "-1s"}, "Invalid check: TTL must be > 0 for TTL checks"),
        ({"AliasNode": "n", "Interval": "1s"}, "Invalid check: Interval cannot be set for Alias checks"),
        ({"AliasNode": "n", "TTL": "1s"}, "Invalid check: TTL must be not be set for Alias checks"),
        ({"HTTP": "http://x", "TTL": "1s"}, "Invalid check: TTL cannot be set together with HTTP"),
        (
            {"HTTP": "http://x", "TCP": "x:1", "Interval": "1s"},
            "Invalid check: HTTP and TCP cannot both be set",
        ),
        ({"DockerContainerID": "d", "Interval": "1s"}, "Invalid check: Args is empty"),
        ({"HTTP": "x", "Interval": "1s"}, 'Invalid check: HTTP: "x" is not a URL'),
        (
            {"OSService": "x", "Interval": "1s"},
            "Invalid check: OSService: services of the operating system are",
        ),
        ({"UDP": "x", "Interval": "1s"}, 'Invalid check: UDP: "x" is not an address: write host:port'),
        ({"H2PING": "x", "Interval": "1s"}, 'Invalid check: H2PING: "x" is not an address: write host:port'),
        ({"TTL": "1s", "Status": "ok"}, "Bad check status: write one of passing, warning, critical"),
        ({"TTL": "1s", "Notes": 1}, "Request decode failed: Notes: expected string, got number"),
        ({"TTL": "soon"}, 'Request decode failed: TTL: "soon" is not a duration'),
        ({"TTL": "1s", "ID": "x" * (MAX_NAME_CHARS + 1)}, "ID: is longer than 1024 characters"),
        (
            {"TTL": "1s", "FailuresBeforeCritical": -1},
            "Invalid check: FailuresBeforeCritical is -1: set 0 or more",
        ),
    ],
)
def test_a_check_that_makes_no_sense_is_refused_with_consuls_words(
    fields: dict[str, Any], reason: str
) -> None:
    assert refusal(parse_check, {"Name": "c", **fields}).startswith(reason)


def test_a_check_needs_a_name_and_its_id_may_be_written_in_two_ways() -> None:
    assert refusal(parse_check, {"TTL": "1s"}) == "Missing check name"
    assert refusal(configured_check, {"ttl": 1.0}, "checks[0]") == "checks[0]: Missing check name"
    assert parse_check({"Name": "n", "TTL": "1s"}).id == "n"
    assert parse_check({"Name": "n", "CheckID": "c", "TTL": "1s"}).id == "c"
    assert parse_check({"Name": "n", "ID": "i", "ServiceID": "web", "TTL": "1s"}).service_id == "web"
    assert parse_check({"Name": "n" * MAX_NAME_CHARS, "TTL": "1s"}).name == "n" * MAX_NAME_CHARS


def test_a_critical_service_stays_for_a_minute_at_least() -> None:
    afters = [
        parse_check({"Name": "n", "TTL": "1s", "DeregisterCriticalServiceAfter": text})
        for text in ("1s", "2m", 0)
    ]
    assert [check.deregister_critical_service_after for check in afters] == [60.0, 120.0, 0.0]


def test_as_many_checks_as_allowed_are_read() -> None:
    assert len(parse_service({"Name": "web", "Checks": [{"TTL": "1s"}] * MAX_CHECKS}).checks) == MAX_CHECKS


@pytest.mark.parametrize(
    ("enabled", "locally", "remote", "allowed"),
    [
        (False, False, False, False), (False, False, True, False), (False, True, False, True),
        (False, True, True, False), (True, False, False, True), (True, False, True, True),
        (True, True, False, True), (True, True, True, True),
    ],
)  # fmt: skip
def test_programs_are_run_only_where_it_is_allowed(
    enabled: bool, locally: bool, remote: bool, allowed: bool
) -> None:
    policy = ScriptPolicy(enabled, locally)
    script = parse_check({"Name": "c", "Args": ["x"], "Interval": "1s"})
    docker = parse_check({"Name": "c", "DockerContainerID": "d", "Args": ["x"], "Interval": "1s"})
    other = parse_check({"Name": "c", "TTL": "1s"})
    assert (policy.fault(script, remote=remote) == "") == allowed
    assert (policy.fault(docker, remote=remote) == "") == allowed
    assert policy.fault(other, remote=remote) == ""
    if not allowed:
        assert ("from remote calls" in policy.fault(script, remote=remote)) == remote
