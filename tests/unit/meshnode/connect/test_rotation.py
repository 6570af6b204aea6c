"""From root to root: who is waited for, when the old one goes, and what can't be done when."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import LocalProtocolError
from meshnode.connect.model import CaConfig, CaRoot, CaState, NodeTrust, RootKey
from meshnode.connect.rotation import (
    MAX_DISTRUSTED,
    Phase,
    abort,
    advance,
    begin,
    distrust,
    is_root_due,
    look,
    next_look,
    pause,
    plan,
    retires_by,
)

TTL = 100.0
LIFE = 10_000.0


def root(name: str, *, signed: bool = True, active: bool = False) -> CaRoot:
    intermediates = ("by the old one",) if signed else ()
    return CaRoot(name, f"CA {name}", 1, "k", 0.0, LIFE, f"pem of {name}", intermediates, active)


OLD, NEW = root("old", signed=False, active=True), root("new")
CA = CaState(CaConfig("id", leaf_cert_ttl=TTL), (OLD,), (RootKey("old", "old key"),))


def node(name: str, *roots: str, leaves: tuple[str, ...] = ()) -> NodeTrust:
    return NodeTrust(name, roots, leaves)


def started(ca: CaState = CA, new: CaRoot = NEW, at: float = 0.0, *, forced: bool = False) -> CaState:
    return begin(ca, new, RootKey(new.id, "new key"), at, forced=forced)


def ids(ca: CaState) -> list[str]:
    return [each.id for each in ca.roots]


def test_a_rotation_begins_with_both_roots_trusted_and_the_old_one_signing() -> None:
    ca = started()
    assert ids(ca) == ["old", "new"]
    assert ca.active is not None
    assert ca.active.id == "old"
    assert ca.key_of("old")
    assert ca.key_of("new")
    assert ca.rotation is not None
    assert ca.rotation.phase == Phase.DISTRIBUTE


def test_it_waits_for_every_node_that_is_up_and_names_who_is_missing() -> None:
    trust = [node("A", "old"), node("b", "new", "old"), node("c", "old")]
    progress = advance(started(), trust, {"a", "b"}, 1.0)
    assert (progress.phase, progress.done, progress.total, progress.missing) == ("acknowledge", 1, 2, ("A",))
    assert progress.because == "1 of 2 nodes trust the new root, waiting for A"
    assert progress.ca.active is not None
    assert progress.ca.active.id == "old"


def test_a_node_that_is_down_is_waited_for_only_when_the_old_root_did_not_sign_the_new_one() -> None:
    trust = [node("a", "old")]
    assert advance(started(), trust, (), 1.0).phase == Phase.REISSUE
    assert advance(started(new=root("new", signed=False)), trust, (), 1.0).missing == ("a",)


def test_when_all_have_acknowledged_the_new_root_signs_and_the_old_key_is_gone() -> None:
    trust = [node("a", "new", "old", leaves=("old",))]
    progress = advance(started(), trust, {"a"}, 7.0)
    assert progress.phase == Phase.REISSUE
    assert progress.because == "0 of 1 nodes have no leaf of an old root, waiting for a"
    assert progress.ca.active is not None
    assert progress.ca.active.id == "new"
    assert progress.ca.keys == (RootKey("new", "new key"),)
    old = progress.ca.root("old")
    assert old is not None
    assert old.rotated_out_at == 7.0
    assert not old.active


def test_the_old_root_goes_when_nobody_has_a_leaf_of_it() -> None:
    switched = advance(started(), [node("a", "new", "old", leaves=("old",))], {"a"}, 7.0).ca
    progress = advance(switched, [node("a", "new", "old", leaves=("new",))], {"a"}, 8.0)
    assert (progress.phase, progress.ca.rotation, ids(progress.ca)) == ("", None, ["new"])


def test_the_old_root_stays_while_a_node_trusts_nothing_else() -> None:
    switched = advance(started(), [node("a", "old")], (), 7.0).ca
    assert ids(advance(switched, [node("a", "old")], (), 8.0).ca) == ["old", "new"]


@pytest.mark.parametrize(
    ("trust", "gone_at"),
    [([], 7.0 + 2 * TTL), ([node("a", "old", "new", leaves=("old",))], 7.0 + 2 * TTL)],
    ids=["nobody reports", "a node is lost with an old leaf"],
)
def test_after_two_lifetimes_of_a_leaf_the_old_root_goes_in_any_case(
    trust: list[NodeTrust], gone_at: float
) -> None:
    switched = advance(started(), trust, {"a"}, 7.0).ca
    assert ids(advance(switched, trust, {"a"}, gone_at - 0.1).ca) == ["old", "new"]
    assert ids(advance(switched, trust, {"a"}, gone_at).ca) == ["new"]


def test_a_forced_rotation_waits_for_nobody() -> None:
    assert advance(started(forced=True), [node("a", "old")], {"a"}, 1.0).phase == Phase.REISSUE


def test_a_paused_rotation_stays_where_it_is_until_it_goes_on() -> None:
    paused = pause(started(), paused=True)
    progress = advance(paused, [node("a", "old")], {"a"}, 1.0)
    assert (progress.ca, progress.phase) == (paused, "distribute")
    assert progress.because == "paused: 0 of 1 nodes trust the new root, waiting for a"
    assert advance(pause(paused, paused=False), [], (), 1.0).phase == Phase.REISSUE


def test_one_that_begins_paused_is_known_to_all_before_anything_else_happens() -> None:
    ca = begin(CA, NEW, RootKey("new", "new key"), 0.0, paused=True)
    trust = [node("a", "new", "old", leaves=("old",))]
    told = advance(ca, trust, {"a"}, 5.0)
    assert (told.ca, told.done, told.total) == (ca, 1, 1)
    assert told.because == "paused: 1 of 1 nodes trust the new root"
    assert advance(pause(ca, paused=False), trust, {"a"}, 6.0).phase == Phase.REISSUE


def test_a_pause_after_the_switch_keeps_the_old_root_however_long_it_lasts() -> None:
    switched = advance(started(), [], (), 10.0).ca
    paused = pause(switched, paused=True)
    assert retires_by(paused) == 10 + 2 * TTL
    assert ids(advance(paused, [node("a", "new", leaves=("new",))], {"a"}, 3 * TTL).ca) == ["old", "new"]
    assert ids(advance(pause(paused, paused=False), [], (), 3 * TTL).ca) == ["new"]


def test_a_look_tells_what_advancing_would_wait_for_and_takes_no_step() -> None:
    ca = started()
    trust = [node("a", "old"), node("b", "new", "old", leaves=("old",))]
    seen = look(ca, trust, {"a", "b"})
    assert (seen.ca, seen.phase, seen.done, seen.total, seen.missing) == (ca, "distribute", 1, 2, ("a",))
    waiting = advance(ca, trust, {"a", "b"}, 1.0)
    assert look(waiting.ca, trust, {"a", "b"}) == waiting
    reissuing = advance(ca, trust, {"b"}, 1.0)
    assert look(reissuing.ca, trust, ()) == reissuing
    assert (reissuing.done, reissuing.missing) == (1, ("b",))
    assert look(CA, trust, ()).phase == ""
    assert (retires_by(ca), retires_by(CA)) == (0.0, 0.0)


def test_before_the_switch_it_can_be_given_up_and_after_it_not() -> None:
    waiting = advance(started(), [node("a", "old")], {"a"}, 1.0).ca
    assert abort(waiting) == CA
    with pytest.raises(LocalProtocolError, match="signs already"):
        abort(advance(waiting, [], (), 1.0).ca)
    for act in (abort, lambda ca: pause(ca, paused=True)):
        with pytest.raises(LocalProtocolError, match="no rotation is running"):
            act(CA)


@pytest.mark.parametrize(
    "running",
    [
        started(),
        pause(started(), paused=True),
        advance(started(), [node("a", "old")], {"a"}, 1.0).ca,
        advance(started(forced=True), [node("a", "old", leaves=("old",))], {"a"}, 1.0).ca,
    ],
)
def test_a_distrusted_root_is_gone_in_every_phase_and_the_new_one_signs(running: CaState) -> None:
    ca = distrust(running, 2.0)
    assert (ids(ca), ca.rotation) == (["new"], None)
    assert ca.active is not None
    assert (ca.active.id, ca.active.rotated_out_at) == ("new", 0.0)
    assert [key.root_id for key in ca.keys] == ["new"]
    assert advance(ca, [node("a", "old", leaves=("old",))], {"a"}, 3.0).ca == ca


def test_who_was_distrusted_is_remembered_and_who_was_retired_is_not() -> None:
    retired = advance(started(), [node("a", "old", "new", leaves=("new",))], {"a"}, 1.0).ca
    assert (ids(retired), retired.distrusted) == (["new"], ())
    third = started(retired, root("third"), 2.0)
    assert distrust(third, 3.0).distrusted == ("new",)
    again = distrust(started(distrust(third, 3.0), root("fourth"), 4.0), 5.0)
    assert again.distrusted == ("new", "third")
    taken_back = started(again, root("new"), 6.0)
    assert (ids(taken_back), taken_back.distrusted) == (["fourth", "new"], ("third",))


def test_only_the_last_that_were_distrusted_are_remembered() -> None:
    ca = CA
    for number in range(MAX_DISTRUSTED + 2):
        ca = distrust(started(ca, root(f"r{number}")), 1.0)
    assert len(ca.distrusted) == MAX_DISTRUSTED
    assert (ca.distrusted[0], ca.distrusted[-1]) == ("r1", f"r{MAX_DISTRUSTED}")


def test_without_a_rotation_there_is_no_root_to_distrust() -> None:
    with pytest.raises(LocalProtocolError, match="no rotation is running"):
        distrust(CA, 1.0)


def test_the_next_one_may_begin_once_the_last_one_has_switched() -> None:
    waiting = advance(started(), [node("a", "old")], {"a"}, 1.0).ca
    with pytest.raises(LocalProtocolError, match="is in phase acknowledge"):
        started(waiting, root("third"))
    switched = advance(waiting, [], (), 1.0).ca
    third = advance(started(switched, root("third"), 2.0), [], (), 2.0).ca
    assert ids(third) == ["old", "new", "third"]
    assert third.active is not None
    assert third.active.id == "third"
    assert ids(advance(third, [], (), 1.0 + 2 * TTL).ca) == ["new", "third"]


def test_there_is_nothing_to_rotate_without_a_root_or_to_the_same_one() -> None:
    with pytest.raises(LocalProtocolError, match="no Connect root yet"):
        begin(CaState(), NEW, RootKey("new"), 0.0)
    with pytest.raises(LocalProtocolError, match="active root already"):
        begin(CA, OLD, RootKey("old"), 0.0)


def test_a_plan_says_every_step_and_changes_nothing() -> None:
    steps = plan(CA, NEW, [node("a", "old", leaves=("old",)), node("b", "old")], {"a"}, 0.0)
    assert [step.partition(":")[0] for step in steps] == [*Phase]
    assert steps[1] == "acknowledge: 1 nodes are waited for: a; 1 are down: b"
    assert "after 200 seconds at the latest" in steps[4]


@given(
    trust=st.lists(
        st.builds(
            NodeTrust,
            st.sampled_from(["a", "b", "c"]),
            st.lists(st.sampled_from(["old", "new"]), unique=True).map(tuple),
            st.lists(st.sampled_from(["old", "new"]), unique=True).map(tuple),
        ),
        unique_by=lambda row: row.node,
    ),
    alive=st.sets(st.sampled_from(["a", "b", "c"])),
    at=st.floats(0, 2 * LIFE),
    forced=st.booleans(),
    signed=st.booleans(),
)
def test_whatever_is_reported_there_is_one_active_root_with_a_key_and_advancing_twice_changes_nothing(
    trust: list[NodeTrust], alive: set[str], at: float, *, forced: bool, signed: bool
) -> None:
    first = advance(started(new=root("new", signed=signed), forced=forced), trust, alive, at)
    assert advance(first.ca, trust, alive, at).ca == first.ca
    assert [each.active for each in first.ca.roots].count(True) == 1
    active = first.ca.active
    assert active is not None
    assert first.ca.key_of(active.id)
    if active.id == "new" and not forced:
        assert all("new" in row.roots for row in trust if row.node in alive)
    if "old" not in ids(first.ca) and at < LIFE:
        assert trust
        assert all("old" not in row.leaf_roots and "new" in row.roots for row in trust)


@pytest.mark.parametrize(
    ("ttl", "due_at"), [(TTL, LIFE * 0.9), (500.0, LIFE - 2000), (1e6, LIFE / 2)], ids=str
)
def test_a_root_is_due_a_while_before_its_end(ttl: float, due_at: float) -> None:
    ca = replace(CA, config=CaConfig("id", leaf_cert_ttl=ttl))
    assert not is_root_due(ca, due_at - 1)
    assert is_root_due(ca, due_at)
    assert not is_root_due(started(ca), due_at)
    assert not is_root_due(CaState(), due_at)


def test_giving_it_up_brings_back_the_settings_that_were_in_force() -> None:
    assert CA.config is not None
    changed = replace(CA, config=replace(CA.config, provider="vault"))
    ca = begin(changed, NEW, RootKey("new", elsewhere={"address": "a"}), 0.0, before=CA.config)
    assert ca.row_of("new") == RootKey("new", elsewhere={"address": "a"})
    assert abort(ca) == CA


def test_a_root_that_has_expired_waits_for_nobody_and_is_dropped_at_once() -> None:
    trust = [node("a", "old", leaves=("old",)), node("dead", "old")]
    for signed in (True, False):
        waiting = advance(started(new=root("new", signed=signed)), trust, {"a"}, 1.0)
        assert waiting.phase == Phase.ACKNOWLEDGE
        late = replace(root("new", signed=signed), not_after=2 * LIFE)
        progress = advance(started(new=late), trust, {"a"}, LIFE)
        assert (progress.phase, progress.ca.rotation, ids(progress.ca)) == ("", None, ["new"])
        assert progress.ca.active == replace(late, active=True)


LATE = replace(NEW, not_after=2 * LIFE)


def test_no_pause_holds_the_switch_when_the_old_root_has_expired_and_one_after_it_is_kept() -> None:
    paused = pause(started(new=LATE), paused=True)
    assert advance(paused, [], (), LIFE - 1).ca == paused
    assert ids(advance(paused, [node("a", "old")], {"a"}, LIFE).ca) == ["new"]
    switched = pause(advance(started(new=LATE), [], (), LIFE - 1).ca, paused=True)
    assert advance(switched, [], (), LIFE).ca == switched


def test_when_the_root_that_took_over_has_expired_the_next_one_may_begin_in_reissue_paused_or_not() -> None:
    reissuing = advance(started(at=LIFE - 10), [node("a", "old", leaves=("old",))], (), LIFE - 10).ca
    for ca in (reissuing, pause(reissuing, paused=True)):
        assert not is_root_due(ca, LIFE - 1)
        assert is_root_due(ca, LIFE)
        third = begin(ca, replace(LATE, id="third"), RootKey("third", "key"), LIFE)
        assert ids(advance(third, [node("a", "old")], {"a"}, LIFE).ca) == ["third"]
    assert not is_root_due(started(), LIFE)


@pytest.mark.parametrize("paused", [True, False])
def test_a_new_root_that_expires_before_it_signs_is_given_up(*, paused: bool) -> None:
    ca = pause(started(new=replace(NEW, not_after=5.0)), paused=paused)
    progress = advance(ca, [node("a", "old")], {"a"}, 5.0)
    assert (progress.ca, progress.phase) == (CA, "")
    assert (
        progress.because
        == "the new root CA new ended at 1970-01-01T00:00:05Z, before it signed: it was given up"
    )


def test_a_new_root_whose_time_has_not_begun_does_not_sign_and_is_given_up_with_the_end_of_the_old_one() -> (
    None
):
    ca = started(new=replace(LATE, not_before=LIFE + 5), forced=True)
    waiting = advance(ca, [], (), 1.0)
    assert (waiting.phase, waiting.because) == ("acknowledge", "the new root begins at 1970-01-01T02:46:45Z")
    assert advance(ca, [], (), LIFE).ca == CA


def test_a_plan_for_a_root_that_has_expired_says_that_nobody_is_waited_for() -> None:
    steps = plan(CA, LATE, [node("a", "old"), node("b", "old")], {"a"}, LIFE)
    assert steps[1] == "acknowledge: nobody is waited for, as CA old ended at 1970-01-01T02:46:40Z"
    assert steps[4] == "retire: CA old is dropped at once"


def test_the_next_look_is_when_a_root_comes_due_and_then_when_it_ends() -> None:
    assert next_look(CA, 0.0) == LIFE * 0.9
    assert next_look(CA, LIFE * 0.9) == pytest.approx(LIFE * 0.1)
    assert next_look(CA, LIFE) == math.inf
    assert next_look(started(new=replace(NEW, not_after=5.0)), 1.0) == 4.0
    assert next_look(CaState(), 0.0) == math.inf
