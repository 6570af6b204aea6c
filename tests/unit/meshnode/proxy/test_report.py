"""What one process, and several, tell the agent."""

from __future__ import annotations

from typing import Any

from meshnode.proxy.decision_cache import Decision, DecisionCache
from meshnode.proxy.ledger import MAX_CLOSED, MAX_REFUSED, Connection, Ledger
from meshnode.proxy.report import MAX_DECISIONS, MAX_LIVE, decisions_body, ledger_body, merge, substance

YES = Decision(True, "rule 1 allows it", "1")


def enter(ledger: Ledger, now: float = 10.0) -> Connection:
    return ledger.open(
        "inbound", listener="public", source="spiffe://web", destination="spiffe://api", serial="0a",
        peer="1.2.3.4:5", decision=YES, now=now,
    )  # fmt: skip


def refuse(ledger: Ledger, now: float = 10.0) -> None:
    ledger.refuse(
        listener="public",
        peer="1.2.3.4:6",
        kind="denied",
        because="no",
        now=now,
        source="spiffe://web",
        rule="2",
    )


def report(ledger: Ledger, now: float = 20.0, **changes: Any) -> dict[str, Any]:
    listener = {"Name": "public", "Address": "0.0.0.0:1", "Serial": "ff"}
    body = {"Service": "api", "Identity": "spiffe://api", "Serial": "ff", "Roots": ["Consul CA 7"]}
    return {
        **body,
        "Listeners": [listener],
        "Pid": 1,
        "Counters": {"a": 1},
        "Decisions": [],
        **ledger_body(ledger, now),
        **changes,
    }


def test_a_ledger_is_told_with_ages_and_the_field_names_of_the_api() -> None:
    ledger = Ledger()
    open_one, ended = enter(ledger), enter(ledger, 11.0)
    open_one.received, open_one.sent = 5, 7
    ledger.close(ended.id, "both sides ended", 12.5)
    refuse(ledger, 18.0)
    shared = {
        "Direction": "inbound", "Listener": "public", "Source": "spiffe://web", "Destination": "spiffe://api",
        "Serial": "0a", "Peer": "1.2.3.4:5", "Local": "", "Rule": "1", "Because": "rule 1 allows it",
        "Audited": False,
    }  # fmt: skip
    assert ledger_body(ledger, 20.0) == {
        "Connections": [{"ID": 1, **shared, "Age": 10.0, "BytesIn": 5, "BytesOut": 7, "CloseCause": ""}],
        "Closed": [
            {"ID": 2, **shared, "Age": 1.5, "BytesIn": 0, "BytesOut": 0, "CloseCause": "both sides ended",
             "EndedAgo": 7.5},
        ],
        "Refused": [
            {"ID": 3, "Listener": "public", "Source": "spiffe://web", "Peer": "1.2.3.4:6", "Kind": "denied",
             "Rule": "2", "Because": "no", "Request": "", "Connection": 0, "Ago": 2.0},
        ],
    }  # fmt: skip


def test_decisions_are_told_with_their_age_and_whether_they_are_used_without_asking() -> None:
    cache = DecisionCache(refresh_after=30.0)
    cache.store(("spiffe://web", "0a"), Decision(False, "no", "7"), 1.0, cache.generation)
    cache.store(("spiffe://db", "0b"), YES, 21.0, cache.generation)
    told = decisions_body(cache, 41.0)
    assert told[0] == {
        "Source": "spiffe://web", "Serial": "0a", "Allowed": False, "PerRequest": False, "Rule": "7",
        "Because": "no", "Age": 40.0, "Fresh": False,
    }  # fmt: skip
    assert (told[1]["Source"], told[1]["Age"], told[1]["Fresh"]) == ("spiffe://db", 20.0, True)
    cache.invalidate()
    assert not any(row["Fresh"] for row in decisions_body(cache, 41.0))


def test_decisions_in_a_report_are_bounded_and_those_used_last() -> None:
    cache = DecisionCache()
    for number in range(MAX_DECISIONS + 1):
        cache.store((f"s{number}", "0a"), YES, 1.0, cache.generation)
    assert cache.fresh(("s0", "0a"), 2.0) == YES
    sources = [row["Source"] for row in decisions_body(cache, 2.0)]
    assert (len(sources), sources[0], sources[-1]) == (MAX_DECISIONS, "s2", "s0")


def test_live_connections_in_a_report_are_bounded_and_the_newest() -> None:
    ledger = Ledger()
    for _ in range(MAX_LIVE):
        enter(ledger)
    assert len(ledger_body(ledger, 20.0)["Connections"]) == MAX_LIVE
    enter(ledger)
    rows = ledger_body(ledger, 20.0)["Connections"]
    assert (len(rows), rows[0]["ID"], rows[-1]["ID"]) == (MAX_LIVE, 2, MAX_LIVE + 1)


def test_reports_of_workers_are_one_with_sums_and_everything_in_the_order_of_time() -> None:
    first, second = Ledger(first_id=1, id_step=2), Ledger(first_id=2, id_step=2)
    for ledger, at in ((first, 10.0), (second, 11.0), (first, 12.0)):
        enter(ledger, at)
    refuse(second, 13.0)
    refuse(first, 14.0)
    found = merge([report(first), report(second, Counters={"a": 2, "b": 5})])
    assert found["Counters"] == {"a": 3, "b": 5}
    assert [row["ID"] for row in found["Connections"]] == [1, 2, 3]
    assert [row["ID"] for row in found["Refused"]] == [4, 5]
    assert (found["Service"], found["Roots"], len(found["Listeners"])) == ("api", ["Consul CA 7"], 1)


def test_a_worker_that_presents_another_certificate_is_seen() -> None:
    other = {"Name": "public", "Address": "0.0.0.0:1", "Serial": "ee"}
    found = merge([report(Ledger()), report(Ledger(), Listeners=[other])])
    assert {item["Serial"] for item in found["Listeners"]} == {"ff", "ee"}


def test_what_several_workers_remember_stays_within_the_bounds_of_one() -> None:
    ledgers = Ledger(first_id=1, id_step=2), Ledger(first_id=2, id_step=2)
    for ledger in ledgers:
        for _ in range(MAX_CLOSED):
            ledger.close(enter(ledger).id, "over", 12.0)
        for _ in range(MAX_REFUSED):
            refuse(ledger)
    found = merge([report(ledger) for ledger in ledgers])
    assert (len(found["Closed"]), len(found["Refused"])) == (MAX_CLOSED, MAX_REFUSED)


def test_no_worker_tells_nothing() -> None:
    assert merge([]) == {}


def test_ages_bytes_and_counters_are_no_news_and_a_connection_is() -> None:
    ledger = Ledger()
    entry = enter(ledger)
    before = substance(report(ledger))
    entry.received = 100
    assert substance(report(ledger, 30.0, Counters={"a": 9})) == before
    refuse(ledger)
    assert substance(report(ledger)) != before
