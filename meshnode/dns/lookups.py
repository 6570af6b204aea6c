"""From a question to its findings: what each kind of name is looked up as, and what it is when nothing is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

from meshnode.catalog.health import not_critical, passing_only
from meshnode.catalog.model import Instance, Node
from meshnode.dns.config import DnsConfig, ttl_seconds
from meshnode.dns.contents import (
    Findings,
    Found,
    address_data,
    address_of,
    addresses,
    fits,
    service_address,
    services,
    text_records,
)
from meshnode.dns.effects import ExecuteQuery, Fetch, Fetched, ResolveName, Steps, ask
from meshnode.dns.names import (
    AddressName,
    Empty,
    Nothing,
    Outside,
    QueryName,
    Reverse,
    Target,
    Zone,
    node_name,
    service_name,
)
from meshnode.dns.records import (
    AAAA,
    NOERROR,
    NS,
    NXDOMAIN,
    PTR,
    SOA,
    SRV,
    TXT,
    TYPE_ANY,
    A,
    Address4,
    Address6,
    Name,
    Pointer,
    Question,
    Record,
    StartOfAuthority,
    name_from_text,
)
from meshnode.dns.view import PENDING, AddressLookup, DnsView, Lookup, NodeLookup, Pending, ServiceLookup

__all__ = ["MAX_ALIAS_DEPTH", "MAX_CHASED_RECORDS", "Lookups", "Outcome"]

T = TypeVar("T")

#: Names of our own that one answer follows from CNAME to CNAME, and records taken over from each (Consul's figures).
MAX_ALIAS_DEPTH: Final = 3
MAX_CHASED_RECORDS: Final = 5
#: Answers by a server that was further behind its leader are counted, in seconds.
STALE_COUNTED_AFTER: Final = 5.0
STALE_QUERIES: Final = "consul.dns.stale_queries"


@dataclass(slots=True)
class Outcome:
    """What came of a question. With ``lookup`` the answer may be kept while the view's generation is this one.

    ``limited``: the limits on the number of answers are in force; ``by_source``: good for this client only.
    """

    rcode: int = NOERROR
    findings: Findings = field(default_factory=Findings)
    authority: tuple[Record, ...] = ()
    lookup: Lookup | None = None
    generation: int = -1
    shuffle: bool = True
    limited: bool = True
    by_source: bool = False


class Lookups:
    """Everything that is known about names under the domain, and addresses."""

    def __init__(
        self,
        config: DnsConfig,
        view: DnsView,
        zone: Zone,
        rng: Random,
        unix_time: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        self._config = config
        self._view = view
        self._zone = zone
        self._rng = rng
        self._unix_time = unix_time
        self._count = count
        self._domain = name_from_text(config.domain)

    def resolve(self, question: Question, target: Target, source: str, depth: int = 0) -> Steps[Outcome]:
        """The outcome of ``question``, which asks for ``target``; a failed effect's error is raised."""
        match target:
            case NodeLookup():
                outcome = yield from self._node(question, target)
            case ServiceLookup():
                outcome = yield from self._service(question, target)
            case QueryName():
                outcome = yield from self._query(question, target, source)
            case Reverse(address):
                return (yield from self._reverse(question, address))
            case AddressName(packed):
                data = Address4(packed) if len(packed) == 4 else Address6(packed)
                record = Record(question.name, ttl_seconds(self._config.node_ttl), data)
                found = [Found((record,))] if fits(data, question.kind) else []
                outcome = Outcome(findings=Findings(found))
            case Empty(apex):
                outcome = self._apex(question) if apex else Outcome()
            case Nothing() | Outside():
                return self.absent(question.name)
        if outcome.rcode == NXDOMAIN:
            return outcome
        yield from self._follow(question, outcome, source, depth)
        if not outcome.findings.found and not outcome.findings.aliases:
            outcome.authority = (self._soa(question.name),)
        return outcome

    def absent(self, name: Name) -> Outcome:
        """NXDOMAIN, with the record that says how long to remember it."""
        authority = (self._soa(name),) if self._zone.suffix(name) else ()
        return Outcome(NXDOMAIN, authority=authority)

    def _node(self, question: Question, lookup: NodeLookup) -> Steps[Outcome]:
        generation = self._view.generation(lookup)
        held = self._view.node(lookup)
        node: Node | None = yield from self._read(lookup, held)
        if node is None:
            return self.absent(question.name)
        config, kind, name = self._config, question.kind, question.name
        ttl = ttl_seconds(config.node_ttl)
        findings = addresses(name, [address_of(node, lookup.datacenter, config)], kind, ttl)
        meta = tuple(text_records(name, node, ttl))
        if kind in {TXT, TYPE_ANY}:
            findings.found += [Found((record,)) for record in meta]
        elif kind in {A, AAAA} and config.node_meta_txt:
            findings.found = [Found(found.answer, meta) for found in findings.found]
        outcome = Outcome(findings=findings, shuffle=False, limited=False)
        return _kept(outcome, lookup, generation, held)

    def _service(self, question: Question, lookup: ServiceLookup) -> Steps[Outcome]:
        generation = self._view.generation(lookup)
        held = self._view.instances(lookup)
        instances: Sequence[Instance] = yield from self._read(lookup, held)
        choose = passing_only if self._config.only_passing else not_critical
        chosen = choose(instances)
        if not chosen:
            return self.absent(question.name)
        ttl = self._config.ttl_of(lookup.name)
        findings = self._instances(question, chosen, lookup.datacenter, ttl)
        return _kept(Outcome(findings=findings), lookup, generation, held)

    def _query(self, question: Question, target: QueryName, source: str) -> Steps[Outcome]:
        result = yield from ask(ExecuteQuery(target.name, target.datacenter, 0, source))
        if result is None or not result.instances:
            return self.absent(question.name)
        ttl = self._config.ttl_of(result.service) if result.ttl is None else ttl_seconds(result.ttl)
        findings = self._instances(question, result.instances, result.datacenter, ttl)
        return Outcome(findings=findings, shuffle=False, by_source=result.by_source)

    def _instances(
        self, question: Question, instances: Sequence[Instance], datacenter: str, ttl: int
    ) -> Findings:
        config = self._config
        suffix = self._zone.suffix(question.name)
        if question.kind == SRV:
            return Findings(services(question.name, instances, datacenter, suffix, ttl, config))
        texts = (
            service_address(i.service, datacenter, config)[0] or address_of(i.node, datacenter, config)
            for i in instances
        )
        return addresses(question.name, texts, question.kind, ttl)

    def _reverse(self, question: Question, address: str) -> Steps[Outcome]:
        if not address or question.kind not in {PTR, TYPE_ANY}:
            return Outcome(NXDOMAIN)
        lookup = AddressLookup(address)
        generation = self._view.generation(lookup)
        held = self._view.owner(lookup)
        owner = yield from self._read(lookup, held)
        datacenter = self._config.datacenter
        if isinstance(owner, Instance):
            place = owner.node.datacenter or datacenter
            name = service_name(owner.service.name, place, self._domain)
        elif owner is not None:
            name = node_name(owner.name, owner.datacenter or datacenter, self._domain)
        else:
            name = None
        if name is None:
            return Outcome(NXDOMAIN)
        found = Found((Record(question.name, 0, Pointer(PTR, name)),))
        return _kept(Outcome(findings=Findings([found])), lookup, generation, held)

    def _apex(self, question: Question) -> Outcome:
        name, kind = question.name, question.kind
        servers = list(self._servers(name))
        authority: tuple[Record, ...] = ()
        found = servers if kind in {NS, TYPE_ANY} else []
        if kind == SOA:
            authority = tuple(record for server in servers for record in server.answer)
            glue = tuple(extra for server in servers for extra in server.extras)
            found = [Found((self._soa(name),), glue)]
        elif kind == TYPE_ANY:
            found = [Found((self._soa(name),)), *servers]
        return Outcome(findings=Findings(found), authority=authority, limited=False, shuffle=kind == NS)

    def _servers(self, domain: Name) -> Iterator[Found]:
        ttl = ttl_seconds(self._config.node_ttl)
        for server in self._view.servers():
            name = node_name(server.node, self._config.datacenter, domain)
            if name is not None:
                data = address_data(server.address)
                glue = () if data is None else (Record(name, ttl, data),)
                yield Found((Record(domain, ttl, Pointer(NS, name)),), glue)

    def _soa(self, name: Name) -> Record:
        times = self._config.soa
        domain = self._zone.suffix(name)
        serial = int(self._unix_time()) & 0xFFFFFFFF
        figures = (times.refresh, times.retry, times.expire, times.min_ttl)
        data = StartOfAuthority((b"ns", *domain), (b"hostmaster", *domain), serial, *figures)
        return Record(domain, times.min_ttl, data)

    def _read(self, lookup: Lookup, held: T | Pending) -> Steps[T]:
        if not isinstance(held, Pending):
            return held
        stale = self._config.allow_stale
        fetched: Fetched[Any] = yield from ask(Fetch(lookup, allow_stale=stale))
        if stale and fetched.staleness > self._config.max_stale:
            fetched = yield from ask(Fetch(lookup, allow_stale=False))
        if fetched.staleness > STALE_COUNTED_AFTER:
            self._count(STALE_QUERIES)
        value: T = fetched.value
        return value

    def _follow(self, question: Question, outcome: Outcome, source: str, depth: int) -> Steps[None]:
        """Add to a CNAME what its target has; where there is a choice, one is drawn first."""
        findings = outcome.findings
        if not findings.aliases or question.kind not in {A, AAAA, TYPE_ANY}:
            return
        if not any(self._may_follow(found) for found in findings.aliases):
            return
        outcome.lookup = None
        drawn = self._rng.randrange(len(findings.found) + len(findings.aliases))
        if drawn < len(findings.found):
            findings.aliases = []
            return
        alias = findings.aliases[drawn - len(findings.found)]
        findings.found = []
        chased = yield from self._chase(alias.answer[0], question.kind, source, depth)
        findings.aliases = [Found(alias.answer + chased)]

    def _may_follow(self, alias: Found) -> bool:
        target = _target(alias.answer[0])
        return bool(self._config.recursors) or bool(self._zone.suffix(target))

    def _chase(self, alias: Record, kind: int, source: str, depth: int) -> Steps[tuple[Record, ...]]:
        name = _target(alias)
        wanted = A if kind == TYPE_ANY else kind
        if self._zone.suffix(name):
            if depth >= MAX_ALIAS_DEPTH:
                return ()
            question = Question(name, wanted)
            target = self._zone.parse(name, wanted)
            outcome = yield from self.resolve(question, target, source, depth + 1)
            found = [*outcome.findings.found, *outcome.findings.aliases[:1]]
            self._rng.shuffle(found)
            records = [record for one in found for record in one.answer]
        elif self._config.recursors:
            records = list((yield from ask(ResolveName(name, wanted))))
        else:
            return ()
        kept = [r for r in records if isinstance(r.data, Address4 | Address6 | Pointer)]
        return tuple(kept[:MAX_CHASED_RECORDS])


def _target(alias: Record) -> Name:
    assert isinstance(alias.data, Pointer)
    return alias.data.target


def _kept(outcome: Outcome, lookup: Lookup, generation: int, held: object) -> Outcome:
    if held is not PENDING:
        outcome.lookup, outcome.generation = lookup, generation
    return outcome
