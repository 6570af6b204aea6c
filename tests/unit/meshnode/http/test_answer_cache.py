"""Rendered answers that are kept, and when they go."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meshnode.control.watch import WatchKey, WatchTable
from meshnode.http.answer_cache import MAX_ANSWER_BYTES, MAX_ANSWERS, AnswerCache
from meshnode.http.effects import ReadServer
from meshnode.http.message import Response


class State:
    """Watches, and whether memory may be answered from."""

    def __init__(self) -> None:
        self.table = WatchTable()
        self.wakes: dict[int, Callable[[], None]] = {}
        self.valid = True
        self.cache = AnswerCache(self, lambda query: (("key", query.method),), lambda: self.valid)

    def watch(self, keys: Iterable[WatchKey], wake: Callable[[], None]) -> int:
        waiter = self.table.register(keys)
        self.wakes[waiter] = wake
        return waiter

    def unwatch(self, waiter: int) -> None:
        self.table.remove(waiter)
        del self.wakes[waiter]

    def touch(self, name: str) -> None:
        for waiter in self.table.touched({("key", name)}):
            self.wakes[waiter]()

    def keep(self, name: str, body: bytes = b"x", *, memory: bool = True) -> Response:
        answer = Response(200, body)
        self.cache.keep(name, answer, ReadServer(name, {}), {"FromMemory": memory})
        return answer


def test_an_answer_is_kept_until_what_it_shows_changes() -> None:
    state = State()
    a, b = state.keep("a"), state.keep("b")
    assert (state.cache.get("a"), state.cache.get("b"), state.cache.get("c")) == (a, b, None)
    state.touch("a")
    assert (state.cache.get("a"), state.cache.get("b")) == (None, b)
    assert (len(state.table), len(state.wakes)) == (1, 1)


def test_nothing_is_answered_while_memory_may_not_vouch() -> None:
    state = State()
    a = state.keep("a")
    state.valid = False
    assert state.cache.get("a") is None
    state.valid = True
    assert state.cache.get("a") is a


def test_what_a_server_sent_and_what_is_long_is_not_kept() -> None:
    state = State()
    state.keep("sent", memory=False)
    state.keep("long", bytes(MAX_ANSWER_BYTES + 1))
    kept = state.keep("longest", bytes(MAX_ANSWER_BYTES))
    assert [state.cache.get(name) for name in ("sent", "long", "longest")] == [None, None, kept]
    assert len(state.table) == 1


def test_a_newer_answer_takes_the_place_of_an_older_one() -> None:
    state = State()
    state.keep("a", b"old")
    newer = state.keep("a", b"new")
    assert (state.cache.get("a"), len(state.table)) == (newer, 1)


def test_the_oldest_goes_when_there_are_too_many() -> None:
    state = State()
    for number in range(MAX_ANSWERS + 1):
        state.keep(str(number))
    assert (state.cache.get("0"), state.cache.get("1") is not None) == (None, True)
    assert len(state.table) == MAX_ANSWERS
