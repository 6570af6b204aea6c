"""The etcd engine from the configuration: under which keys it is, and what keeps it from being made."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.agent import etcd_engine
from meshnode.agent.etcd_engine import etcd_log
from meshnode.base.address import Address
from meshnode.base.errors import ConfigError
from meshnode.runtime.etcd_client import EtcdSettings

LOG = {"engine": "etcd", "endpoints": ["http://127.0.0.1:2379"]}


@pytest.mark.parametrize(
    ("keys", "prefix"),
    [
        ({}, "meshnode/dc1/"),
        ({"prefix": "blue/"}, "blue/"),
    ],
)
def test_a_cluster_is_under_its_prefix_or_its_datacenters(
    config: Any, keys: dict[str, str], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[EtcdSettings] = []
    monkeypatch.setattr(etcd_engine, "EtcdLog", lambda settings, _node_id: made.append(settings))
    etcd_log(config(server=True, state_log=LOG | keys), "n1")
    assert [settings.prefix for settings in made] == [prefix]


MIXED = ["https://a:1", "https://b:1", "http://a:1", "http://b:1"]
PAIR = (Address("a", 1), Address("b", 1))


@pytest.mark.parametrize(
    ("endpoints", "first", "after", "secure"),
    [
        (MIXED, PAIR, PAIR, True),
        (MIXED[::-1], PAIR[::-1], PAIR[::-1], True),
        (MIXED[:2], PAIR, (), True),
        (MIXED[2:], PAIR, (), False),
    ],
)
def test_members_are_asked_with_tls_first_and_who_mixes_is_warned(
    config: Any,
    endpoints: list[str],
    first: tuple[Address, ...],
    after: tuple[Address, ...],
    secure: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made: list[EtcdSettings] = []
    monkeypatch.setattr(etcd_engine, "EtcdLog", lambda settings, _node_id: made.append(settings))
    files = dict.fromkeys(("ca_file", "cert_file", "key_file"), "/x")
    etcd_log(config(server=True, state_log={"engine": "etcd", "endpoints": endpoints, **files}), "n1")
    assert [(one.endpoints, one.clear, one.tls is not None) for one in made] == [(first, after, secure)]
    assert ("https and http are mixed" in caplog.text) == bool(after)


@pytest.mark.parametrize(
    ("endpoints", "words"),
    [
        (["http://a:1", "https://b:1"], "needs a CA, a certificate and a key"),
        (["a:1"], "is not a URL like"),
        (["https://a:1"], "needs a CA, a certificate and a key"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_refused(config: Any, endpoints: list[str], words: str) -> None:
    settings = config(server=True, state_log={"engine": "etcd", "endpoints": endpoints})
    with pytest.raises(ConfigError, match=words):
        etcd_log(settings, "n1")
