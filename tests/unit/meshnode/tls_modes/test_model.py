"""Which settings fit together, and which name lets a client in."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint
from meshnode.tls_modes.model import (
    MAX_LISTENERS,
    MAX_SERVER_NAMES,
    Authorities,
    CertificateFiles,
    CertificateText,
    Mode,
    TlsListener,
    TlsProxyConfig,
    TlsUpstream,
    listener_name,
    server_name,
)

FILES = CertificateFiles("/a.crt", "/a.key")
TO = Endpoint("service", 443, named=True)
CA = Authorities("/ca.crt")


def listener(mode: Mode, name: str = "one", port: int = 1, **settings: Any) -> TlsListener:
    upstream = settings.pop("upstream", TlsUpstream(TO, CA if mode.begins_tls else None))
    certificate = settings.pop("certificate", FILES if mode.ends_tls else None)
    return TlsListener(name, Endpoint("127.0.0.1", port), mode, upstream, certificate, **settings)


@pytest.mark.parametrize("mode", Mode)
def test_each_mode_takes_what_it_needs(mode: Mode) -> None:
    assert listener(mode).mode is mode


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("given", [FILES, None], ids=["certificate", "none"])
def test_a_certificate_is_for_the_modes_that_end_tls_and_for_no_other(mode: Mode, given: Any) -> None:
    if (given is not None) is mode.ends_tls:
        assert listener(mode, certificate=given).certificate is given
    else:
        with pytest.raises(ConfigError, match=rf"certificate.*mode {mode} "):
            listener(mode, certificate=given)


@pytest.mark.parametrize("mode", Mode)
def test_names_are_for_passthrough_only(mode: Mode) -> None:
    if mode is Mode.PASSTHROUGH:
        assert listener(mode, server_names=("a.b",)).server_names == ("a.b",)
        return
    with pytest.raises(ConfigError, match="server_names: only mode passthrough"):
        listener(mode, server_names=("a.b",))


@pytest.mark.parametrize("mode", [Mode.TERMINATE, Mode.PASSTHROUGH])
@pytest.mark.parametrize(
    ("named", "settings"),
    [
        ("ca_file or ca_pem", {"authorities": CA}),
        ("sni", {"sni": "a.b"}),
        ("server_name", {"server_name": "a.b"}),
        ("insecure_skip_verify", {"insecure_skip_verify": True}),
    ],
)
def test_what_an_upstream_without_tls_can_t_have_is_named(
    mode: Mode, named: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=rf"in mode {mode} the upstream hears .*so {named} can't hold"):
        listener(mode, upstream=TlsUpstream(TO, **settings))


@pytest.mark.parametrize("mode", [Mode.BRIDGE, Mode.ORIGINATE])
def test_an_upstream_is_checked_unless_the_opposite_is_said(mode: Mode) -> None:
    with pytest.raises(ConfigError, match=r"ca_file is missing.*insecure_skip_verify = true"):
        listener(mode, upstream=TlsUpstream(TO))
    assert listener(mode, upstream=TlsUpstream(TO, insecure_skip_verify=True)).upstream.insecure_skip_verify
    for both in ({"authorities": CA}, {"server_name": "a.b"}):
        with pytest.raises(ConfigError, match="insecure_skip_verify checks nothing"):
            listener(mode, upstream=TlsUpstream(TO, insecure_skip_verify=True, **both))  # type: ignore[arg-type]


def test_the_name_that_is_checked_is_the_one_given_then_the_one_sent_then_the_one_dialled() -> None:
    assert TlsUpstream(TO, CA).verified_name == "service"
    assert TlsUpstream(TO, CA, sni="sent").verified_name == "sent"
    assert TlsUpstream(TO, CA, sni="sent", server_name="given").verified_name == "given"


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "a" * 65, "a\n"])
def test_a_listener_s_name_is_short_and_plain(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a listener"):
        listener(Mode.PASSTHROUGH, name)
    assert listener(Mode.PASSTHROUGH, "a" * 64).name == "a" * 64


def test_listeners_share_neither_name_nor_address_and_are_bounded() -> None:
    def some(count: int) -> tuple[TlsListener, ...]:
        return tuple(listener(Mode.PASSTHROUGH, f"l{n}", n + 1) for n in range(count))

    assert len(TlsProxyConfig(some(MAX_LISTENERS)).listeners) == MAX_LISTENERS
    for wrong in ((), some(MAX_LISTENERS + 1)):
        with pytest.raises(ConfigError, match=f"{len(wrong)} listeners: write 1 to {MAX_LISTENERS}"):
            TlsProxyConfig(wrong)
    one = listener(Mode.PASSTHROUGH, "one", 1)
    with pytest.raises(ConfigError, match=r"listener.two.bind: 127.0.0.1:1 is that of listener.one"):
        TlsProxyConfig((one, listener(Mode.PASSTHROUGH, "two", 1)))
    with pytest.raises(ConfigError, match=r"listener.one: comes twice"):
        TlsProxyConfig((one, listener(Mode.PASSTHROUGH, "one", 2)))
    with pytest.raises(ConfigError, match=r"127.0.0.1:1 is that of admin"):
        TlsProxyConfig((one,), Endpoint("0.0.0.0", 1))


def test_the_number_of_names_is_bounded() -> None:
    names = tuple(f"n{n}.test" for n in range(MAX_SERVER_NAMES + 1))
    assert listener(Mode.PASSTHROUGH, server_names=names[:-1]).server_names == names[:-1]
    with pytest.raises(ConfigError, match=f"more than {MAX_SERVER_NAMES}"):
        listener(Mode.PASSTHROUGH, server_names=names)


def test_a_key_in_the_configuration_is_shown_by_nothing() -> None:
    assert "SECRET" not in repr(listener(Mode.TERMINATE, certificate=CertificateText("chain", "SECRET")))


@pytest.mark.parametrize("text", ["a", "A.Example", "x-1.y_z", "xn--nxasmq6b.example"])
def test_names_of_hosts_are_taken_in_lower_case(text: str) -> None:
    assert server_name(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "-a", "a-", "*", "*.", "*a.b", "a.*.b", "1.2.3.4", "a b", "a/b", "ä.b", "a" * 64],
)
def test_what_is_no_name_of_a_host_is_refused(text: str) -> None:
    for wildcard in (False, True):
        with pytest.raises(ConfigError, match="is not a DNS name"):
            server_name(text, wildcard=wildcard)


def test_a_wildcard_is_taken_where_it_may_be() -> None:
    assert server_name("*.A.b", wildcard=True) == "*.a.b"
    with pytest.raises(ConfigError, match="without a wildcard"):
        server_name("*.a.b")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("a.test", "a.test"),
        ("A.TEST", "a.test"),
        ("b.test", "*.test"),
        ("c.b.test", "*.b.test"),
        ("d.c.b.test", "*.b.test"),
        ("x.y.test", "*.test"),
        ("test", None),
        ("b.tests", None),
        ("", None),
    ],
)
def test_the_nearest_name_lets_in(asked: str, found: str | None) -> None:
    assert listener_name(("a.test", "*.test", "*.b.test"), asked) == found
