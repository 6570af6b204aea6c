from __future__ import annotations

from meshnode.gossip.memberlist.complaints import MAX_REMEMBERED, QUIET_INTERVAL, Complaints


def test_the_same_thing_is_said_once_per_quiet_interval() -> None:
    complaints = Complaints()
    assert complaints.may_speak("a", 0.0)
    assert not complaints.may_speak("a", QUIET_INTERVAL - 0.1)
    assert complaints.may_speak("b", 1.0)
    assert complaints.may_speak("a", QUIET_INTERVAL)


def test_a_flood_of_different_things_is_bounded_and_ends() -> None:
    complaints = Complaints()
    spoken = sum(complaints.may_speak(str(index), 0.0) for index in range(MAX_REMEMBERED + 50))
    assert spoken == MAX_REMEMBERED
    assert complaints.may_speak("later", QUIET_INTERVAL)
