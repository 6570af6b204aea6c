"""Answers that are kept: for how long, how many, and what still changes in them."""

from __future__ import annotations

import pytest

from meshnode.dns.answer import MAX_KEPT_ANSWERS
from meshnode.dns.records import (
    SRV,
    A,
    Edns,
)
from tests.support.dns_state import ask, instance, query, resolver, sample_view
from tests.unit.meshnode.dns.asking import answers, shown


def test_what_a_cname_of_ours_brings_along_is_drawn_anew_each_time() -> None:
    view = sample_view()
    view.add(instance("n1", "10.0.0.11", "front", own_address="many.service.consul"))
    answering = resolver(view)
    seen: set[str] = set()
    for _ in range(40):
        message = ask(answering, query("front.service.consul", A))
        assert len(message.answers) == 1 + 5
        seen.update(map(shown, message.answers))
    assert len(seen) > 50


def test_answers_are_kept_until_the_generation_moves() -> None:
    view = sample_view()
    answering = resolver(view)
    raw = query("own.service.consul", A)
    first = ask(answering, raw)
    reads = view.reads
    assert ask(answering, raw) == first
    assert ask(answering, query("own.service.consul", A, ident=9)).answers == first.answers
    assert view.reads == reads
    view.add(instance("n2", "10.0.0.12", "own", own_address="192.0.2.8"))
    assert answers(ask(answering, raw)) == ["192.0.2.7", "192.0.2.8"]


def test_a_question_in_another_case_or_with_other_edns_is_answered_from_the_same_records() -> None:
    view = sample_view()
    answering = resolver(view)
    ask(answering, query("many.service.consul", SRV))
    reads = view.reads
    message = ask(answering, query("MANY.service.Consul", SRV, edns=Edns(4096)))
    assert {record.name for record in message.answers} == {(b"MANY", b"service", b"Consul")}
    assert len(message.answers) > 8
    assert len(ask(answering, query("many.service.consul", SRV), tcp=True).answers) == 60
    assert view.reads == reads
    view.index += 1
    ask(answering, query("MANY.service.Consul", SRV, edns=Edns(4096)))
    assert view.reads == reads + 1


def test_the_records_that_are_kept_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.dns.answer.MAX_KEPT_RECORDS", 150)
    view = sample_view()
    answering = resolver(view)
    for name in ("many.service", "many.service.dc1", "many.service.dc1.dc"):
        assert len(ask(answering, query(f"{name}.consul", A), tcp=True).answers) == 60
        assert answering._weight <= 150
    assert len(answering._contents) == 2
    reads = view.reads
    ask(answering, query("many.service.dc1.consul", A), tcp=True)
    assert view.reads == reads
    ask(answering, query("many.service.consul", A), tcp=True)
    assert view.reads == reads + 1
    monkeypatch.setattr("meshnode.dns.answer.MAX_KEPT_RECORDS", 60)
    view.index += 1
    ask(answering, query("many.service.consul", A), tcp=True)
    assert not answering._contents.keys() & {((b"many", b"service", b"consul"), A)}


def test_options_that_are_new_each_time_do_not_fill_what_is_kept() -> None:
    answering = resolver()
    for number in range(5):
        cookie = Edns(1232, options=((10, bytes(7) + bytes((number,))),))
        assert ask(answering, query("web.service.consul", A, edns=cookie)).answers
    assert [len(kept) for kept in answering._kept] == [0, 0]


def test_a_kept_answer_still_changes_its_order() -> None:
    answering = resolver()
    seen = {tuple(map(shown, ask(answering, query("web.service.consul", A)).answers)) for _ in range(50)}
    assert seen == {("10.0.0.11", "10.0.0.12"), ("10.0.0.12", "10.0.0.11")}


def test_a_view_that_says_so_has_nothing_kept() -> None:
    view = sample_view()
    view.generation = lambda lookup: -1  # type: ignore[method-assign]
    answering = resolver(view)
    for reads in (1, 2):
        ask(answering, query("own.service.consul", A))
        assert view.reads == reads


def test_the_answers_that_are_kept_are_bounded_and_udp_and_tcp_have_their_own() -> None:
    answering = resolver()
    for number in range(MAX_KEPT_ANSWERS + 1):
        ask(answering, query(f"{number:08x}.addr.consul", A))
        answering.handle(query("n1.node.consul", A, edns=Edns(number)), "", tcp=False)
    assert [len(kept) for kept in answering._kept] == [MAX_KEPT_ANSWERS, 0]
    assert len(answering._contents) == 1
    assert len(ask(answering, query("many.service.consul", A)).answers) == 3
    assert len(ask(answering, query("many.service.consul", A), tcp=True).answers) == 60
