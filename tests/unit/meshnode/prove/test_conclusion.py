"""The whole table: what each judgement comes to, alone and next to others."""

from __future__ import annotations

from collections import Counter

import pytest

from meshnode.prove.conclusion import Outcome, conclude, conclude_control
from meshnode.prove.verdict import PortVerdict

WORD = "canary4f1c9a77b2"
KINDS = {
    "encrypted": "tls",
    "sealed": "sealed",
    "plaintext": "plaintext",
    "unknown": "unknown",
    "unopened": "unopened",
}


def port(number: int, judgement: str) -> PortVerdict:
    found = PortVerdict(number)
    if judgement in KINDS:
        found.findings = Counter({(KINDS[judgement], "what was seen"): 1})
        found.payload_bytes = 10
    if judgement == "canary":
        found.findings = Counter({("sealed", "x"): 1})
        found.payload_bytes, found.canaries = 10, {WORD}
    if judgement == "missing":
        found.findings = Counter({("tls", "x"): 1})
        found.payload_bytes, found.missing_bytes = 10, 5
    return found


@pytest.mark.parametrize(
    ("judgement", "outcome"),
    [
        ("encrypted", Outcome.PROVED),
        ("sealed", Outcome.PROVED),
        ("plaintext", Outcome.FAILED),
        ("canary", Outcome.FAILED),
        ("unknown", Outcome.FAILED),
        ("missing", Outcome.FAILED),
        ("unopened", Outcome.VOID),
        ("silent", Outcome.VOID),
    ],
)
def test_each_judgement_of_the_only_port(judgement: str, outcome: Outcome) -> None:
    found = conclude([port(8300, judgement)], [WORD], (), (), [])
    assert found.outcome is outcome
    assert "8300" in str(found)
    assert str(found).startswith(outcome.upper() + ": ")


@pytest.mark.parametrize("other", ["plaintext", "canary", "unknown", "missing"])
@pytest.mark.parametrize("problems", [[], ["x.pcap is cut short"]])
def test_a_leak_wins_over_everything(other: str, problems: list[str]) -> None:
    verdicts = [port(8300, "encrypted"), port(8301, "unopened"), port(8500, other)]
    found = conclude(verdicts, [WORD], (), (8302,), problems)
    assert found.outcome is Outcome.FAILED
    assert "port 8500" in str(found)


def test_a_readable_port_may_be_readable_and_proves_nothing_alone() -> None:
    verdicts = [port(8300, "encrypted"), port(8500, "canary")]
    assert conclude(verdicts, [WORD], (8500,), (), []).outcome is Outcome.PROVED
    assert conclude(verdicts[1:], [WORD], (8500,), (), []).outcome is Outcome.VOID


def test_a_required_port_that_is_silent_and_a_problem_of_a_capture_void_it() -> None:
    verdicts = [port(8300, "encrypted"), port(8301, "silent")]
    assert conclude(verdicts, [], (), (8300,), []).outcome is Outcome.PROVED
    assert (
        str(conclude(verdicts, [], (), (8301,), []))
        == "VOID: port 8301 carried nothing, so nothing is known about it."
    )
    assert conclude(verdicts, [], (), (), ["x is cut short"]).outcome is Outcome.VOID


def test_a_control_needs_each_canary_on_each_required_port() -> None:
    verdicts = [port(8300, "canary"), port(8301, "plaintext")]
    assert conclude_control(verdicts, [WORD], (), []).outcome is Outcome.PROVED
    assert conclude_control(verdicts, [WORD], (8300,), []).outcome is Outcome.PROVED
    found = conclude_control(verdicts, [WORD], (8300, 8301), [])
    assert found.outcome is Outcome.VOID
    assert "1 canary of 1 not found on port 8301" in str(found)
    assert conclude_control(verdicts, [WORD, "another-canary"], (), []).outcome is Outcome.VOID


def test_a_control_without_canaries_or_traffic_controls_nothing() -> None:
    assert conclude_control([port(8300, "plaintext")], [], (), []).outcome is Outcome.VOID
    assert conclude_control([port(8300, "silent")], [WORD], (), []).outcome is Outcome.VOID
