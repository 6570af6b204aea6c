"""Other DNS servers, asked in order: over UDP, and over TCP where an answer was cut short.

An answer counts when it comes from the address that was asked, with the id and the question that were sent; the id is
random, and each query has a socket, so a port, of its own (RFC 5452).
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from typing import Final

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.dns.message import HEADER_BYTES, encode_question, parse, serialize
from meshnode.dns.records import (
    FLAG_QR,
    FLAG_RD,
    FLAG_TC,
    NOERROR,
    NXDOMAIN,
    OPCODE_MASK,
    Edns,
    Message,
    Name,
    Question,
    Record,
)

__all__ = ["Recursors"]

log: Final = logging.getLogger("meshnode.dns")

#: What answers to our own questions may have over UDP; safe from fragmentation (DNS flag day 2020).
_OWN_UDP_BYTES: Final = 1232


class Recursors:
    """The servers of ``recursors``; each has ``timeout`` seconds, TCP included."""

    def __init__(self, addresses: tuple[Address, ...], timeout: float, strategy: str = "sequential") -> None:
        self._addresses = addresses
        self._timeout = timeout
        self._random = strategy == "random"

    async def forward(self, query: bytes, *, tcp: bool) -> bytes | None:
        """The first good answer to ``query``, with its id; None when none answers with success or NXDOMAIN.

        An answer that was cut short is passed on to clients over UDP, who will ask again over TCP.
        """
        addresses = list(self._addresses)
        if self._random:
            random.shuffle(addresses)
        for address in addresses:
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await _exchange(address, query, whole=tcp)
            except TimeoutError:
                log.warning("recursor %s did not answer within %gs", address, self._timeout)
            except (OSError, EOFError) as error:
                log.warning("recursor %s can't be asked: %s", address, error)
            else:
                rcode = answer[3] & 0xF
                if rcode in {NOERROR, NXDOMAIN}:
                    return query[:2] + answer[2:]
                log.debug("recursor %s answered with code %d", address, rcode)
        return None

    async def resolve(self, name: Name, kind: int) -> tuple[Record, ...]:
        """The answer section for one question; nothing when there is none."""
        question = Question(name, kind)
        query = serialize(Message(0, FLAG_RD, (question,), edns=Edns(_OWN_UDP_BYTES)))
        answer = await self.forward(query, tcp=True)
        if answer is None:
            return ()
        try:
            return parse(answer).answers
        except MeshError:
            return ()


async def _exchange(address: Address, query: bytes, *, whole: bool) -> bytes:
    sent = secrets.token_bytes(2) + query[2:]
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagram(sent, answered), remote_addr=(address.host, address.port)
    )
    try:
        transport.sendto(sent)
        answer = await answered
    finally:
        transport.close()
    cut_short = int.from_bytes(answer[2:4], "big") & FLAG_TC
    return await _exchange_tcp(address, sent) if cut_short and whole else answer


async def _exchange_tcp(address: Address, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(len(sent).to_bytes(2, "big") + sent)
        while True:
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = await reader.readexactly(size)
            if _answers(sent, answer):
                return answer
    finally:
        writer.close()


class _Datagram(asyncio.DatagramProtocol):
    """One question on a socket of its own; what doesn't answer it is ignored."""

    def __init__(self, sent: bytes, answered: asyncio.Future[bytes]) -> None:
        self._sent = sent
        self._answered = answered

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._answered.done() and _answers(self._sent, data):
            self._answered.set_result(bytes(data))

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)


def _answers(sent: bytes, answer: bytes) -> bool:
    """Whether ``answer`` is one to the query ``sent``: id, opcode, and the question without regard to case."""
    if len(answer) < HEADER_BYTES or answer[:2] != sent[:2]:
        return False
    flags = int.from_bytes(answer[2:4], "big")
    if not flags & FLAG_QR or (flags ^ int.from_bytes(sent[2:4], "big")) & OPCODE_MASK:
        return False
    if answer[4:6] == b"\0\0":
        # Some servers refuse without repeating the question; there is nothing in that to believe wrongly.
        return flags & 0xF not in {NOERROR, NXDOMAIN}
    question = encode_question(parse(sent).questions[0])
    given = answer[HEADER_BYTES : HEADER_BYTES + len(question)]
    return given[:-4].lower() == question[:-4].lower() and given[-4:] == question[-4:]
