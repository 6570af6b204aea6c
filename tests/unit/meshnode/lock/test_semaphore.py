from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.control.command import KvDelete, KvPut
from meshnode.lock.calls import Call, LockError, Pause, Reply
from meshnode.lock.semaphore import SEMAPHORE_FLAGS, Semaphore
from tests.support.lock_shell import LockShell

KEY = "a/.lock"


@pytest.fixture
def shell() -> LockShell:
    return LockShell()


def semaphore(shell: LockShell, limit: int = 2) -> Semaphore:
    return Semaphore("a", shell.session("delete"), limit)


def holders(shell: LockShell) -> set[str]:
    entry = shell.agent.entry(KEY)
    return set(json.loads(entry.value)["Holders"]) if entry is not None else set()


def test_the_entries_are_those_that_consul_documents(shell: LockShell) -> None:
    place = semaphore(shell)
    assert shell.run(place.acquire(0.0, None)) is True
    entry, contender = shell.agent.entry(KEY), shell.agent.entry(f"a/{place.session}")
    assert entry is not None
    assert contender is not None
    assert entry.value == b'{"Limit":2,"Holders":{"%s":true}}' % place.session.encode()
    assert (entry.flags, entry.session) == (SEMAPHORE_FLAGS, "")
    assert (contender.flags, contender.session) == (SEMAPHORE_FLAGS, place.session)
    assert SEMAPHORE_FLAGS == 0xE0F69A2BAA414DE0


def test_as_many_as_the_limit_hold_and_the_next_waits(shell: LockShell) -> None:
    places = [semaphore(shell) for _ in range(3)]
    assert shell.run(places[0].acquire(0.0, None)) is True
    assert shell.run(places[1].acquire(0.0, None)) is True
    assert shell.run(places[2].acquire(shell.now, 20.0)) is False
    assert shell.now == 20.0
    assert holders(shell) == {places[0].session, places[1].session}
    shell.run(places[0].release())
    assert shell.run(places[2].acquire(0.0, None)) is True
    assert holders(shell) == {places[1].session, places[2].session}


def test_the_place_of_a_dead_holder_is_taken(shell: LockShell) -> None:
    first, second = semaphore(shell, 1), semaphore(shell, 1)
    shell.run(first.acquire(0.0, None))
    shell.agent.expire(first.session)
    assert shell.run(second.acquire(0.0, None)) is True
    assert holders(shell) == {second.session}


def test_a_write_that_somebody_overtakes_is_made_again(shell: LockShell) -> None:
    first, second = semaphore(shell), semaphore(shell)

    def overtake(request: Call | Pause) -> None:
        if isinstance(request, Call) and "cas" in dict(request.query):
            shell.before = lambda request: None
            shell.run(second.acquire(0.0, None))

    shell.before = overtake
    assert shell.run(first.acquire(0.0, None)) is True
    assert holders(shell) == {first.session, second.session}


def test_contenders_have_to_agree_on_the_limit(shell: LockShell) -> None:
    shell.run(semaphore(shell, 2).acquire(0.0, None))
    with pytest.raises(LockError, match=r"semaphore limit conflict \(lock: 2, local: 3\)"):
        shell.run(semaphore(shell, 3).acquire(0.0, None))


@pytest.mark.parametrize(
    "value", [b"", b"null", b"[]", b"{}", b'{"Limit":"2"}', b'{"Limit":2,"Holders":[]}', b"[" * 9999]
)
def test_a_count_that_is_none_is_an_error(shell: LockShell, value: bytes) -> None:
    shell.agent.apply(KvPut(KEY, value, SEMAPHORE_FLAGS))
    place = semaphore(shell)
    if value == b'{"Limit":2,"Holders":[]}':
        # An empty list is what some clients write for nobody.
        assert shell.run(place.acquire(0.0, None)) is True
        return
    with pytest.raises(LockError, match="does not hold a count of holders"):
        shell.run(place.acquire(0.0, None))


def test_an_entry_that_is_no_semaphore_is_refused(shell: LockShell) -> None:
    shell.agent.apply(KvPut(KEY, b"", 1))
    with pytest.raises(LockError, match=r"existing key does not match semaphore use: a/\.lock"):
        shell.run(semaphore(shell).acquire(0.0, None))


def test_a_contender_whose_session_is_gone_says_so(shell: LockShell) -> None:
    place = semaphore(shell)
    shell.agent.expire(place.session)
    with pytest.raises(LockError, match=r"failed to make contender entry: .*invalid session"):
        shell.run(place.acquire(0.0, None))


@pytest.mark.parametrize("how", ["session", "contender", "count"])
def test_the_monitor_ends_when_the_place_is_lost(shell: LockShell, how: str) -> None:
    place = semaphore(shell)
    shell.run(place.acquire(0.0, None))
    looks = 0

    def lose(request: Call | Pause) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            if how == "session":
                shell.agent.expire(place.session)
            else:
                shell.agent.apply(KvDelete(f"a/{place.session}" if how == "contender" else KEY))

    shell.before = lose
    assert "is no holder of the semaphore a any more" in shell.run(place.monitor(3))
    assert looks == 3


def test_the_monitor_bears_some_failures_in_a_row_and_no_more(shell: LockShell) -> None:
    place = semaphore(shell)
    shell.before = lambda request: Reply(0.0, 0, reason="refused") if isinstance(request, Call) else None
    assert shell.run(place.monitor(2)) == "failed to read semaphore: refused"
    assert [request for request in shell.asked if isinstance(request, Pause)] == [Pause(1.0)] * 2


def test_releasing_leaves_no_entry_of_ours_and_cleaning_up_none_at_all(shell: LockShell) -> None:
    first, second = semaphore(shell), semaphore(shell)
    shell.run(first.acquire(0.0, None))
    shell.run(second.acquire(0.0, None))
    shell.run(first.release())
    assert shell.agent.keys() == [KEY, f"a/{second.session}"]
    assert shell.run(first.clean_up()) is False
    shell.run(second.release())
    assert shell.run(second.clean_up()) is True
    assert shell.agent.keys() == []
    assert shell.run(second.clean_up()) is True
    shell.run(second.release())


@settings(max_examples=40)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["take", "give", "die"])), max_size=25),
)
def test_there_are_never_more_holders_than_places(limit: int, moves: list[tuple[int, str]]) -> None:
    shell = LockShell()
    places = [semaphore(shell, limit) for _ in range(4)]
    inside: set[str] = set()
    for who, move in moves:
        place = places[who]
        if move == "take":
            expected = place.session in inside or len(inside) < limit
            assert shell.run(place.acquire(shell.now, 1.0)) is expected
            inside |= {place.session} if expected else set()
        elif move == "give":
            shell.run(place.release())
            inside -= {place.session}
        else:
            shell.agent.expire(place.session)
            inside -= {place.session}
            places[who] = semaphore(shell, limit)
        assert inside <= holders(shell)
        assert len(inside) <= limit
