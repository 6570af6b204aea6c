"""Other DNS servers: their order, what counts as an answer, TCP after a short one, and time limits."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from meshnode.base.address import Address
from meshnode.dns.message import parse
from meshnode.dns.records import FLAG_TC, NXDOMAIN, A, Address4, Record
from meshnode.runtime.dns_recursors import Recursors
from tests.support.dns_serving import FakeRecursor
from tests.support.dns_state import query

NAME = (b"www", b"example", b"com")
HOST = Record(NAME, 60, Address4(b"\xc6\x33\x64\x01"))
ASKED = query("www.example.com", A)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def silent() -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        yield Address(*opened.getsockname())


async def forwarded(
    *recursors: FakeRecursor | Address, asked: bytes = ASKED, tcp: bool = False, timeout: float = 5.0
) -> bytes | None:
    addresses = []
    try:
        for one in recursors:
            addresses.append(one if isinstance(one, Address) else await one.start())  # noqa: PERF401
        return await Recursors(tuple(addresses), timeout).forward(asked, tcp=tcp)
    finally:
        for one in recursors:
            if isinstance(one, FakeRecursor):
                one.stop()


def test_with_the_random_strategy_each_is_asked_first_at_some_time(run: Any) -> None:
    async def main() -> None:
        both = FakeRecursor({NAME: (HOST,)}), FakeRecursor({NAME: (HOST,)})
        addresses = tuple([await one.start() for one in both])
        for strategy in ("sequential", "random"):
            asking = Recursors(addresses, 5.0, strategy)
            # Sixty-four in a row at one of two: once in 10^19 runs.
            for _ in range(64):
                await asking.forward(ASKED, tcp=False)
            assert bool(both[1].asked) is (strategy == "random")
        for one in both:
            one.stop()

    run(main())


def test_the_first_that_answers_is_believed_and_the_id_is_the_clients(run: Any) -> None:
    first, second = FakeRecursor({NAME: (HOST,)}), FakeRecursor({})
    answer = run(forwarded(first, second))
    message = parse(answer)
    assert (message.id, message.answers) == (0x1234, (HOST,))
    assert not second.asked
    assert first.asked[0][1].questions == message.questions


def test_the_id_that_is_sent_is_another_each_time(run: Any) -> None:
    recursor = FakeRecursor({NAME: (HOST,)})

    async def main() -> None:
        address = await recursor.start()
        asking = Recursors((address,), 5.0)
        for _ in range(20):
            assert await asking.forward(ASKED, tcp=False)
        recursor.stop()

    run(main())
    assert len({message.id for _, message in recursor.asked}) > 15


def test_absence_is_an_answer_and_failure_is_not(run: Any) -> None:
    absent, failing = FakeRecursor({}), FakeRecursor({}, rcode=2)
    answer = run(forwarded(failing, absent))
    assert parse(answer).rcode == NXDOMAIN
    assert run(forwarded(FakeRecursor({}, rcode=5), FakeRecursor({}, rcode=2))) is None


def test_one_that_is_silent_or_closed_is_passed_over_in_its_time(run: Any, silent: Address) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        closed = Address(*free.getsockname())
    good = FakeRecursor({NAME: (HOST,)})
    assert run(forwarded(closed, good)) is not None
    assert run(forwarded(silent, FakeRecursor({NAME: (HOST,)}), timeout=0.2)) is not None
    assert run(forwarded(silent, timeout=0.05)) is None


def other_question(answer: bytes) -> bytes:
    return answer.replace(b"\3www", b"\3vvv")


@pytest.mark.parametrize(
    "forge",
    [
        lambda answer: bytes((answer[0] ^ 1,)) + answer[1:],
        lambda answer: answer[:2] + bytes((answer[2] & 0x7F,)) + answer[3:],
        lambda answer: answer[:2] + bytes((answer[2] | 0x20,)) + answer[3:],
        other_question,
        lambda answer: answer.replace(b"\0\0\1\0\1", b"\0\0\x1c\0\1", 1),
        lambda answer: answer[:5],
        lambda answer: answer[:4] + bytes(8),
        lambda _: b"",
    ],
    ids=["id", "query", "opcode", "name", "type", "short", "empty", "nothing"],
)
def test_what_is_no_answer_to_the_question_is_ignored(run: Any, forge: Callable[[bytes], bytes]) -> None:
    recursor = FakeRecursor({NAME: (HOST,)})
    recursor.mangle = lambda answer: [forge(answer), answer]
    answer = run(forwarded(recursor))
    assert answer is not None
    assert parse(answer).answers == (HOST,)
    recursor.mangle = lambda answer: [forge(answer)]
    assert run(forwarded(recursor, timeout=0.05)) is None


def test_the_question_may_come_back_in_another_case(run: Any) -> None:
    recursor = FakeRecursor({NAME: (HOST,)})
    recursor.mangle = lambda answer: [answer.replace(b"\3www", b"\3WwW", 1)]
    assert run(forwarded(recursor)) is not None


@pytest.mark.parametrize(("tcp", "protocols"), [(True, ["udp", "tcp"]), (False, ["udp"])])
def test_a_short_answer_is_asked_for_over_tcp_when_the_client_can_have_it(
    run: Any, tcp: bool, protocols: list[str]
) -> None:
    recursor = FakeRecursor({NAME: (HOST,)})
    recursor.cut.add(NAME)
    answer = run(forwarded(recursor, tcp=tcp))
    assert [protocol for protocol, _ in recursor.asked] == protocols
    assert bool(struct.unpack_from("!H", answer, 2)[0] & FLAG_TC) == (not tcp)
    assert bool(parse(answer).answers) == tcp


def test_a_name_is_resolved_to_its_records_or_to_nothing(run: Any, silent: Address) -> None:
    async def main() -> None:
        recursor = FakeRecursor({NAME: (HOST,)})
        recursor.cut.add(NAME)
        address = await recursor.start()
        asking = Recursors((address,), 5.0, "random")
        assert await asking.resolve(NAME, A) == (HOST,)
        assert await asking.resolve((b"absent",), A) == ()
        recursor.mangle = lambda answer: [answer[:6] + b"\xff\xff" + answer[8:]]
        recursor.cut.clear()
        assert await asking.resolve(NAME, A) == ()
        recursor.stop()
        assert await Recursors((silent,), 0.05).resolve(NAME, A) == ()

    run(main())
