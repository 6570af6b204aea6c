from __future__ import annotations

from datetime import timedelta

import pytest

from meshnode.base.errors import ConfigError
from meshnode.pki import leaf
from meshnode.pki.leaf import Role, SubjectNames, node_profile, role_profile


def test_server_profile_has_the_name_that_makes_a_server() -> None:
    made = node_profile(
        "server", datacenter="dc1", node="s1", dns=["api.example"], ip=["10.0.0.1", "fd00::1"], days=3
    )
    assert made.common_name == "s1"
    assert made.names.dns == ("s1", "server.dc1.consul", "localhost", "api.example")
    assert made.names.ip == ("10.0.0.1", "fd00::1", "127.0.0.1", "::1")
    assert made.usages == {"server_auth", "client_auth"}
    assert made.lifetime == timedelta(days=3)


def test_client_profile_has_the_name_of_a_client() -> None:
    made = node_profile("client", datacenter="east", node="c1", domain="mesh.example")
    assert made.names.dns == ("c1", "client.east.mesh.example", "localhost")


@pytest.mark.parametrize("role", ["client", "cli"])
@pytest.mark.parametrize(
    "name",
    ["server.dc1.consul", "SERVER.dc2.consul.", "s1.server.dc1.consul", "*.dc1.consul", "a.*.dc1.consul"],
)
def test_only_a_server_gets_a_name_that_makes_a_server(role: Role, name: str) -> None:
    with pytest.raises(ConfigError, match=r"makes its holder a server|not a DNS name"):
        role_profile(role, datacenter="dc1", dns=[name])


def test_client_whose_node_is_called_like_a_server_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'server\.dc1\.consul': that name makes its holder a server"):
        node_profile("client", datacenter="dc1", node="server.dc1.consul")
    node_profile("server", datacenter="dc1", node="server.dc1.consul")


def test_profiles_of_consul_s_own_command() -> None:
    server = role_profile("server", datacenter="dc1", node="n1", dns=["x.example"], ip=["10.0.0.9"])
    assert server.common_name == "server.dc1.consul"
    assert server.names.dns == ("x.example", "n1.server.dc1.consul", "server.dc1.consul", "localhost")
    assert server.names.ip == ("10.0.0.9", "127.0.0.1")
    operator = role_profile("cli", datacenter="dc1")
    assert (operator.names.dns, operator.names.ip) == (("cli.dc1.consul", "localhost"), ())
    assert operator.usages == {"client_auth"}
    with pytest.raises(ConfigError, match="-node is for server certificates"):
        role_profile("client", datacenter="dc1", node="n1")


def test_names_are_normalised_and_each_kept_once() -> None:
    names = SubjectNames.of(["A.Example.", "a.example"], ["0:0::1", "::1", " 10.0.0.1 "])
    assert names == SubjectNames(("a.example",), ("::1", "10.0.0.1"))


@pytest.mark.parametrize(
    ("dns", "message"),
    [
        ("10.0.0.1", r"dns\[0\]: '10.0.0.1' looks like an address"),
        ("bücher.example", "write it in its xn-- form"),
        ("", "not a DNS name"),
        ("a..b", "not a DNS name"),
        ("-a", "not a DNS name"),
        ("a b", "not a DNS name"),
        ("*", "not a DNS name"),
        ("*.com", "not a DNS name"),
        ("x." * 126 + "xx", "not a DNS name"),
        ("l" * 64, "not a DNS name"),
        ("../etc", "not a DNS name"),
    ],
)
def test_bad_dns_name_is_named_with_its_place(dns: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SubjectNames.of([dns])


def test_longest_names_are_taken() -> None:
    assert SubjectNames.of(["l" * 63, "x." * 126 + "x", "*.example.com", "node_1"]).dns[2] == "*.example.com"


def test_bad_address_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"ip\[1\]: '10.0.0.300' is not an IP address"):
        SubjectNames.of(ip=["10.0.0.3", "10.0.0.300"])


def test_number_of_names_is_bounded() -> None:
    SubjectNames.of([f"n{i}" for i in range(leaf.MAX_NAMES)])
    with pytest.raises(ConfigError, match="101 names are too many"):
        SubjectNames.of([f"n{i}" for i in range(leaf.MAX_NAMES + 1)])


@pytest.mark.parametrize("days", [0, -1, leaf.MAX_LIFETIME_DAYS + 1])
def test_lifetime_is_bounded(days: int) -> None:
    leaf.lifetime(1)
    leaf.lifetime(leaf.MAX_LIFETIME_DAYS)
    with pytest.raises(ConfigError, match="is not a lifetime"):
        leaf.lifetime(days)
