from __future__ import annotations

import contextlib
from dataclasses import dataclass

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision
from meshnode.sdk.live import LiveConnections
from tests.support.proxy import identity

ALLOW, DENY = Decision(True, "may"), Decision(False, "may not")


def key(source: Identity) -> tuple[str, str]:
    return source.uri, source.serial


def test_only_denied_sources_are_cut_each_connection_once_and_with_the_reason() -> None:
    live, cut = LiveConnections(), []
    with contextlib.ExitStack() as stack:
        for name in ("web", "web", "cron"):
            stack.enter_context(live.entered(identity(name), lambda why, name=name: cut.append((name, why))))
        assert len(live) == 3
        assert [source.service.service for source in live.identities()] == ["web", "cron"]
        assert live.enforce(key(identity("cron")), ALLOW) == 0
        assert live.enforce(key(identity("web")), DENY) == 2
        assert cut == [("web", "may not")] * 2
    assert len(live) == 0


def test_certificates_of_one_service_are_told_apart() -> None:
    live, cut = LiveConnections(), []
    with (
        live.entered(identity("web", "01"), lambda why: cut.append("01")),
        live.entered(identity("web", "02"), lambda why: cut.append("02")),
    ):
        assert [source.serial for source in live.identities()] == ["01", "02"]
        live.enforce(key(identity("web", "01")), DENY)
    assert cut == ["01"]


def test_a_connection_that_ended_while_it_was_asked_about_is_not_cut() -> None:
    live, cut = LiveConnections(), []
    with live.entered(identity("web"), cut.append):
        asked = live.identities()
    assert live.enforce(key(asked[0]), DENY) == 0
    assert cut == []


def test_a_cut_may_end_its_own_entry() -> None:
    live = LiveConnections()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(live.entered(identity("web"), lambda why: stack.close()))
        assert live.cut_all("the end") == 3
    assert len(live) == 0


@dataclass
class Bytes:
    received: int = 0
    sent: int = 0


def test_what_was_allowed_is_in_the_ledger_with_its_bytes_until_it_ends() -> None:
    now = [100.0]
    live, meter = LiveConnections(lambda: now[0]), Bytes(5, 6)
    with live.entered(identity("web"), lambda why: None) as one:
        assert live.ledger.live() == [], "it was not allowed yet"
        live.allow(one, ALLOW, own="spiffe://us", listener="native", peer="1.2.3.4:5", meter=meter)
        (entry,) = live.ledger.live()
        assert (entry.direction, entry.source, entry.destination) == (
            "inbound",
            identity("web").uri,
            "spiffe://us",
        )
        assert (entry.received, entry.since, entry.because) == (0, 100.0, "may")
        live.measure()
        assert (entry.received, entry.sent) == (5, 6)
        live.enforce(key(identity("web")), Decision(True, "may by another rule", "12"))
        assert (entry.rule, entry.because) == ("12", "may by another rule")
        meter.sent, now[0] = 7, 101.5
    (closed,) = live.ledger.closed
    assert (closed.sent, closed.until, closed.close_cause) == (7, 101.5, "it ended")


def test_who_was_never_allowed_is_in_no_ledger() -> None:
    live = LiveConnections()
    with live.entered(identity("web"), lambda why: None):
        live.enforce(key(identity("web")), DENY)
    assert (len(live.ledger), len(live.ledger.closed)) == (0, 0)


def test_a_cut_is_the_cause_of_the_end_and_the_first_one_counts() -> None:
    live = LiveConnections()
    with live.entered(identity("web"), lambda why: None) as one:
        live.allow(one, ALLOW, own="us", listener="native", peer="p")
        live.enforce(key(identity("web")), DENY)
        live.cut_all("the end")
    assert live.ledger.closed[0].close_cause == "cut: may not"


def test_revoked_leafs_are_cut_in_both_directions_and_others_go_on() -> None:
    live, cut = LiveConnections(), []
    ends = [
        live.dialled(
            identity("api", serial), lambda why, serial=serial: cut.append((serial, why)),
            own="us", listener="api", peer="p", meter=Bytes(1, 2),
        )
        for serial in ("0a", "0b")
    ]  # fmt: skip
    with live.entered(identity("web", "0a"), lambda why: cut.append(("served", why))):
        assert live.cut_serials(["0a", "ff"]) == 2
    assert cut == [("served", "Certificate 0a is revoked"), ("0a", "Certificate 0a is revoked")]
    for end in ends:
        end(None)
        end(None)
    assert [entry.close_cause for entry in live.ledger.closed] == [
        "cut: Certificate 0a is revoked",
        "it ended",
    ]
    assert {entry.received for entry in live.ledger.closed} == {1}


def test_what_broke_a_dialled_connection_is_its_cause() -> None:
    live = LiveConnections()
    end = live.dialled(identity("api"), lambda why: None, own="us", listener="api", peer="p", meter=Bytes())
    assert live.ledger.live()[0].direction == "outbound"
    end(ConnectionResetError("reset by peer"))
    assert live.ledger.closed[0].close_cause == "the connection failed: reset by peer"
