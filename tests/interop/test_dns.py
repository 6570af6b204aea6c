"""Debian's ``dig`` against the DNS server: every kind of name, truncation, EDNS, and other servers behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from meshnode.base.address import Address
from meshnode.catalog.model import Node
from meshnode.dns.effects import Effect, ExecuteQuery, Fetch, Fetched, QueryOutcome, UnknownDatacenterError
from meshnode.dns.records import Address4, Record
from meshnode.runtime.dns_server import DnsServer
from tests.support.dns_serving import FakeRecursor, dig, serving
from tests.support.dns_state import instance, sample_view
from tests.support.programs import needs

pytestmark = needs("dig")


async def perform(effect: Effect[Any]) -> Any:
    match effect:
        case Fetch(lookup):
            if lookup.datacenter != "dc2":  # type: ignore[union-attr]
                raise UnknownDatacenterError("no path to datacenter")
            return Fetched(Node("far", "172.16.0.1", datacenter="dc2"))
        case ExecuteQuery("nearest"):
            found = [instance("n2", "10.0.0.12"), instance("n1", "10.0.0.11")]
            return QueryOutcome(found, "dc1", "web", ttl=7.0, by_source=True)
        case _:
            return None


Scenario = Callable[[Address, DnsServer], Coroutine[Any, Any, None]]


def run(scenario: Scenario, **config: Any) -> None:
    async def main() -> None:
        async with serving(sample_view(), perform, **config) as (server, where):
            await scenario(where, server)

    uvloop.run(main())


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("alpha.rack1.node.consul", "A", ["10.0.0.1"]),
        ("ALPHA.rack1.node.dc1.CONSUL", "A", ["10.0.0.1"]),
        ("six.node.consul", "AAAA", ["2001:db8::6"]),
        ("six.node.consul", "A", []),
        ("alpha.rack1.node.consul", "TXT", ['"role=db"', '"v=spf1"']),
        ("alpha.rack1.node.consul", "ANY", ['"role=db"', '"v=spf1"', "10.0.0.1"]),
        ("outer.node.consul", "CNAME", ["host.example.com."]),
        ("far.node.dc2.consul", "A", ["172.16.0.1"]),
        ("far.node.dc2.dc.consul", "A", ["172.16.0.1"]),
        ("web.service.consul", "A", ["10.0.0.11", "10.0.0.12"]),
        ("primary.web.service.consul", "A", ["10.0.0.11"]),
        ("v1.2.web.service.consul", "A", ["10.0.0.11", "10.0.0.12"]),
        ("web.service.consul", "SRV", ["1 10 80 n1.node.dc1.consul.", "1 3 8080 n2.node.dc1.consul."]),
        ("_web._tcp.service.consul", "SRV", ["1 10 80 n1.node.dc1.consul.", "1 3 8080 n2.node.dc1.consul."]),
        ("_web._primary.service.consul", "SRV", ["1 10 80 n1.node.dc1.consul."]),
        ("_web._primary.dc1.consul", "SRV", ["1 10 80 n1.node.dc1.consul."]),
        ("own.service.consul", "SRV", ["1 1 99 c0000207.addr.dc1.consul."]),
        ("own.service.consul", "A", ["192.0.2.7"]),
        ("named.service.consul", "A", ["db.example.org."]),
        ("named.service.consul", "SRV", ["1 1 5432 db.example.org."]),
        ("web.connect.consul", "SRV", ["1 1 20000 n1.node.dc1.consul."]),
        ("nearest.query.consul", "A", ["10.0.0.11", "10.0.0.12"]),
        ("7f000001.addr.dc1.consul", "A", ["127.0.0.1"]),
        ("20010db8000000000000000000000001.addr.consul", "AAAA", ["2001:db8::1"]),
        ("1.0.0.10.in-addr.arpa", "PTR", ["Alpha.Rack1.node.dc1.consul."]),
        ("7.2.0.192.in-addr.arpa", "PTR", ["own.service.dc1.consul."]),
        ("consul", "NS", ["server1.node.dc1.consul."]),
        ("consul", "SOA", ["ns.consul. hostmaster.consul. 1700000000 3600 600 86400 0"]),
    ],
)
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_dig_reads_the_answer_for_each_kind_of_name(
    name: str, kind: str, answer: list[str], transport: str
) -> None:
    async def scenario(where: Address, _: DnsServer) -> None:
        out = await dig(where, "+short", "+ignore", transport, name, kind)
        assert sorted(out.split("\n")[:-1]) == answer

    run(scenario)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("web.service.consul", "NOERROR"),
        ("nope.service.consul", "NXDOMAIN"),
        ("down.service.consul", "NXDOMAIN"),
        ("nope.query.consul", "NXDOMAIN"),
        ("web.service.nowhere.consul", "NXDOMAIN"),
        ("web.wrong.consul", "NXDOMAIN"),
        ("service.consul", "NOERROR"),
        ("www.example.com", "REFUSED"),
        ("1.2.3.4.in-addr.arpa", "NXDOMAIN"),
    ],
)
def test_dig_reads_the_status(name: str, status: str) -> None:
    async def scenario(where: Address, _: DnsServer) -> None:
        out = await dig(where, name, "A")
        assert f"status: {status}" in out
        assert "WARNING: Message" not in out

    run(scenario)


def test_dig_sees_tc_and_asks_again_over_tcp() -> None:
    async def scenario(where: Address, _: DnsServer) -> None:
        cut = await dig(where, "+noedns", "+ignore", "many.service.consul", "SRV")
        assert " tc " in cut.split("flags:")[1].split(";")[0]
        assert "ANSWER: 3," in cut
        whole = await dig(where, "+noedns", "many.service.consul", "SRV")
        assert "Truncated, retrying in TCP mode" in whole
        assert "ANSWER: 60," in whole
        assert "ADDITIONAL: 120" in whole
        assert "(TCP)" in whole

    run(scenario, enable_truncate=True)


def test_without_enable_truncate_a_long_answer_is_cut_silently() -> None:
    async def scenario(where: Address, _: DnsServer) -> None:
        out = await dig(where, "+noedns", "many.service.consul", "A")
        assert "ANSWER: 3," in out
        assert "Truncated" not in out

    run(scenario)


def test_edns_gets_as_much_as_fits_into_the_size_that_is_offered() -> None:
    async def scenario(where: Address, _: DnsServer) -> None:
        small = await dig(where, "+bufsize=600", "+ignore", "many.service.consul", "A")
        count = int(small.split("ANSWER: ")[1].split(",")[0])
        assert 8 < count < 60
        assert " tc " in small.split("flags:")[1].split(";")[0]
        assert "udp: 600" in small
        large = await dig(where, "+bufsize=4096", "+ignore", "many.service.consul", "A")
        assert "ANSWER: 60," in large

    run(scenario, enable_truncate=True)


def test_the_client_subnet_comes_back_with_its_scope() -> None:
    async def scenario(where: Address, _: DnsServer) -> None:
        everywhere = await dig(where, "+subnet=198.51.100.0/24", "web.service.consul")
        assert "CLIENT-SUBNET: 198.51.100.0/24/0" in everywhere
        nearby = await dig(where, "+subnet=198.51.100.0/24", "nearest.query.consul")
        assert "CLIENT-SUBNET: 198.51.100.0/24/24" in nearby
        assert "\t7\tIN" in nearby

    run(scenario)


def test_an_unknown_edns_version_and_opcode_are_named() -> None:
    async def scenario(where: Address, _: DnsServer) -> None:
        assert "BADVERS" in await dig(where, "+edns=1", "+noednsneg", "web.service.consul")
        assert "NOTIMP" in await dig(where, "+opcode=STATUS", "web.service.consul")
        assert "NOTIMP" in await dig(where, "-c", "CH", "-t", "TXT", "web.service.consul")

    run(scenario)


OUTSIDE = {
    (b"www", b"example", b"com"): (Record((b"www", b"example", b"com"), 60, Address4(b"\xc6\x33\x64\x01")),),
    (b"db", b"example", b"org"): (Record((b"db", b"example", b"org"), 60, Address4(b"\xc6\x33\x64\x02")),),
    (b"4", b"3", b"2", b"1", b"in-addr", b"arpa"): (),
}


def test_other_names_are_asked_of_the_recursors_and_cnames_followed() -> None:
    async def main() -> None:
        recursor = FakeRecursor(OUTSIDE)
        address = await recursor.start()
        try:
            async with serving(recursors=(address,)) as (_, where):
                out = await dig(where, "www.example.com", "A")
                assert "198.51.100.1" in out
                assert " ra" in out.split("flags:")[1].split(";")[0]
                assert "NXDOMAIN" in await dig(where, "absent.example.com", "A")
                out = await dig(where, "+short", "named.service.consul", "A")
                assert out.split() == ["db.example.org.", "198.51.100.2"]
                assert "NOERROR" in await dig(where, "-x", "1.2.3.4")
        finally:
            recursor.stop()

    uvloop.run(main())


def test_every_address_of_the_machine_answers_from_the_address_that_was_asked() -> None:
    async def main() -> None:
        async with serving(host="0.0.0.0") as (_, where):
            out = await dig(Address("127.0.0.2", where.port), "+short", "own.service.consul")
            assert out == "192.0.2.7\n"

    asyncio.run(main())
