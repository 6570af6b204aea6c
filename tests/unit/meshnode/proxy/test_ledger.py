from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnode.proxy.decision_cache import Decision
from meshnode.proxy.ledger import (
    MAX_CLOSED,
    MAX_REFUSED,
    Connection,
    Direction,
    Ledger,
    Refused,
    shown_path,
)

YES = Decision(True, "rule 1 allows it", "1")


def enter(ledger: Ledger, source: str, serial: str = "0a", direction: Direction = "inbound") -> Connection:
    return ledger.open(
        direction, listener="public", source=source, destination="api", serial=serial, peer="1.2.3.4:5",
        decision=YES, now=1.0,
    )  # fmt: skip


def test_an_entry_says_who_to_whom_by_which_rule_and_since_when() -> None:
    entry = enter(Ledger(), "web")
    assert entry == Connection(
        id=1, direction="inbound", listener="public", source="web", destination="api",
        serial="0a", peer="1.2.3.4:5", rule="1", because="rule 1 allows it", since=1.0,
        received=0, sent=0, until=None, close_cause="",
    )  # fmt: skip


def refuse(ledger: Ledger) -> Refused:
    return ledger.refuse(
        listener="public", peer="1.2.3.4:5", kind="denied", because="no", now=2.0, source="web", rule="7"
    )


def test_a_refused_connection_has_an_id_that_no_other_one_has() -> None:
    ledger = Ledger(first_id=2, id_step=3)
    ids = [enter(ledger, "web").id, refuse(ledger).id, enter(ledger, "web").id, refuse(ledger).id]
    assert ids == [2, 5, 8, 11]
    assert ledger.refused[0] == Refused(5, "public", "web", "1.2.3.4:5", "denied", "7", "no", 2.0)


def test_a_refused_request_names_its_connection_and_no_query() -> None:
    ledger = Ledger()
    connection = enter(ledger, "web")
    entry = ledger.refuse(
        listener="public", peer="1.2.3.4:5", kind="denied", because="no", now=2.0, request="GET /a",
        connection=connection.id,
    )  # fmt: skip
    assert (entry.id, entry.request, entry.connection) == (2, "GET /a", 1)
    assert shown_path("/a/b?token=secret") == "/a/b"
    assert shown_path("/" + "a" * 199) == "/" + "a" * 199
    assert shown_path("/" + "a" * 200) == "/" + "a" * 199 + "..."


def test_only_the_latest_refused_connections_are_remembered() -> None:
    ledger = Ledger()
    for _ in range(MAX_REFUSED):
        refuse(ledger)
    assert [entry.id for entry in ledger.refused][:1] == [1]
    refuse(ledger)
    assert [entry.id for entry in ledger.refused] == list(range(2, MAX_REFUSED + 2))


def test_the_newest_connections_are_those_opened_last_that_still_live() -> None:
    ledger = Ledger()
    for _ in range(5):
        enter(ledger, "web")
    ledger.close(5, "over", 2.0)
    assert [entry.id for entry in ledger.newest(2)] == [3, 4]
    assert [entry.id for entry in ledger.newest(9)] == [1, 2, 3, 4]


def test_a_denied_source_forbids_its_connections_and_those_only() -> None:
    ledger = Ledger()
    web = [enter(ledger, "web") for _ in range(3)]
    enter(ledger, "db")
    enter(ledger, "web", direction="outbound", serial="0b")
    assert ledger.forbidden_by(("web", "0a"), Decision(False, "rule 2", "2")) == web
    assert ledger.forbidden_by(("mail", "0a"), Decision(False, "rule 2", "2")) == []


def test_a_connection_that_goes_on_takes_over_the_rule_that_now_allows_it() -> None:
    ledger = Ledger()
    entry = enter(ledger, "web")
    assert ledger.forbidden_by(("web", "0a"), Decision(True, "rule 9", "9")) == []
    assert (entry.rule, entry.because) == ("9", "rule 9")


def test_each_source_is_asked_about_once() -> None:
    ledger = Ledger()
    for _ in range(5):
        enter(ledger, "web")
    assert ledger.inbound_sources() == [("web", "0a")]


def test_a_revoked_certificate_forbids_both_directions() -> None:
    ledger = Ledger()
    entries = [enter(ledger, "web", "0b"), enter(ledger, "x", "0b", "outbound")]
    enter(ledger, "web", "0c")
    assert ledger.with_serials(["0B"]) == entries


def test_an_end_is_entered_once() -> None:
    ledger = Ledger()
    entry = enter(ledger, "web")
    assert ledger.close(entry.id, "both sides ended", 5.0) is entry
    assert (entry.until, entry.close_cause) == (5.0, "both sides ended")
    assert ledger.close(entry.id, "again", 6.0) is None
    assert not ledger.has_source(("web", "0a"))


def test_ended_connections_are_remembered_up_to_a_bound() -> None:
    ledger = Ledger()
    for _ in range(MAX_CLOSED + 1):
        ledger.close(enter(ledger, "web").id, "", 2.0)
    assert [ledger.closed[0].id, len(ledger.closed)] == [2, MAX_CLOSED]


def test_processes_have_ids_of_their_own() -> None:
    one, other = Ledger(first_id=1, id_step=2), Ledger(first_id=2, id_step=2)
    assert not {enter(one, "a").id for _ in range(9)} & {enter(other, "a").id for _ in range(9)}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.booleans())))
def test_totals_are_the_sums_of_what_lives_and_what_ended(steps: list[tuple[str, int, bool]]) -> None:
    ledger, entries = Ledger(), []
    for source, size, ends in steps:
        entry = enter(ledger, source)
        entry.received, entry.sent = size, 2 * size
        entries.append(entry)
        if ends:
            ledger.close(entry.id, "", 2.0)
    totals = ledger.totals("inbound")
    assert totals.opened == len(entries)
    assert totals.opened - totals.closed == len(ledger)
    assert (totals.received, totals.sent) == (sum(e.received for e in entries), sum(e.sent for e in entries))
    assert ledger.totals("outbound").opened == 0
