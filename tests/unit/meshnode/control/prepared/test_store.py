"""The table of prepared queries: look-ups, names, sessions; as commands of the state machine, and in its snapshots."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.catalog.model import Check, Node
from meshnode.catalog.store import Registration
from meshnode.control.command import (
    Command,
    Deregister,
    QueryDelete,
    QuerySet,
    Register,
    SessionCreate,
    SessionDestroy,
)
from meshnode.control.machine import Refusal, StateMachine
from meshnode.control.prepared.model import PreparedQuery, ServiceQuery, Template
from meshnode.control.prepared.template import MAX_NAME_CHARS
from meshnode.control.watch import QUERIES
from meshnode.kv.sessions import Session

PREFIX = Template("name_prefix_match")


def query(
    query_id: str, name: str = "", *, session: str = "", template: Template | None = None
) -> PreparedQuery:
    return PreparedQuery(
        query_id, ServiceQuery("${name.full}"), name, session, template=template or Template()
    )


def machine_with(*queries: PreparedQuery) -> StateMachine:
    machine = StateMachine()
    apply(machine, Register(Registration(Node("n1", "10.0.0.1")), 0.0))
    apply(machine, SessionCreate(Session("s1", "n1", checks=())))
    for each in queries:
        assert apply(machine, QuerySet(each, create=True)) == each.id
    return machine


def apply(machine: StateMachine, command: Command) -> object:
    return machine.apply(machine.last_index + 1, command)


def refused(machine: StateMachine, command: Command) -> str:
    before = machine.queries.every()
    result = apply(machine, command)
    assert isinstance(result, Refusal)
    assert machine.queries.every() == before
    return result.because


def found(machine: StateMachine, name: str) -> str:
    resolved = machine.queries.resolve(name)
    return resolved.id if resolved is not None else ""


def test_a_look_up_takes_the_id_then_the_name_then_the_longest_prefix() -> None:
    machine = machine_with(
        query("11", "web"),
        query("22", "web", template=PREFIX),
        query("33", "", template=PREFIX),
        query("44", "Web-1", template=PREFIX),
        query("55", "22-x"),
    )
    names = ("11", "WEB", "web-", "web-1", "wEB-12", "w", "22-X")
    assert [found(machine, name) for name in names] == ["11", "11", "22", "44", "44", "33", "55"]
    resolved = machine.queries.resolve("wEB-12")
    assert resolved is not None
    assert resolved.service.service == "wEB-12"
    assert found(machine, "") == ""


def test_nothing_is_found_where_no_prefix_fits_or_the_name_is_too_long() -> None:
    machine = machine_with(query("1", "web", template=PREFIX))
    assert found(machine, "we") == ""
    assert found(machine, "web" + "x" * (MAX_NAME_CHARS - 3)) == "1"
    assert found(machine, "web" + "x" * (MAX_NAME_CHARS - 2)) == ""


def test_a_look_up_never_takes_long() -> None:
    slow = Template("name_prefix_match", "(?:.*a){300}b")
    machine = machine_with(query("1", "a", template=slow))
    with pytest.raises(ConfigError, match="takes too long"):
        machine.queries.resolve("a" * MAX_NAME_CHARS)


def test_a_change_keeps_the_create_index_and_frees_the_old_name() -> None:
    machine = machine_with(query("1", "old"))
    assert apply(machine, QuerySet(query("1", "new"), create=False)) == "1"
    _, changed = machine.queries.get("1")
    assert changed is not None
    assert (changed.create_index, changed.modify_index, machine.queries.index) == (3, 4, 4)
    assert (found(machine, "old"), found(machine, "new")) == ("", "1")
    assert apply(machine, QuerySet(query("2", "old"), create=True)) == "2"


def test_what_collides_is_refused_with_its_reason() -> None:
    machine = machine_with(
        query("1", "web"), query("2", "web", template=PREFIX), query("3", "", template=PREFIX)
    )
    refusals = {
        "is in use": QuerySet(query("1", "x"), create=True),
        "Cannot modify non-existent prepared query: '9'": QuerySet(query("9", "x"), create=False),
        "name 'WEB' aliases an existing query name": QuerySet(query("9", "WEB"), create=True),
        "aliases an existing query template": QuerySet(query("9", "Web", template=PREFIX), create=True),
        "name '' aliases an existing query template": QuerySet(query("9", template=PREFIX), create=True),
        "aliases an existing query ID": QuerySet(query("9", "1"), create=True),
        'invalid session "s9"': QuerySet(query("9", "x", session="s9"), create=True),
        "Missing Query ID": QuerySet(query("", "x"), create=True),
        "Must be bound to a session": QuerySet(query("9"), create=True),
    }
    for because, command in refusals.items():
        assert because in refused(machine, command)


def test_changes_wake_who_waits_and_reads_never_go_back() -> None:
    machine = machine_with()
    machine.take_touched()
    assert machine.queries.every() == (1, [])
    apply(machine, QuerySet(query("1", "a"), create=True))
    assert machine.take_touched() == {QUERIES}
    apply(machine, QueryDelete("1"))
    assert machine.take_touched() == {QUERIES}
    assert machine.queries.every() == (4, [])
    apply(machine, QueryDelete("1"))
    assert (machine.take_touched(), machine.queries.index) == (set(), 4)


@pytest.mark.parametrize(
    "end",
    [
        SessionDestroy("S1", 0.0),
        Deregister("n1", "", "", 0.0),
        Register(Registration(Node("n1", "10.0.0.1"), None, (Check("n1", "c1", status="critical"),)), 0.0),
    ],
    ids=["by request", "with its node", "with its check"],
)
def test_a_query_ends_with_its_session_however_that_ends(end: Command) -> None:
    machine = machine_with(query("2", "stays"))
    apply(
        machine,
        Register(Registration(Node("n1", "10.0.0.1"), None, (Check("n1", "c1", status="passing"),)), 0.0),
    )
    apply(machine, SessionDestroy("s1", 0.0))
    apply(machine, SessionCreate(Session("s1", "n1", checks=("c1",))))
    apply(machine, QuerySet(query("1", session="S1"), create=True))
    machine.take_touched()
    apply(machine, end)
    assert [each.id for each in machine.queries.every()[1]] == ["2"]
    assert QUERIES in machine.take_touched()
    assert machine.queries.index == machine.last_index


_IDS = ["1", "2", "3"]
_queries = st.builds(
    lambda i, n, s, t: query(i, n, session=s, template=t),
    st.sampled_from(_IDS),
    st.sampled_from(["", "a", "A", "ab", "1"]),
    st.sampled_from(["", "", "s1", "s2"]),
    st.sampled_from([None, PREFIX]),
)
_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(QuerySet, _queries, create=st.booleans()),
    st.builds(QuerySet, _queries, create=st.just(True)),
    st.builds(QueryDelete, st.sampled_from(_IDS)),
    st.builds(SessionCreate, st.sampled_from(["s1", "s2"]).map(lambda i: Session(i, "n1", checks=()))),
    st.builds(SessionDestroy, st.sampled_from(["s1", "s2"]), st.just(0.0)),
)


def obvious_look_up(rows: list[PreparedQuery], name: str) -> str:
    low = name.lower()
    by_id = [row for row in rows if row.id == low and not row.is_template]
    by_name = [row for row in rows if not row.is_template and row.name.lower() == low]
    by_prefix = [row for row in rows if row.is_template and low.startswith(row.name.lower())]
    longest = sorted(by_prefix, key=lambda row: -len(row.name))
    return next((row.id for row in (*by_id, *by_name, *longest)), "")


@settings(max_examples=150, deadline=None)
@given(st.lists(_commands, max_size=25))
def test_after_any_history_the_table_is_consistent_and_survives_a_snapshot(history: list[Command]) -> None:
    machine = machine_with()
    for command in history:
        apply(machine, command)
    rows = machine.queries.every()[1]
    assert all(not row.session or machine.sessions.get(row.session)[1] is not None for row in rows)
    names = [(row.is_template, row.name.lower()) for row in rows if row.name or row.is_template]
    assert len(names) == len(set(names))
    copy = StateMachine()
    copy.restore(b"".join(machine.snapshot()))
    assert copy.queries.every() == machine.queries.every()
    assert b"".join(copy.snapshot()) == b"".join(machine.snapshot())
    for name in ("a", "AB", "abc", "1", "b"):
        assert found(machine, name) == found(copy, name) == obvious_look_up(rows, name)


def test_a_snapshot_has_the_secret_of_a_query_and_its_text_does_not() -> None:
    secret = replace(query("1", "a"), token="t0p")
    machine = machine_with(secret)
    copy = StateMachine()
    copy.restore(b"".join(machine.snapshot()))
    restored = copy.queries.get("1")[1]
    assert restored is not None
    assert restored.token == "t0p"
    assert "t0p" not in repr(QuerySet(secret, create=True))
