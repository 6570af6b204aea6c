"""Which proxies come with services, and which ports they get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.local.definitions import ServiceDefinition
from meshnode.local.managed import ProxyDefaults
from meshnode.local.parse import parse_service
from meshnode.local.proxy_plan import PortRange, ProxyRules, companion_ids, plan_proxies

RULES = ProxyRules(PortRange(21000, 21002), PortRange(20000, 20001))


def service(name: str, *, sidecar: Any = None, managed: Any = None, **more: Any) -> ServiceDefinition:
    connect = {"SidecarService": sidecar, "Proxy": managed}
    return parse_service({"Name": name, "Port": 80, **more, "Connect": connect})


def plan(
    *services: ServiceDefinition,
    rules: ProxyRules = RULES,
    held: Mapping[str, int] | None = None,
    taken: tuple[int, ...] = (),
    busy: tuple[int, ...] = (),
) -> dict[str, int]:
    found = plan_proxies(services, rules, held=held or {}, taken=taken, usable=lambda port: port not in busy)
    return {one.id: one.port for one in found}


def test_each_proxy_is_a_service_behind_its_own() -> None:
    found = plan_proxies(
        [service("a", sidecar={}), service("b", managed={}), service("c")], RULES,
        held={}, taken=(), usable=lambda _port: True,
    )  # fmt: skip
    assert [(one.id, one.parent) for one in found] == [
        ("a", ""), ("a-sidecar-proxy", "a"), ("b", ""), ("b-proxy", "b"), ("c", ""),
    ]  # fmt: skip
    assert found[0].sidecar is None
    assert found[2].managed_proxy == {"ExecMode": "daemon"}
    assert companion_ids(service("x", sidecar={}, managed={})) == ("x-sidecar-proxy", "x-proxy")


def test_ports_are_the_lowest_free_ones_of_the_range() -> None:
    assert plan(service("a", sidecar={}), service("b", sidecar={}), service("m", managed={})) == {
        "a": 80, "a-sidecar-proxy": 21000, "b": 80, "b-sidecar-proxy": 21001, "m": 80, "m-proxy": 20000,
    }  # fmt: skip


def test_ports_of_other_services_and_of_this_configuration_are_passed_over() -> None:
    found = plan(service("a", sidecar={}), service("b", Port=21001), taken=(21000,))
    assert found["a-sidecar-proxy"] == 21002


def test_a_written_port_counts_and_is_not_given_away() -> None:
    found = plan(
        service("a", sidecar={}), service("b", sidecar={"Port": 21000}), service("c", sidecar={"Port": 9})
    )
    assert (found["b-sidecar-proxy"], found["a-sidecar-proxy"], found["c-sidecar-proxy"]) == (21000, 21001, 9)
    assert plan(service("m", managed={"Config": {"bind_port": 7}}))["m-proxy"] == 7


def test_a_port_that_was_held_stays_whatever_comes_before() -> None:
    held = {"b-sidecar-proxy": 21000, "m-proxy": 20001}
    found = plan(service("a", sidecar={}), service("B", sidecar={}), service("m", managed={}), held=held)
    assert (found["B-sidecar-proxy"], found["a-sidecar-proxy"], found["m-proxy"]) == (21000, 21001, 20001)


@pytest.mark.parametrize("held", [20999, 21003, 21001])
def test_a_held_port_outside_the_range_or_of_another_service_is_given_up(held: int) -> None:
    found = plan(service("a", sidecar={}), held={"a-sidecar-proxy": held}, taken=(21001,))
    assert found["a-sidecar-proxy"] == 21000


def test_ports_that_another_program_has_are_passed_over_while_there_are_others() -> None:
    assert plan(service("a", sidecar={}), busy=(21000,))["a-sidecar-proxy"] == 21001
    assert plan(service("a", sidecar={}), busy=(21000, 21001, 21002))["a-sidecar-proxy"] == 21000


@pytest.mark.parametrize(
    ("ports", "reason"),
    [
        (
            PortRange(21000, 21000),
            "no port provided for sidecar_service and none left in the configured range [21000, 21000]: write one, "
            "or raise ports.sidecar_max_port",
        ),
        (
            PortRange(-1, -1),
            "no port provided for sidecar_service and auto-assignment disabled in config: write one, or set "
            "ports.sidecar_min_port and ports.sidecar_max_port",
        ),
    ],
)
def test_without_a_port_left_there_is_no_sidecar(ports: PortRange, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan(service("a", sidecar={}), service("b", sidecar={}), rules=ProxyRules(ports))
    assert str(refused.value) == reason
    assert plan(service("a", sidecar={"Port": 5}), rules=ProxyRules(ports))["a-sidecar-proxy"] == 5


@pytest.mark.parametrize("other", ["web-sidecar-proxy", "WEB-Sidecar-Proxy"])
def test_no_other_service_has_the_id_of_a_sidecar(other: str) -> None:
    with pytest.raises(ConfigError, match=r'is that of the proxy of service "web" and of another service'):
        plan(service("web", sidecar={}), service(other))


def test_a_service_may_be_called_like_the_managed_proxy_of_one_that_has_none() -> None:
    assert plan(service("web"), service("web-proxy")) == {"web": 80, "web-proxy": 80}
    with pytest.raises(ConfigError, match='"web-proxy" is that of the proxy'):
        plan(service("web", managed={}), service("web-proxy"))


def test_the_mode_that_applies_is_shown_with_the_service() -> None:
    rules = ProxyRules(defaults=ProxyDefaults("script", script_command=("x",)))
    web, proxy = plan_proxies(
        [service("web", managed={})], rules, held={}, taken=(), usable=lambda _port: True
    )
    assert web.managed_proxy == {"ExecMode": "script"}
    assert proxy.managed is not None
    assert proxy.managed.command == ("x",)


@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(20995, 21010)),
    st.sets(st.integers(20998, 21008)),
    st.sets(st.integers(20998, 21008)),
)
def test_no_two_proxies_have_one_port_and_planning_again_changes_nothing(
    names: list[str], held: dict[str, int], taken: set[int], busy: set[int]
) -> None:
    rules = ProxyRules(PortRange(21000, 21009))
    wanted = [service(name, sidecar={}) for name in names]
    known = {f"{name}-sidecar-proxy": port for name, port in held.items()}
    try:
        first = plan(*wanted, rules=rules, held=known, taken=tuple(taken), busy=tuple(busy))
    except ConfigError:
        assert len(names) > len(set(rules.sidecar_ports) - taken)
        return
    ports = [port for name, port in first.items() if name.endswith("-sidecar-proxy")]
    assert len(set(ports)) == len(names)
    assert set(ports) <= set(rules.sidecar_ports) - taken
    assert plan(*wanted, rules=rules, held=first, taken=tuple(taken), busy=()) == first
