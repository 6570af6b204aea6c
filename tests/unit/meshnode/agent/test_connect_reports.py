"""The store of what proxies report: how long it is kept, and how much of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshnode.agent.connect_reports import FORGOTTEN_AFTER, MAX_ENTRIES, MAX_PROXIES, ConnectReports
from meshnode.base.metrics import Metrics
from meshnode.http.errors import HttpError
from meshnode.http.proxy_report import ProxyReport, Row


def report(
    proxy_id: str = "p", service: str = "db", *, rows: int = 0, pid: int = 1, **counters: int
) -> ProxyReport:
    found: tuple[Row, ...] = tuple({"ID": number} for number in range(rows))
    listener = {"Name": "public", "Address": "", "Serial": "12:34"}
    return ProxyReport(proxy_id, service, "", "", (), (listener,), pid, counters, found, (), ())


class Store:
    def __init__(self) -> None:
        self.now = 100.0
        self.metrics = Metrics(self.now)
        self.reports = ConnectReports(self.metrics, lambda: self.now)

    def ids(self) -> list[str]:
        return [found.proxy_id for found, _ in self.reports.live()]

    def counted(self, name: str) -> float:
        series = {key.name: found for key, found in self.metrics.live_series(self.now, 1e9)}
        return series[f"consul.proxy.db.{name}"].total


def test_the_last_report_of_a_proxy_counts_and_has_its_age() -> None:
    store = Store()
    store.reports.take(report("b", rows=1))
    store.now += 3
    store.reports.take(report("a"))
    store.reports.take(report("B", rows=2))
    store.now += 2
    assert [(found.proxy_id, len(found.connections), age) for found, age in store.reports.live()] == [
        ("a", 0, 2.0), ("B", 2, 2.0),
    ]  # fmt: skip


def test_a_proxy_that_says_nothing_for_a_while_is_forgotten() -> None:
    store = Store()
    store.reports.take(report())
    store.now += FORGOTTEN_AFTER
    assert (store.ids(), store.reports.served()) == (["p"], {"db": {"p/public": "12:34"}})
    store.now += 0.1
    assert (store.ids(), store.reports.served()) == ([], {})
    store.reports.take(report())
    assert store.ids() == ["p"]


def test_it_is_told_when_a_process_has_begun_to_listen() -> None:
    store = Store()
    silent = replace(report(), listeners=())
    told = [store.reports.take(one) for one in (silent, report(), report(), report(pid=2), report(pid=2))]
    assert told == [False, True, False, True, False]
    store.now += FORGOTTEN_AFTER + 1
    store.reports.live()
    assert store.reports.take(report(pid=2))


def test_what_listeners_present_is_told_by_service_and_proxy() -> None:
    store = Store()
    bare = {"Name": "upstream", "Address": "", "Serial": ""}
    store.reports.take(replace(report("p1"), listeners=(*report().listeners, bare)))
    store.reports.take(report("p2"))
    assert store.reports.served() == {"db": {"p1/public": "12:34", "p2/public": "12:34"}}


def test_an_id_belongs_to_one_service_while_its_proxy_is_there() -> None:
    store = Store()
    store.reports.take(report())
    with pytest.raises(HttpError, match='a proxy of "db" reports as p'):
        store.reports.take(report(service="web"))
    store.now += FORGOTTEN_AFTER + 1
    store.reports.take(report(service="web"))
    assert [found.service for found, _ in store.reports.live()] == ["web"]


def test_a_proxy_that_is_gone_makes_room_and_one_that_is_there_does_not() -> None:
    store = Store()
    store.reports.take(report("gone"))
    store.now += 10
    for number in range(MAX_PROXIES - 1):
        store.reports.take(report(f"p{number}"))
    with pytest.raises(HttpError) as refused:
        store.reports.take(report("late"))
    assert refused.value.status == 429
    store.now += FORGOTTEN_AFTER - 10 + 0.1
    store.reports.take(report("late"))
    assert (len(store.ids()), "late" in store.ids()) == (MAX_PROXIES, True)
    with pytest.raises(HttpError):
        store.reports.take(report("later"))


def test_rows_of_all_proxies_together_have_a_bound_and_what_does_not_fit_is_counted() -> None:
    store = Store()
    each = 4096
    for number in range(MAX_ENTRIES // each):
        store.reports.take(report(f"p{number}", rows=each))
    store.reports.take(replace(report("late", rows=5), closed=({"ID": 1},), refused=({"ID": 2},), omitted=1))
    late = next(found for found, _ in store.reports.live() if found.proxy_id == "late")
    assert (late.entries, late.omitted) == (0, 6)
    store.reports.take(report("p0", rows=each - 6))
    ended = {"closed": ({"ID": 1}, {"ID": 2}), "refused": ({"ID": 3},), "decisions": ({"Age": 1.0},)}
    store.reports.take(replace(report("late", rows=5), **ended))
    late = next(found for found, _ in store.reports.live() if found.proxy_id == "late")
    assert (len(late.connections), late.closed, late.refused, late.omitted) == (5, ({"ID": 2},), (), 0)
    assert late.decisions == ()
    store.reports.take(report("p0", rows=each - 10))
    store.reports.take(replace(report("late", rows=5), **ended, omitted=0))
    late = next(found for found, _ in store.reports.live() if found.proxy_id == "late")
    assert (late.entries, late.decisions) == (9, ({"Age": 1.0},))


def test_silent_proxies_hold_no_rows() -> None:
    store = Store()
    store.reports.take(report("p", rows=4096))
    store.now += FORGOTTEN_AFTER + 1
    for number in range(MAX_ENTRIES // 4096):
        store.reports.take(report(f"p{number}", rows=4096))
    assert all(len(found.connections) == 4096 for found, _ in store.reports.live())


def test_counters_are_added_by_what_they_have_grown() -> None:
    store = Store()
    store.reports.take(report(conns=3))
    store.reports.take(report(conns=3))
    store.reports.take(report(conns=5, errors=1))
    assert (store.counted("conns"), store.counted("errors")) == (5.0, 1.0)


def test_another_process_counts_from_zero() -> None:
    store = Store()
    store.reports.take(report(conns=3))
    store.reports.take(report(conns=4, pid=2))
    assert store.counted("conns") == 7.0
    store.reports.take(report(conns=1, pid=2))
    assert store.counted("conns") == 8.0


def test_a_proxy_that_was_silent_for_a_while_is_not_counted_twice() -> None:
    store = Store()
    store.reports.take(report(conns=3))
    store.now += FORGOTTEN_AFTER * 4
    assert store.ids() == []
    store.reports.take(report(conns=4))
    assert store.counted("conns") == 4.0


def test_two_proxies_of_a_service_are_counted_together() -> None:
    store = Store()
    store.reports.take(report("a", conns=3))
    store.reports.take(report("b", conns=4))
    assert store.counted("conns") == 7.0
