from __future__ import annotations

import pytest

from meshnode.control.command import KvDelete, KvPut, KvRelease, SessionDestroy
from meshnode.lock.calls import Call, LockError, Pause, Reply
from meshnode.lock.mutex import LOCK_DELAY_RETRY_INTERVAL, MUTEX_FLAGS, Mutex
from tests.support.lock_shell import LockShell

KEY = "a/.lock"


@pytest.fixture
def shell() -> LockShell:
    return LockShell()


def mutex(shell: LockShell) -> Mutex:
    return Mutex(KEY, shell.session())


def test_a_free_lock_is_had_at_once_with_the_flags_of_locks(shell: LockShell) -> None:
    lock = mutex(shell)
    assert shell.run(lock.acquire(0.0, None)) is True
    entry = shell.agent.entry(KEY)
    assert entry is not None
    assert (entry.session, entry.flags, entry.value) == (lock.session, MUTEX_FLAGS, b"")
    assert MUTEX_FLAGS == 0x2DDCCBC058A50C18
    assert shell.run(lock.acquire(0.0, None)) is True, "who holds it has it"


def test_who_waits_longer_than_the_time_out_gets_nothing(shell: LockShell) -> None:
    first, second = mutex(shell), mutex(shell)
    shell.run(first.acquire(0.0, None))
    assert shell.run(second.acquire(shell.now, 40.0)) is False
    assert shell.now == 40.0
    waits = [dict(call.query).get("wait") for call in shell.asked if isinstance(call, Call)]
    assert waits[-3:] == ["15s", "15s", "10s"]


def test_who_waits_gets_the_lock_once_it_is_free(shell: LockShell) -> None:
    first, second = mutex(shell), mutex(shell)
    shell.run(first.acquire(0.0, None))
    waited: list[Call] = []

    def release(request: Call | Pause) -> None:
        if isinstance(request, Call) and "index" in dict(request.query):
            waited.append(request)
            if len(waited) == 3:
                shell.run(first.release())

    shell.before = release
    assert shell.run(second.acquire(0.0, None)) is True
    entry = shell.agent.entry(KEY)
    assert entry is not None
    assert (entry.session, entry.lock_index) == (second.session, 2)


def test_while_a_lock_delay_is_on_it_is_tried_every_five_seconds(shell: LockShell) -> None:
    first, second = mutex(shell), mutex(shell)
    shell.run(first.acquire(0.0, None))
    shell.agent.expire(first.session)
    assert shell.run(second.acquire(0.0, 12.0)) is False
    pauses = [request.seconds for request in shell.asked if isinstance(request, Pause)]
    assert pauses == [LOCK_DELAY_RETRY_INTERVAL, LOCK_DELAY_RETRY_INTERVAL, 2.0]


def test_an_entry_that_is_no_lock_is_refused(shell: LockShell) -> None:
    shell.agent.apply(KvPut(KEY, b"", 1))
    lock = mutex(shell)
    with pytest.raises(LockError, match=r"existing key does not match lock use: a/\.lock"):
        shell.run(lock.acquire(0.0, None))
    with pytest.raises(LockError, match="existing key does not match lock use"):
        shell.run(lock.clean_up())


def test_a_session_that_is_gone_can_not_lock(shell: LockShell) -> None:
    lock = mutex(shell)
    shell.agent.expire(lock.session)
    with pytest.raises(LockError, match=r"failed to acquire lock: .*invalid session"):
        shell.run(lock.acquire(0.0, None))


def test_an_answer_that_can_not_be_waited_on_is_no_busy_loop(shell: LockShell) -> None:
    body = b'[{"Key":"a","Value":null,"Flags":%d,"Session":"x","ModifyIndex":1}]' % MUTEX_FLAGS
    shell.before = lambda request: Reply(0.0, 200, 0, body)
    with pytest.raises(LockError, match="no X-Consul-Index"):
        shell.run(Mutex(KEY, "s").acquire(0.0, None))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b"null", b'[{"Key":"a"}]', b'[{"Key":"a","Value":"\xff"}]']
)
def test_an_answer_that_is_no_list_of_entries_is_an_error(shell: LockShell, body: bytes) -> None:
    shell.before = lambda request: Reply(0.0, 200, 5, body)
    with pytest.raises(LockError, match="not a list of entries"):
        shell.run(Mutex(KEY, "s").acquire(0.0, None))


@pytest.mark.parametrize("how", ["session", "delete", "release"])
def test_the_monitor_ends_when_the_lock_is_lost(shell: LockShell, how: str) -> None:
    lock = mutex(shell)
    shell.run(lock.acquire(0.0, None))
    command = {
        "session": SessionDestroy(lock.session, 0.0),
        "delete": KvDelete(KEY),
        "release": KvRelease(KEY, b"", MUTEX_FLAGS, lock.session),
    }[how]
    looks = 0

    def lose(request: Call | Pause) -> None:
        nonlocal looks
        looks += 1
        if looks == 4:
            shell.agent.apply(command)

    shell.before = lose
    assert "is not held by session" in shell.run(lock.monitor(3))
    assert looks == 4


def test_the_monitor_bears_some_failures_in_a_row_and_no_more(shell: LockShell) -> None:
    lock = mutex(shell)
    shell.run(lock.acquire(0.0, None))
    script = [False, True, True, False, True, True, True, True]
    trouble = Reply(0.0, 500, reason="No cluster leader")

    def fail(request: Call | Pause) -> Reply | None:
        return trouble if isinstance(request, Call) and script.pop(0) else None

    shell.before = fail
    assert shell.run(lock.monitor(3)) == "failed to read lock: No cluster leader"
    assert script == []
    assert [request.seconds for request in shell.asked if isinstance(request, Pause)] == [1.0] * 5
    shell.before = lambda request: trouble
    assert shell.run(lock.monitor(0)) == "failed to read lock: No cluster leader"
    shell.before = lambda request: Reply(0.0, 403, reason="Permission denied")
    assert shell.run(lock.monitor(9)) == "failed to read lock: Permission denied"


def test_what_is_not_held_can_not_be_released(shell: LockShell) -> None:
    lock = mutex(shell)
    with pytest.raises(LockError, match=r"a/\.lock is not held by session"):
        shell.run(lock.release())


def test_cleaning_up_deletes_the_entry_unless_it_is_in_use(shell: LockShell) -> None:
    lock, other = mutex(shell), mutex(shell)
    shell.run(lock.acquire(0.0, None))
    assert shell.run(lock.clean_up()) is False
    shell.run(lock.release())

    def acquire(request: Call | Pause) -> None:
        if isinstance(request, Call) and request.method == "DELETE":
            shell.before = lambda request: None
            shell.run(other.acquire(0.0, None))

    shell.before = acquire
    assert shell.run(lock.clean_up()) is False, "somebody took it in between"
    shell.run(other.release())
    assert shell.run(lock.clean_up()) is True
    assert shell.agent.entry(KEY) is None
    assert shell.run(lock.clean_up()) is True
