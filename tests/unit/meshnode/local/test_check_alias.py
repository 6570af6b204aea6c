"""Which status an alias takes: the worst of its service's checks and its node's."""

from __future__ import annotations

import itertools

import pytest

from meshnode.catalog.model import Check
from meshnode.local.check_alias import MAX_BACKOFF, alias_result, backoff, lookup_failure
from meshnode.local.check_type import AliasCheck

WEB = AliasCheck(service_id="web")


def check(status: str, *, service: str = "web", node: str = "n1", check_id: str = "c") -> Check:
    return Check(node, check_id, name=f"check {status}", status=status, output="out", service_id=service)


@pytest.mark.parametrize("statuses", [*itertools.product(["passing", "warning", "critical"], repeat=3)])
def test_the_worst_status_wins_in_any_order(statuses: tuple[str, ...]) -> None:
    worst = max(statuses, key=["passing", "warning", "critical"].index)
    result = alias_result(WEB, [check(status) for status in statuses])
    text = "All checks passing." if worst == "passing" else f'Aliased check "check {worst}" failing: out'
    assert result == (worst, text)


def test_no_check_at_all_passes() -> None:
    assert alias_result(WEB, []) == ("passing", "No checks found.")


def test_checks_of_the_node_count_and_those_of_other_services_do_not() -> None:
    assert alias_result(WEB, [check("critical", service="db")]).output == "No checks found."
    assert alias_result(WEB, [check("critical", service="")]).status == "critical"
    assert (
        alias_result(AliasCheck(node="n1"), [check("critical"), check("passing", service="")]).status
        == "passing"
    )


def test_checks_of_other_nodes_do_not_count_and_names_have_no_case() -> None:
    alias = AliasCheck(node="N1", service_id="web")
    assert alias_result(alias, [check("critical", node="n2"), check("warning")]).status == "warning"


def test_an_alias_of_its_node_does_not_keep_itself_critical() -> None:
    own = check("critical", service="", check_id="alias")
    assert alias_result(AliasCheck(node="n1"), [own], own_id="alias").status == "passing"


def test_a_failed_look_up_says_why() -> None:
    assert lookup_failure(OSError("No cluster leader")) == (
        "critical",
        "Failure checking aliased node or service: No cluster leader",
    )


def test_failures_wait_longer_and_longer_but_never_not_at_all() -> None:
    waits = [backoff(failures) for failures in range(1, 200)]
    assert waits[:6] == [1, 1, 1, 2, 4, 8]
    assert waits == sorted(waits)
    assert waits[-1] == MAX_BACKOFF
