"""Templates: what names make of them, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.control.prepared.model import Failover, PreparedQuery, ServiceQuery, Template
from meshnode.control.prepared.template import MAX_INTERPOLATIONS, render, template_fault

GEO = r"^geo-db-(.*?)-([^\-]+?)$"


def template(
    service: ServiceQuery, name: str = "geo-db", regexp: str = "", empty: bool = False
) -> PreparedQuery:
    return PreparedQuery("id", service, name, template=Template("name_prefix_match", regexp, empty))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mysql-${match(1)}", "mysql-customer"),
        ("${ match( 2 ) }", "primary"),
        ("${match(0)}", "geo-db-customer-primary"),
        ("a${match(3)}b", "ab"),
        ("${name.full}", "geo-db-customer-primary"),
        ("${name.prefix}|${name.suffix}", "geo-db|-customer-primary"),
        ("${agent.segment}", "alpha"),
        ("$${name.full}", "${name.full}"),
        ("cost$", "cost$"),
    ],
)
def test_a_field_becomes_what_the_name_says(text: str, expected: str) -> None:
    query = template(ServiceQuery(text), regexp=GEO)
    assert template_fault(query) == ""
    assert render(query, "geo-db-customer-primary", "alpha").service.service == expected


def test_every_text_of_the_service_is_a_template_and_nothing_else() -> None:
    service = ServiceQuery(
        "${name.full}",
        Failover(1, ("${name.full}",)),
        ignore_check_ids=("${name.full}",),
        near="${name.full}",
        tags=("!${name.full}",),
        node_meta={"${name.full}": "${name.full}"},
        service_meta={"k": "${name.full}"},
        connect=True,
    )
    query = template(service, name="")
    assert render(query, "X").service == ServiceQuery(
        "X", Failover(1, ("X",)), False, ("X",), "X", ("!X",), {"${name.full}": "X"}, {"k": "X"}, True
    )
    assert (render(query, "X").name, render(query, "X").id) == ("", "id")


def test_a_regexp_that_does_not_match_leaves_nothing() -> None:
    assert render(template(ServiceQuery("a-${match(1)}"), regexp=GEO), "geo-db").service.service == "a-"


@pytest.mark.parametrize(("empty", "tags"), [(False, ("", "b")), (True, ("b",))])
def test_empty_tags_go_when_that_is_asked_for(empty: bool, tags: tuple[str, ...]) -> None:
    query = template(ServiceQuery("s", tags=("${name.suffix}", "b")), empty=empty)
    assert render(query, "geo-db").service.tags == tags


@pytest.mark.parametrize(
    ("service", "regexp", "because"),
    [
        (
            ServiceQuery("${name.ful}"),
            "",
            r"Service.Service: unknown variable \$\{name.ful\}: did you mean name.full\?",
        ),
        (
            ServiceQuery("s", near="${nope()}"),
            "",
            r"Service.Near: unknown variable \$\{nope\(\)\}: use one of name.full",
        ),
        (ServiceQuery("s", tags=("${name.full",)), "", r"Service.Tags: a \$\{ is never closed"),
        (ServiceQuery("s", node_meta={"k": "${}"}), "", "Service.NodeMeta: unknown variable"),
        (ServiceQuery("s", failover=Failover(0, ("${x}",))), "", "Service.Failover.Datacenters: unknown"),
        (ServiceQuery("s"), "(a", r"Bad Regexp '\(a': the regular expression"),
        (ServiceQuery("${name.full}" * (MAX_INTERPOLATIONS + 1)), "", f"at most {MAX_INTERPOLATIONS}"),
    ],
)
def test_what_can_not_be_rendered_is_refused_by_its_field(
    service: ServiceQuery, regexp: str, because: str
) -> None:
    with pytest.raises(AssertionError, match=because):
        assert template_fault(template(service, regexp=regexp)) == ""


def test_as_many_interpolations_as_allowed_are_allowed() -> None:
    assert template_fault(template(ServiceQuery("${name.full}" * MAX_INTERPOLATIONS))) == ""


@given(st.text("${}name.fulmtch(1) ", max_size=40), st.text("ab", max_size=5))
def test_any_text_is_refused_or_rendered(text: str, name: str) -> None:
    query = template(ServiceQuery(text), name="")
    if not template_fault(query):
        assert isinstance(render(query, name).service.service, str)
