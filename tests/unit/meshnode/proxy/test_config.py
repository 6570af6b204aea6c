from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener, Upstream, diff, public_listener

APP = Endpoint("127.0.0.1", 8080)
PUBLIC = PublicListener(Endpoint("0.0.0.0", 20000), APP)


def upstream(port: int, name: str = "db", **more: object) -> Upstream:
    return Upstream(Endpoint("127.0.0.1", port), name, **more)  # type: ignore[arg-type]


OLD = ProxyConfig("web", PUBLIC, (upstream(9001), upstream(9002, "cache")))


def test_the_same_configuration_changes_nothing() -> None:
    changes = diff(OLD, ProxyConfig("web", PUBLIC, (upstream(9002, "cache"), upstream(9001))))
    assert (changes.stop, changes.start, changes.update) == ((), (), ())
    assert set(changes.keep) == set(OLD.listeners())


def test_a_removed_upstream_stops_and_a_new_one_starts_and_the_rest_goes_on() -> None:
    changes = diff(OLD, ProxyConfig("web", PUBLIC, (upstream(9001), upstream(9003, "mail"))))
    assert changes.stop == (Endpoint("127.0.0.1", 9002),)
    assert changes.start == (upstream(9003, "mail"),)
    assert changes.keep == (PUBLIC, upstream(9001))
    assert changes.update == ()


def test_other_settings_on_the_same_address_restart_nothing() -> None:
    public = replace(PUBLIC, handshake_timeout=3.0)
    changes = diff(OLD, ProxyConfig("web", public, (upstream(9001, "other"), upstream(9002, "cache"))))
    assert set(changes.update) == {public, upstream(9001, "other")}
    assert (changes.stop, changes.start) == ((), ())


def test_an_address_that_goes_from_the_public_listener_to_an_upstream_is_bound_again() -> None:
    was = ProxyConfig("web", PublicListener(Endpoint("127.0.0.1", 9001), APP))
    changes = diff(was, ProxyConfig("web", None, (upstream(9001),)))
    assert (changes.stop, changes.start) == ((Endpoint("127.0.0.1", 9001),), (upstream(9001),))


def test_everything_starts_from_nothing_and_stops_for_nothing() -> None:
    assert diff(None, OLD).start == OLD.listeners()
    assert diff(OLD, None).stop == tuple(listener.bind for listener in OLD.listeners())


PORTS = st.lists(st.integers(9000, 9005), unique=True).map(
    lambda ports: ProxyConfig("web", None, tuple(upstream(port) for port in ports))
)


@given(PORTS, PORTS)
def test_each_listener_of_both_is_in_exactly_one_list(old: ProxyConfig, new: ProxyConfig) -> None:
    changes = diff(old, new)
    after = [*changes.start, *changes.update, *changes.keep]
    assert sorted(item.bind.port for item in after) == sorted(item.bind.port for item in new.upstreams)
    assert set(changes.stop) == {item.bind for item in old.upstreams} - {item.bind for item in new.upstreams}


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (Endpoint("127.0.0.1", 9000), Endpoint("127.0.0.1", 9000), True),
        (Endpoint("0.0.0.0", 9000), Endpoint("127.0.0.1", 9000), True),
        (Endpoint("127.0.0.1", 9000), Endpoint("127.0.0.2", 9000), False),
        (Endpoint("127.0.0.1", 0), Endpoint("127.0.0.1", 0), True),
        (Endpoint(path="/run/a"), Endpoint(path="/run/a"), True),
        (Endpoint(path="/run/a"), Endpoint(path="/run/b"), False),
    ],
)
def test_two_listeners_for_one_address_are_refused(one: Endpoint, other: Endpoint, clash: bool) -> None:
    def make() -> ProxyConfig:
        return ProxyConfig("web", None, (Upstream(one, "a"), Upstream(other, "b")))

    if clash:
        with pytest.raises(ConfigError, match="give each its own port"):
            make()
    else:
        make()


def test_the_settings_of_a_definition_are_read_in_its_units() -> None:
    found = public_listener(
        {
            "bind_port": 20001.0,
            "local_service_address": "127.0.0.1:8181",
            "handshake_timeout_ms": 1500,
            "decision_refresh_ms": 2000,
            "decision_max_age_ms": 60000,
        }
    )
    assert found is not None
    assert (str(found.bind), str(found.local_app)) == ("0.0.0.0:20001", "127.0.0.1:8181")
    assert (found.handshake_timeout, found.local_connect_timeout) == (1.5, 1.0)
    assert (found.decision_refresh, found.decision_max_age) == (2.0, 60.0)


def test_without_a_port_there_is_no_public_listener() -> None:
    assert public_listener({}) is None


def test_an_application_may_listen_on_a_unix_socket() -> None:
    found = public_listener({"bind_port": 1, "local_service_address": "unix:///run/app.sock"})
    assert found is not None
    assert str(found.local_app) == "unix:/run/app.sock"


def test_an_application_may_be_at_a_host_name_which_is_resolved_later() -> None:
    found = public_listener({"bind_port": 1, "local_service_address": "app.example:80"})
    assert found is not None
    assert found.local_app == Endpoint("app.example", 80, named=True)
    assert str(Endpoint("a" * 253, 1, named=True)) == "a" * 253 + ":1"
    with pytest.raises(ConfigError, match="is not an IP address or a host name"):
        Endpoint("a" * 254, 1, named=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"bind_port": 70000},
        {"bind_port": "20000"},
        {"bind_port": True},
        {"bind_port": 1, "bind_address": "localhost.example"},
        {"bind_port": 1, "local_service_address": "nonsense"},
        {"bind_port": 1, "local_service_address": "web example:80"},
        {"bind_port": 1, "local_service_address": "web:99999"},
        {"bind_port": float("nan")},
        {"bind_port": float("inf")},
        {"bind_port": 1, "handshake_timeout_ms": -1},
        {"bind_port": 1, "decision_max_age_ms": "long"},
        {"bind_port": 1, "protocol": "udp"},
    ],
)
def test_a_setting_that_cannot_be_used_is_named(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=list(settings)[-1]):
        public_listener(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "db.example"},
        {"host": "1.2.3.4", "port": 65536},
        {"path": "relative"},
        {"path": "/" + "x" * 107},
    ],
)
def test_an_address_is_an_ip_address_with_a_port_or_an_absolute_path(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Endpoint(**wrong)  # type: ignore[arg-type]


def test_a_path_of_a_unix_socket_may_have_107_bytes() -> None:
    assert len(Endpoint(path="/" + "x" * 106).path) == 107
