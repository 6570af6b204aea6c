"""When sessions with a TTL end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnode.control.session_timers import SessionTimers
from meshnode.kv.sessions import TTL_MULTIPLIER, Session


def session(name: str, ttl: str = "10s") -> Session:
    return Session(name, "node1", ttl=ttl)


def test_a_session_ends_two_terms_after_it_was_last_renewed() -> None:
    timers = SessionTimers()
    timers.renew(session("A"), 100.0)
    assert timers.due(119.9) == []
    timers.renew(session("A"), 119.9)
    assert (timers.due(120.0), timers.next_deadline) == ([], 139.9)
    assert timers.due(139.9) == ["a"]
    assert (timers.due(1e9), timers.next_deadline, len(timers)) == ([], None, 0)


def test_sessions_without_a_ttl_and_ended_ones_have_no_timer() -> None:
    timers = SessionTimers()
    timers.renew(session("forever", ""), 0.0)
    timers.renew(session("gone"), 0.0)
    timers.ended("GONE")
    assert (timers.next_deadline, timers.due(1e9)) == (None, [])


def test_a_new_leader_gives_everybody_a_whole_term() -> None:
    timers = SessionTimers()
    timers.renew(session("old"), 0.0)
    timers.reset([session("a"), session("b", "60s")], 1000.0)
    assert timers.due(1019.9) == []
    assert timers.due(1020.0) == ["a"]
    assert timers.next_deadline == 1120.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["renew", "end", "look"]),
            st.sampled_from("abc"),
            st.floats(min_value=0, max_value=15),
        )
    )
)
def test_it_agrees_with_a_table_of_deadlines(steps: list[tuple[str, str, float]]) -> None:
    timers, expected, now = SessionTimers(), {}, 0.0
    for verb, name, passed in steps:
        now += passed
        if verb == "renew":
            timers.renew(session(name), now)
            expected[name] = now + 10.0 * TTL_MULTIPLIER
        elif verb == "end":
            timers.ended(name)
            expected.pop(name, None)
        else:
            over = {name for name, deadline in expected.items() if deadline <= now}
            assert set(timers.due(now)) == over
            for each in over:
                del expected[each]
        assert timers.next_deadline is None or timers.next_deadline > now or verb != "look"
        assert len(timers) == len(expected)
