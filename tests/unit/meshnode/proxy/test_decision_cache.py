from __future__ import annotations

from meshnode.proxy.decision_cache import Decision, DecisionCache

WEB = ("spiffe://t.consul/ns/default/dc/dc1/svc/web", "0a")
YES, NO = Decision(True, "rule 1 allows it", "1"), Decision(False, "rule 2 denies it", "2")


def cache() -> DecisionCache:
    return DecisionCache(refresh_after=10.0, max_age=60.0, max_entries=3)


def test_a_source_never_asked_about_is_refused_when_nobody_answers() -> None:
    decision = cache().without_answer(WEB, 0.0, "no agent")
    assert not decision.allowed
    assert "no agent" in decision.because


def test_a_decision_is_used_without_asking_while_it_is_fresh() -> None:
    known = cache()
    known.store(WEB, YES, 100.0, known.generation)
    assert known.fresh(WEB, 109.99) is YES
    assert known.fresh(WEB, 110.0) is None
    assert known.fresh(WEB, 99.0) is None, "a clock that went back proves nothing"


def test_an_old_decision_holds_up_to_its_bound_and_not_past_it() -> None:
    known = cache()
    known.store(WEB, YES, 100.0, known.generation)
    assert known.without_answer(WEB, 159.99, "no agent").allowed
    late = known.without_answer(WEB, 160.0, "no agent")
    assert not late.allowed
    assert "60 s old" in late.because


def test_an_old_refusal_stays_a_refusal() -> None:
    known = cache()
    known.store(WEB, NO, 100.0, known.generation)
    assert known.without_answer(WEB, 120.0, "no agent") is NO


def test_another_serial_number_is_another_question() -> None:
    known = cache()
    known.store(WEB, YES, 0.0, known.generation)
    assert known.fresh((WEB[0], "0b"), 0.0) is None


def test_while_nobody_answers_the_last_word_on_a_service_holds_for_a_new_certificate_of_it() -> None:
    known, renewed = cache(), (WEB[0], "0b")
    known.store(WEB, NO, 100.0, known.generation)
    known.store((WEB[0], "0c"), YES, 110.0, known.generation)
    known.store((WEB[0] + "2", "0d"), NO, 120.0, known.generation)
    assert known.holds(renewed, 120.0)
    assert known.without_answer(renewed, 120.0, "no agent") is YES
    assert known.without_answer(WEB, 120.0, "no agent") is NO, "of this one something was said"
    assert not known.is_outdated(renewed)
    known.invalidate()
    assert known.is_outdated(renewed)
    assert not known.holds(renewed, 170.0)
    assert not known.without_answer(renewed, 170.0, "no agent").allowed


def test_after_changes_nothing_is_fresh_and_ages_are_what_they_were() -> None:
    known = cache()
    known.store(WEB, YES, 100.0, known.generation)
    for _ in range(100):
        known.invalidate()
    assert known.fresh(WEB, 100.0) is None
    assert known.without_answer(WEB, 159.99, "no agent").allowed
    assert not known.without_answer(WEB, 160.0, "no agent").allowed


def test_what_holds_without_an_answer_is_told_beforehand() -> None:
    known = cache()
    assert not known.holds(WEB, 0.0)
    known.store(WEB, NO, 100.0, known.generation)
    known.invalidate()
    assert known.holds(WEB, 159.99)
    assert not known.holds(WEB, 160.0)


def test_other_bounds_count_for_what_is_known_too() -> None:
    known = cache()
    known.store(WEB, YES, 100.0, known.generation)
    known.limit(refresh_after=1.0, max_age=2.0)
    assert known.fresh(WEB, 100.99) is YES
    assert known.fresh(WEB, 101.0) is None
    assert not known.without_answer(WEB, 102.0, "no agent").allowed


def test_an_answer_from_before_a_change_is_not_stored() -> None:
    known = cache()
    before = known.generation
    known.invalidate()
    assert not known.store(WEB, YES, 0.0, before)
    assert known.fresh(WEB, 0.0) is None


def test_the_source_used_longest_ago_is_forgotten_first() -> None:
    known = cache()
    for name in "abc":
        known.store((name, ""), YES, 0.0, known.generation)
    known.fresh(("a", ""), 1.0)
    known.store(("d", ""), YES, 1.0, known.generation)
    assert [known.fresh((name, ""), 1.0) is not None for name in "abcd"] == [True, False, True, True]
    assert len(known) == 3


def test_forgetting_refuses_everybody_until_somebody_answers() -> None:
    known = cache()
    known.store(WEB, YES, 0.0, known.generation)
    known.forget()
    assert not known.without_answer(WEB, 0.0, "no agent").allowed
