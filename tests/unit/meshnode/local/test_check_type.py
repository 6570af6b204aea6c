"""Definitions that can't be run are named with field and fix; the defaults are Consul's."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.local.check_type import (
    MAX_OUTPUT_BYTES,
    AliasCheck,
    CertificateCheck,
    CheckType,
    DockerCheck,
    GrpcCheck,
    HttpCheck,
    IntervalCheck,
    ScriptCheck,
    TcpCheck,
    TtlCheck,
    effective_interval,
    effective_timeout,
    fault,
    split_host_port,
)

URL = "http://127.0.0.1/"


@pytest.mark.parametrize(
    "check",
    [
        ScriptCheck(("true",), interval=10),
        HttpCheck(URL, interval=0.5),
        HttpCheck("https://[::1]:8443/a?b=c#d", interval=10, header={"X-A": ("", "ü")}, method="PROPFIND"),
        TcpCheck("localhost:22", interval=10),
        TcpCheck(":22", interval=10),
        GrpcCheck("[::1]:50051/web/api", interval=10),
        DockerCheck("web-1", ("true",), shell="/bin/bash", interval=10),
        CertificateCheck("/etc/ssl/web.pem", interval=3600),
        CertificateCheck("db.internal:5432", interval=3600),
        TtlCheck(30),
        AliasCheck(service_id="web"),
        AliasCheck(node="db1"),
        TcpCheck("a:1", interval=1, failures_before_warning=1),
        TcpCheck("a:1", interval=1, output_max_size=MAX_OUTPUT_BYTES, failures_before_critical=3),
    ],
    ids=repr,
)
def test_a_definition_that_can_be_run_has_no_fault(check: CheckType) -> None:
    assert fault(check) == ""


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (ScriptCheck((), interval=10), "Args is empty"),
        (ScriptCheck(("",), interval=10), "Args is empty"),
        (ScriptCheck(("a", "b\0"), interval=10), "Args[1] holds a NUL"),
        (ScriptCheck(("a",)), "Interval must be > 0 for Script, HTTP, or TCP checks: set Interval"),
        (TcpCheck("a:1", interval=float("nan")), "Interval must be > 0"),
        (TcpCheck("a:1", interval=float("inf")), "Interval must be > 0"),
        (TcpCheck("a:1", interval=1, timeout=-1), "Timeout must not be negative"),
        (TcpCheck("a", interval=1), 'TCP: "a" is not an address: write host:port'),
        (TcpCheck("a:0", interval=1), "TCP:"),
        (TcpCheck("a:65536", interval=1), "TCP:"),
        (TcpCheck("::1:80", interval=1), "TCP:"),
        (GrpcCheck("a/web", interval=1), 'GRPC: "a" is not an address'),
        (HttpCheck("ftp://a/", interval=1), "is not a URL that can be asked: write one such as"),
        (HttpCheck("http:///x", interval=1), "is not a URL"),
        (HttpCheck("http://[::1", interval=1), "is not a URL"),
        (HttpCheck("http://a:99999/", interval=1), "is not a URL"),
        (HttpCheck("http://a/ b", interval=1), "holds a space or a control character"),
        (HttpCheck(URL, interval=1, method="GET /"), "Method 'GET /' is not an HTTP method"),
        (HttpCheck(URL, interval=1, header={"a b": ("c",)}), "Header 'a b' is not the name"),
        (HttpCheck(URL, interval=1, header={"A": ("b\r\nC: d",)}), "Header A: its value holds a line break"),
        (DockerCheck("", ("true",), interval=1), "DockerContainerID is empty"),
        (DockerCheck("web", (), interval=1), "Args is empty"),
        (CertificateCheck("web.pem", interval=1), "write the absolute path of a file, or host:port"),
        (CertificateCheck("/a\0", interval=1), "NUL"),
        (TtlCheck(0), "TTL must be > 0 for TTL checks: set TTL"),
        (TtlCheck(float("nan")), "TTL must be > 0"),
        (TtlCheck(1, output_max_size=0), "OutputMaxSize is 0: set a number of bytes from 1"),
        (TcpCheck("a:1", interval=1, output_max_size=MAX_OUTPUT_BYTES + 1), "OutputMaxSize is"),
        (AliasCheck(), "AliasNode and AliasService are empty: set one"),
        (TtlCheck(1, success_before_passing=-1), "SuccessBeforePassing is -1"),
        (TtlCheck(1, failures_before_warning=3, failures_before_critical=2), "FailuresBeforeWarning (3)"),
    ],
    ids=repr,
)
def test_a_definition_that_cannot_be_run_is_refused_by_field(check: CheckType, text: str) -> None:
    assert text in fault(check)


def test_an_interval_below_a_second_is_raised_to_it() -> None:
    assert effective_interval(TcpCheck("a:1", interval=0.01)) == 1.0
    assert effective_interval(TcpCheck("a:1", interval=1.5)) == 1.5


@pytest.mark.parametrize(
    ("check", "timeout"),
    [
        (ScriptCheck(("a",), interval=1), 30),
        (DockerCheck("a", ("b",), interval=1), 30),
        (HttpCheck(URL, interval=1), 10),
        (TcpCheck("a:1", interval=1), 10),
        (GrpcCheck("a:1", interval=1), 10),
        (ScriptCheck(("a",), interval=1, timeout=2), 2),
    ],
)
def test_the_time_of_a_run_is_consuls_unless_it_is_set(check: IntervalCheck, timeout: float) -> None:
    assert effective_timeout(check) == timeout


def test_what_may_be_secret_is_not_in_the_value_as_it_is_shown() -> None:
    check = HttpCheck(URL, interval=1, header={"Authorization": ("s3cret",)}, body="s3cret")
    assert "s3cret" not in repr(check)


@given(st.text() | st.builds("{}:{}".format, st.text("a[:]1é\n", max_size=6), st.integers(-5, 70_000)))
@example("a:65535")
@example("a:65536")
def test_any_text_is_an_address_or_none(text: str) -> None:
    parts = split_host_port(text)
    if parts is not None:
        assert parts[0]
        assert 0 < parts[1] < 65536
        assert text.endswith(str(parts[1]))


@pytest.mark.parametrize("host", ["a", "10.0.0.1", "xn--bcher-kva.example"])
def test_an_address_is_taken_apart(host: str) -> None:
    assert split_host_port(f"{host}:80") == (host, 80)
    assert split_host_port("[fe80::1%eth0]:80") == ("fe80::1%eth0", 80)
    assert split_host_port(":80") == ("localhost", 80)
