"""The door: ``Resolver.handle(query, source, tcp)`` gives the answer, or what to wait for, or nothing.

What the view has in memory is answered at once, and kept twice: by question, as encoded records, and by the bytes of
the query, as a finished answer. A repeated query costs a look at the generation of its lookup and a new order of the
records, and no parsing. Source: Consul's documentation of its DNS interface.

Three things differ from Consul, for the sake of resolvers in between: names that only have names below them
(``service.consul``) are empty rather than absent (RFC 8020), SOA and NS are records of the domain alone, and a host
name and addresses are never answered together (RFC 2181 10.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from meshnode.base.errors import MeshError
from meshnode.dns.config import DnsConfig
from meshnode.dns.contents import Found
from meshnode.dns.effects import Effect, Forward, Steps, UnknownDatacenterError, ask
from meshnode.dns.lookups import Lookups, Outcome
from meshnode.dns.message import encode_record, suffix_offsets
from meshnode.dns.names import Outside, Reverse, Zone
from meshnode.dns.query import Asked, read_query
from meshnode.dns.records import (
    AAAA,
    NOERROR,
    REFUSED,
    SERVFAIL,
    TYPE_ANY,
    A,
    Name,
    Question,
    Record,
)
from meshnode.dns.template import NO_LIMIT, Choice, Encoded, Template
from meshnode.dns.view import DnsView, Lookup

__all__ = [
    "DOMAIN_QUERY",
    "MAX_KEPT_ANSWERS",
    "MAX_KEPT_RECORDS",
    "MAX_UDP_ANSWERS",
    "PTR_QUERY",
    "Reply",
    "Resolver",
    "Waiting",
]

#: Answers that are kept; the oldest makes room.
MAX_KEPT_ANSWERS: Final = 4096
#: Records in all that are kept, of all answers (a record has some 300 bytes here); the oldest make room.
MAX_KEPT_RECORDS: Final = 100_000
#: Longer queries are answered, and the answer is not kept.
MAX_KEPT_QUERY_BYTES: Final = 512
#: The ceiling of ``udp_answer_limit`` (Consul's).
MAX_UDP_ANSWERS: Final = 8

#: What the time of an answer is recorded under.
DOMAIN_QUERY: Final = "consul.dns.domain_query"
PTR_QUERY: Final = "consul.dns.ptr_query"


class Reply(NamedTuple):
    """The bytes to send, and the metric that counts them (empty: none does)."""

    data: bytes
    metric: str = ""


class Waiting(NamedTuple):
    """An answer that needs ``effect`` first: send its outcome to ``steps``, or throw its error there.

    ``steps`` then yields the next effect, or returns the :class:`Reply`; it raises nothing of its own.
    """

    steps: Steps[Reply]
    effect: Effect[object]


@dataclass(frozen=True, slots=True)
class _Contents:
    """The answers to a question, as bytes: shared by all queries with it, whatever their flags and EDNS."""

    lookup: Lookup | None
    generation: int
    choices: tuple[Choice, ...] = ()
    aliases: tuple[Choice, ...] = ()
    shuffle: bool = True
    limited: bool = True
    by_source: bool = False

    @property
    def weight(self) -> int:
        return 1 + len(self.choices) + len(self.aliases)


@dataclass(frozen=True, slots=True)
class _Kept:
    lookup: Lookup
    generation: int
    template: Template
    metric: str


class Resolver:
    """Answers the queries of one agent. Single-threaded; to change the configuration, make another one."""

    def __init__(
        self,
        config: DnsConfig,
        view: DnsView,
        rng: Random,
        unix_time: Callable[[], float],
        count: Callable[[str], None] = lambda _metric: None,
    ) -> None:
        """``unix_time`` gives the serial of SOA; ``count`` adds one to a metric.

        Raises :class:`MeshError` for a domain that is no DNS name.
        """
        self._config = config
        self._view = view
        self._rng = rng
        self._zone = Zone(config.datacenter, config.domain, config.alt_domain)
        self._lookups = Lookups(config, view, self._zone, rng, unix_time, count)
        self._kept: tuple[dict[bytes, _Kept], dict[bytes, _Kept]] = ({}, {})
        self._contents: dict[tuple[Name, int], _Contents] = {}
        self._weight = 0

    def handle(self, query: bytes, source: str, *, tcp: bool) -> Reply | Waiting | None:
        """Answer ``query`` of the client with address ``source``; None: it gets no answer. Never raises."""
        asked = query[2:]
        kept = self._kept[tcp].get(asked)
        if kept is not None:
            if self._view.generation(kept.lookup) == kept.generation:
                return Reply(kept.template.render(query[:2], self._rng), kept.metric)
            del self._kept[tcp][asked]
        read = read_query(query, source, tcp=tcp)
        if read is None:
            return None
        steps = self._steps(read)
        try:
            return Waiting(steps, next(steps))
        except StopIteration as done:
            reply: Reply = done.value
            return reply

    def failure(self, query: bytes) -> bytes:
        """SERVFAIL for a query that can't be seen to now."""
        read = read_query(query, "", tcp=False)
        return self._plain(read, SERVFAIL) if read is not None else b""

    def _steps(self, asked: Asked) -> Steps[Reply]:
        question = asked.question
        if asked.error != NOERROR or question is None:
            return Reply(self._plain(asked, asked.error))
        target = self._zone.parse(question.name, question.kind)
        if isinstance(target, Outside):
            return Reply((yield from self._forward(asked)))
        metric = PTR_QUERY if isinstance(target, Reverse) else DOMAIN_QUERY
        key = (tuple(label.lower() for label in question.name), question.kind)
        contents = self._contents.get(key)
        if contents is not None and contents.lookup is not None:
            if self._view.generation(contents.lookup) == contents.generation:
                template = self._template(asked, question, NOERROR, contents)
                self._keep(asked, contents, template, metric)
                return Reply(template.render(asked.data[:2], self._rng), metric)
            self._forget(key)
        source = asked.subnet.address if asked.subnet is not None else asked.source
        try:
            outcome = yield from self._lookups.resolve(question, target, source or asked.source)
        except UnknownDatacenterError:
            outcome = self._lookups.absent(question.name)
        except MeshError:
            outcome = Outcome(SERVFAIL)
        if isinstance(target, Reverse) and outcome.rcode != NOERROR and self._config.recursors:
            return Reply((yield from self._forward(asked)))
        if outcome.rcode == SERVFAIL:
            return Reply(self._plain(asked, SERVFAIL), metric)
        contents = self._encode(question, outcome)
        template = self._template(asked, question, outcome.rcode, contents, outcome.authority)
        if contents.lookup is not None and contents.generation >= 0 and contents.weight > 1:
            self._remember(key, contents)
            self._keep(asked, contents, template, metric)
        return Reply(template.render(asked.data[:2], self._rng), metric)

    def _forward(self, asked: Asked) -> Steps[bytes]:
        if not self._config.recursors:
            return self._plain(asked, REFUSED)
        try:
            answer = yield from ask(Forward(asked.data, asked.tcp))
        except MeshError:
            answer = None
        return answer if answer is not None else self._plain(asked, SERVFAIL)

    def _plain(self, asked: Asked, rcode: int) -> bytes:
        recursion = bool(self._config.recursors)
        flags = asked.answer_flags(rcode, authoritative=False, recursion=recursion)
        opt = asked.answer_edns(rcode)
        return Template(flags, asked.answer_question(), opt=opt).render(asked.data[:2], self._rng)

    def _keep(self, asked: Asked, contents: _Contents, template: Template, metric: str) -> None:
        """Keep the answer to this very query; not with EDNS options, of which a client has ever new ones (cookies)."""
        lookup = contents.lookup
        if lookup is None or len(asked.data) > MAX_KEPT_QUERY_BYTES or (asked.edns and asked.edns.options):
            return
        answers = self._kept[asked.tcp]
        if len(answers) >= MAX_KEPT_ANSWERS:
            del answers[next(iter(answers))]
        answers[asked.data[2:]] = _Kept(lookup, contents.generation, template, metric)

    def _remember(self, key: tuple[Name, int], contents: _Contents) -> None:
        if contents.weight > MAX_KEPT_RECORDS:
            return
        if key in self._contents:
            self._forget(key)
        while self._weight + contents.weight > MAX_KEPT_RECORDS:
            self._forget(next(iter(self._contents)))
            # The answers made of it hold it too.
            for answers in self._kept:
                answers.clear()
        self._contents[key] = contents
        self._weight += contents.weight

    def _forget(self, key: tuple[Name, int]) -> None:
        contents = self._contents.pop(key, None)
        if contents is not None:
            self._weight -= contents.weight

    def _encode(self, question: Question, outcome: Outcome) -> _Contents:
        known = None if self._config.disable_compression else suffix_offsets(question.name)
        return _Contents(
            outcome.lookup,
            outcome.generation,
            tuple(_choice(found, known) for found in outcome.findings.found),
            tuple(_choice(found, known) for found in outcome.findings.aliases),
            outcome.shuffle,
            outcome.limited,
            outcome.by_source,
        )

    def _template(
        self,
        asked: Asked,
        question: Question,
        rcode: int,
        contents: _Contents,
        authority: tuple[Record, ...] = (),
    ) -> Template:
        config = self._config
        known = None if config.disable_compression or not authority else suffix_offsets(question.name)
        udp_limit = min(MAX_UDP_ANSWERS, max(1, config.udp_answer_limit)) if asked.is_plain_udp else NO_LIMIT
        limited = config.a_record_limit > 0 and question.kind in {A, AAAA, TYPE_ANY} and contents.limited
        recursion = bool(config.recursors)
        return Template(
            asked.answer_flags(rcode, authoritative=True, recursion=recursion),
            asked.answer_question(),
            contents.choices,
            aliases=contents.aliases,
            authority=_encoded(authority, known),
            opt=asked.answer_edns(rcode, by_source=contents.by_source),
            max_bytes=asked.max_bytes,
            record_limit=config.a_record_limit if limited else NO_LIMIT,
            udp_limit=udp_limit if contents.limited else NO_LIMIT,
            shuffle=contents.shuffle,
            truncate=config.enable_truncate,
        )


def _choice(found: Found, known: dict[Name, int] | None) -> Choice:
    return Choice(_encoded(found.answer, known), tuple(_encoded((extra,), known) for extra in found.extras))


def _encoded(records: tuple[Record, ...], known: dict[Name, int] | None) -> Encoded:
    data = b"".join(encode_record(record, known) for record in records)
    size = len(data) if known is None else sum(len(encode_record(record, None)) for record in records)
    return Encoded(data, size, len(records))
