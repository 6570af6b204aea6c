"""Text to listeners; and for everything that is wrong, where it is and what to write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint
from meshnode.tls_modes.model import (
    Authorities,
    CertificateFiles,
    CertificateSecret,
    CertificateText,
    Mode,
    TlsListener,
    TlsUpstream,
)
from meshnode.tls_modes.parse import parse_tls_proxy

ALL = """
admin = ":9901"
listener "a" {
  bind = ":10000"
  mode = "terminate"
  certificate { cert_file = "a.crt" key_file = "/keys/a.key" }
  upstream { address = "service-http:80" connect_timeout = "2s" }
}
listener "b" {
  bind = "[::1]:10001"
  mode = "bridge"
  handshake_timeout = "3s"
  certificate { cert_pem = "CHAIN" key_pem = "KEY" }
  upstream { address = "10.0.0.1:443" ca_file = "ca.crt" sni = "Shop.Test" server_name = "10.0.0.1" }
}
listener "c" {
  bind = "unix:/run/c.sock"
  mode = "originate"
  upstream { address = "[::1]:443" insecure_skip_verify = true }
}
listener "d" {
  bind = "127.0.0.1:10003"
  mode = "passthrough"
  server_names = ["localhost", "*.Test"]
  upstream { address = "service-https:443" }
}
listener "e" {
  bind = "127.0.0.1:10004"
  mode = "terminate"
  certificate { sds_file = "sds/e.json" sds_name = "e" }
  upstream { address = "localhost:80" }
}
"""


def test_every_key_is_read_and_paths_begin_in_the_folder() -> None:
    found = parse_tls_proxy(ALL, "t.hcl", "/etc/tls")
    assert found.admin == Endpoint("127.0.0.1", 9901)
    service = Endpoint("service-http", 80, named=True)
    assert found.listeners == (
        TlsListener(
            "a", Endpoint("0.0.0.0", 10000), Mode.TERMINATE, TlsUpstream(service, connect_timeout=2.0),
            CertificateFiles("/etc/tls/a.crt", "/keys/a.key"),
        ),
        TlsListener(
            "b", Endpoint("::1", 10001), Mode.BRIDGE,
            TlsUpstream(Endpoint("10.0.0.1", 443), Authorities("/etc/tls/ca.crt"), "shop.test", "10.0.0.1"),
            CertificateText("CHAIN", "KEY"), handshake_timeout=3.0,
        ),
        TlsListener(
            "c", Endpoint(path="/run/c.sock"), Mode.ORIGINATE,
            TlsUpstream(Endpoint("::1", 443), insecure_skip_verify=True),
        ),
        TlsListener(
            "d", Endpoint("127.0.0.1", 10003), Mode.PASSTHROUGH,
            TlsUpstream(Endpoint("service-https", 443, named=True)), server_names=("localhost", "*.test"),
        ),
        TlsListener(
            "e", Endpoint("127.0.0.1", 10004), Mode.TERMINATE,
            TlsUpstream(Endpoint("localhost", 80, named=True)), CertificateSecret("/etc/tls/sds/e.json", "e"),
        ),
    )  # fmt: skip


def base() -> dict[str, Any]:
    return {
        "bind": "127.0.0.1:1",
        "mode": "bridge",
        "certificate": {"cert_file": "/a", "key_file": "/b"},
        "upstream": {"address": "s:443", "ca_file": "/ca"},
    }


def read(listener: Any) -> Any:
    return parse_tls_proxy(json.dumps({"listener": {"x": listener}}), "t.json")


def test_json_says_the_same_as_hcl() -> None:
    hcl = """listener "x" { bind = "127.0.0.1:1" mode = "bridge" certificate { cert_file = "/a" key_file = "/b" }
             upstream { address = "s:443" ca_file = "/ca" } }"""
    assert read(base()) == parse_tls_proxy(hcl, "t.hcl")


def changed(path: str, value: Any) -> dict[str, Any]:
    """The base with ``path`` set; ``...``: removed."""
    tree = base()
    *folders, name = path.split(".")
    inner = tree
    for folder in folders:
        inner = inner[folder]
    if value is ...:
        del inner[name]
    else:
        inner[name] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("bind", ..., 'listener.x.bind: is missing: write where clients come in, such as "0.0.0.0:443"'),
        ("bind", 1, "listener.x.bind: expected a text, got number"),
        ("bind", "host:1", "listener.x.bind: 'host' is not an IP address: write an IP address and a port"),
        ("bind", "127.0.0.1", "listener.x.bind: '127.0.0.1' has no port: write an IP address and a port"),
        ("bind", "127.0.0.1:99999", "ports are numbers from 0 to 65535"),
        ("bind", "[::1", "opens a bracket"),
        ("bind", " ", "listener.x.bind: is empty: give it a value, or leave it out"),
        ("mode", ..., "listener.x.mode: is missing: write terminate, bridge, originate or passthrough"),
        ("mode", "brige", "listener.x.mode: 'brige' is none (did you mean bridge?)"),
        ("mode", True, "listener.x.mode: expected a text, got boolean"),
        ("upstream", ..., 'listener.x.upstream: is missing: write upstream { address = "host:port" }'),
        ("upstream", "s:443", "listener.x.upstream: expected an object, got string"),
        ("upstream.address", ..., "listener.x.upstream.address: is missing"),
        ("upstream.address", "s", "listener.x.upstream.address: 's' has no port: write host:port"),
        ("upstream.address", "s:0", "has no port: write host:port"),
        ("upstream.address", "a b:1", "is not an IP address or a host name: write host:port"),
        ("upstream.address", "unix:/s", "listener.x.upstream.address: is a unix socket"),
        ("upstream.ca_file", ..., "listener.x: upstream: ca_file is missing"),
        ("upstream.ca_pem", "PEM", "listener.x.upstream.ca_pem: only one of ca_file and ca_pem can be"),
        ("upstream.sni", "1.2.3.4", "listener.x.upstream.sni: '1.2.3.4' is not a DNS name"),
        ("upstream.server_name", "a b", "listener.x.upstream.server_name: 'a b' is not a DNS name"),
        ("upstream.insecure_skip_verify", "yes", "expected true or false, got string"),
        ("upstream.insecure_skip_verify", True, "insecure_skip_verify checks nothing"),
        ("upstream.connect_timeout", "soon", "listener.x.upstream.connect_timeout: \"soon\" is not a duration"),
        ("upstream.connect_timeout", "0s", "is not above 0 and at most 3600 s"),
        ("upstream.conect_timeout", "1s", "is not a key of listener.x.upstream: did you mean connect_timeout?"),
        ("handshake_timeout", "2h", "listener.x.handshake_timeout: 2h is not above 0 and at most 3600 s"),
        ("certificate", ..., "listener.x: certificate is missing: in mode bridge"),
        ("certificate", {}, "certificate.cert_file: is missing: write cert_file and key_file or cert_pem and"),
        ("certificate", [], "listener.x.certificate: expected an object, got list (it comes twice: keep one)"),
        ("certificate.key_file", ..., "certificate.key_file: is missing: cert_file and key_file go together"),
        ("certificate.key_pem", "K", "key_pem: only one of them can be: write cert_file and key_file or cert_pem"),
        ("certificate.cert_file", "a\0b", "listener.x.certificate.cert_file: holds a NUL character"),
        ("server_names", ["a.b"], "server_names: only mode passthrough decides by them, not bridge"),
        ("server_names", [], "listener.x.server_names: expected a list of texts, got none"),
        ("server_names", "a.b", "listener.x.server_names: expected a list of texts, got string"),
        ("server_names", [1], "listener.x.server_names: expected a text in the list, got number"),
        ("server_names", ["a..b"], "listener.x.server_names: 'a..b' is not a DNS name"),
        ("colour", "red", "listener.x.colour: is not a key of listener.x: the keys here are bind, certificate"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_the_fix(path: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(changed(path, value))
    assert said in str(caught.value)
    assert str(caught.value).startswith("t.json:1:")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 't.hcl:1:1: listener: is missing: write listener "name"'),
        ("listner {}", "t.hcl:1:1: listner: is not a key of the configuration: did you mean listener?"),
        ("listener = 3", "listener: expected an object, got number"),
        ("listener { }", "t.hcl: 0 listeners"),
        ('listener { bind = "x" }', 'listener.bind: has no name: write listener "name" { ... }'),
        ('listener "a" {} listener "a" {}', "listener.a: comes twice: give each its own name"),
        ('listener "a" {', "t.hcl:1:"),
        ("admin = 3\nlistener {}", "t.hcl:1:9: admin: expected a text, got number"),
    ],
)
def test_a_text_that_is_no_configuration_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_tls_proxy(text, "t.hcl")
    assert said in str(caught.value)


def test_listeners_at_one_address_are_refused_with_the_file() -> None:
    with pytest.raises(ConfigError, match=r"^t.json: listener.y.bind: 127.0.0.1:1 is that of listener.x"):
        parse_tls_proxy(json.dumps({"listener": {"x": base(), "y": base()}}), "t.json")


def test_no_error_quotes_a_key() -> None:
    with pytest.raises(ConfigError) as caught:
        read(changed("certificate", {"cert_pem": "C", "key_pem": "SECRET", "cert_file": "/a"}))
    assert "SECRET" not in str(caught.value)


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from([
    "127.0.0.1:1", "s:443", "bridge", "terminate", "passthrough", "a.test", "5s",
])  # fmt: skip
KEYS = st.sampled_from(
    [*("bind", "mode", "certificate", "upstream", "server_names", "handshake_timeout"),
     *("address", "ca_file", "sni", "cert_file", "key_file", "sds_file", "x")]
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["listener", "admin"]), TREES))
def test_any_json_ends_in_a_configuration_or_in_one_error(tree: dict[str, Any]) -> None:
    said = ""
    try:
        listeners = len(parse_tls_proxy(json.dumps(tree), "t.json").listeners)
    except ConfigError as error:
        listeners, said = 0, str(error)
    assert listeners or said.startswith("t.json")
