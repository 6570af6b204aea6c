"""Names and what they ask for, form by form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import MeshError
from meshnode.dns.names import (
    AddressName,
    Empty,
    Nothing,
    Outside,
    QueryName,
    Reverse,
    Target,
    Zone,
    address_name,
    node_name,
)
from meshnode.dns.records import MAX_NAME_BYTES, SRV, A, Name, name_from_text
from meshnode.dns.view import NodeLookup, ServiceLookup

ZONE = Zone("dc1", "consul.", "alt.example.")


def service(name: str, tag: str = "", datacenter: str = "dc1", *, connect: bool = False) -> ServiceLookup:
    return ServiceLookup(name, tag, datacenter, connect)


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("n1.node.consul", A, NodeLookup("n1", "dc1")),
        ("N1.Node.DC2.Consul", A, NodeLookup("n1", "dc2")),
        ("n1.rack.node.consul", A, NodeLookup("n1.rack", "dc1")),
        ("n1.node.dc2.dc.consul", A, NodeLookup("n1", "dc2")),
        ("node.node.consul", A, NodeLookup("node", "dc1")),
        ("web.service.consul", A, service("web")),
        ("web.service.alt.example", A, service("web")),
        ("web.service.dc2.consul", A, service("web", datacenter="dc2")),
        ("web.service.dc.consul", A, service("web", datacenter="dc")),
        ("green.web.service.consul", A, service("web", "green")),
        ("v1.2.web.service.dc2.consul", A, service("web", "v1.2", "dc2")),
        ("_web._tcp.service.consul", SRV, service("web")),
        ("_web._green.service.dc2.consul", A, service("web", "green", "dc2")),
        ("_web._tcp.consul", SRV, service("web")),
        ("_web._green.dc2.consul", SRV, service("web", "green", "dc2")),
        ("_web._tcp.consul", A, Nothing()),
        ("_web._tcp._x.service.consul", A, service("_x", "_web._tcp")),
        ("web.connect.consul", A, service("web", connect=True)),
        ("any.web.connect.dc2.consul", A, service("web", "", "dc2", connect=True)),
        ("geo.query.consul", A, QueryName("geo", "dc1")),
        ("geo.db.query.dc2.consul", A, QueryName("geo.db", "dc2")),
        ("_geo._tcp.query.consul", SRV, QueryName("geo", "dc1")),
        ("7F000001.addr.consul", A, AddressName(b"\x7f\0\0\1")),
        (f"{'0' * 31}1.addr.dc1.consul", A, AddressName(bytes(15) + b"\1")),
        ("7f0001.addr.consul", A, Nothing()),
        ("7f00000g.addr.consul", A, Nothing()),
        ("x.7f000001.addr.consul", A, Nothing()),
        ("consul", A, Empty(apex=True)),
        ("ALT.example", A, Empty(apex=True)),
        ("service.consul", A, Empty()),
        ("dc1.consul", A, Empty()),
        ("node.dc1.consul", A, Empty()),
        ("dc9.consul", A, Nothing()),
        ("web.other.consul", A, Nothing()),
        ("web.service.dc1.dc2.consul", A, Nothing()),
        ("consul.example.com", A, Outside()),
        ("notconsul", A, Outside()),
        (".", A, Outside()),
        ("1.0.0.10.in-addr.arpa", A, Reverse("10.0.0.1")),
        ("1.0.0.10.IN-ADDR.ARPA", A, Reverse("10.0.0.1")),
        ("0.0.10.in-addr.arpa", A, Reverse("")),
        ("1.0.0.256.in-addr.arpa", A, Reverse("")),
        ("arpa", A, Reverse("")),
        (f"{'1.' + '0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa", A, Reverse("2001:db8::1")),
        (f"{'1.' * 31}ip6.arpa", A, Reverse("")),
        (f"{'zz.' * 32}ip6.arpa", A, Reverse("")),
    ],
)
def test_each_form_of_name_asks_for_its_thing(name: str, kind: int, target: Target) -> None:
    assert ZONE.parse(name_from_text(name), kind) == target


@pytest.mark.parametrize("label", [b"a.b", b"\xff\xfe"])
def test_labels_that_no_text_has_ask_for_nothing(label: bytes) -> None:
    assert ZONE.parse((label, b"node", b"consul"), A) == Nothing()


@given(
    st.lists(st.binary(min_size=1, max_size=12) | st.sampled_from([b"service", b"dc", b"_x", b"addr"])),
    st.integers(),
)
def test_any_labels_ask_for_something_or_nothing(labels: list[bytes], kind: int) -> None:
    ZONE.parse((*labels, b"consul"), kind)
    ZONE.parse((*labels, b"ip6", b"arpa"), kind)
    ZONE.parse((*labels, b"in-addr", b"arpa"), kind)
    ZONE.parse(tuple(labels), kind)


def test_the_suffix_keeps_the_case_of_the_question_and_the_longest_domain_wins() -> None:
    zone = Zone("dc1", "example.", "consul.example.")
    assert zone.suffix((b"x", b"Consul", b"EXAMPLE")) == (b"Consul", b"EXAMPLE")
    assert zone.suffix((b"org",)) == ()


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("n1.rack", (b"n1", b"rack", b"node", b"dc1", b"consul")),
        ("a" * 64, None),
        ("a..b", None),
        ("", None),
        (".".join(["a" * 60] * 4), None),
    ],
)
def test_a_node_has_a_name_when_dns_has_one_for_it(node: str, name: Name | None) -> None:
    assert node_name(node, "dc1", (b"consul",)) == name


def test_an_address_has_a_name_that_says_it() -> None:
    name = address_name(b"\x7f\0\0\1", "dc1", (b"consul",))
    assert name == (b"7f000001", b"addr", b"dc1", b"consul")
    assert ZONE.parse(name, A) == AddressName(b"\x7f\0\0\1")


def test_a_domain_leaves_room_for_names_below_it() -> None:
    # 255 bytes less "hostmaster" with its length, the root, and the lengths of four labels.
    room = MAX_NAME_BYTES - 11 - 1
    fits = ".".join(["a" * 63] * 3 + ["a" * (room - 3 * 64 - 1)])
    Zone("dc1", fits)
    with pytest.raises(MeshError, match="domain"):
        Zone("dc1", fits + "a")
