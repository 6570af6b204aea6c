"""Decisions: the whole table, the examples, and a naive reference that must agree on random rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.acl.authorizer import Access, PermissionDeniedError, Resource, require
from meshnode.acl.model import GLOBAL_MANAGEMENT
from meshnode.acl.policy_authorizer import NamedRules, PolicyAuthorizer, prevailing
from meshnode.acl.rules import UNNAMED, Rule, RuleSet, parse_rules

DENY, READ, LIST, WRITE = Access.DENY, Access.READ, Access.LIST, Access.WRITE
ASKED = (READ, LIST, WRITE)
RULED = [r for r in Resource if r is not Resource.INTENTION]


def of(*texts: str, default_allow: bool = False, key_list_policy: bool = True) -> PolicyAuthorizer:
    named = [NamedRules(f"policy p{number}", parse_rules(text)) for number, text in enumerate(texts)]
    return PolicyAuthorizer(named, default_allow=default_allow, key_list_policy=key_list_policy)


def one(rule: Rule, *, default_allow: bool = False) -> PolicyAuthorizer:
    return PolicyAuthorizer([NamedRules("policy p", RuleSet((rule,)))], default_allow=default_allow)


@pytest.mark.parametrize("default_allow", [False, True])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("granted", list(Access))
@pytest.mark.parametrize("resource", RULED)
def test_a_rule_grants_what_it_says_and_what_is_less(
    resource: Resource, granted: Access, asked: Access, default_allow: bool
) -> None:
    exact = one(
        Rule(resource, "" if resource in UNNAMED else "a", True, granted), default_allow=default_allow
    )
    prefix = one(
        Rule(resource, "" if resource in UNNAMED else "a", False, granted), default_allow=default_allow
    )
    name, below = ("", "") if resource in UNNAMED else ("a", "a/b")
    assert exact.decide(resource, name, asked).allowed is (asked <= granted)
    assert prefix.decide(resource, name, asked).allowed is (asked <= granted)
    assert prefix.decide(resource, below, asked).allowed is (asked <= granted)
    for other in Resource:
        if other is not resource and not (resource is Resource.SERVICE and other is Resource.INTENTION):
            by_default = default_allow and other is not Resource.ACL
            assert exact.decide(other, name, asked).allowed is by_default
            assert prefix.decide(other, name, asked).allowed is by_default
    if resource not in UNNAMED:
        assert exact.decide(resource, below, asked).allowed is default_allow


#: policy of the service, intentions as written -> intentions that may be read, written
INTENTIONS = {
    (DENY, None): (False, False),
    (READ, None): (True, False),
    (WRITE, None): (True, False),
    **{(policy, DENY): (False, False) for policy in (DENY, READ, WRITE)},
    **{(policy, READ): (True, False) for policy in (DENY, READ, WRITE)},
    **{(policy, WRITE): (True, True) for policy in (DENY, READ, WRITE)},
}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("written", list(INTENTIONS), ids=str)
def test_intentions_follow_the_service_unless_they_are_written(
    written: tuple[Access, Access | None], exact: bool
) -> None:
    authorizer = one(Rule(Resource.SERVICE, "web", exact, *written), default_allow=written[0] is DENY)
    expected = INTENTIONS[written]
    assert authorizer.decide(Resource.INTENTION, "web", READ).allowed is expected[0]
    assert authorizer.decide(Resource.INTENTION, "web", WRITE).allowed is expected[1]


#: Of two rules about the same: which prevails.
PREVAILING = {
    (DENY, READ): DENY, (DENY, LIST): DENY, (DENY, WRITE): DENY, (DENY, DENY): DENY,
    (READ, READ): READ, (READ, LIST): LIST, (READ, WRITE): WRITE,
    (LIST, LIST): LIST, (LIST, WRITE): WRITE, (WRITE, WRITE): WRITE,
}  # fmt: skip


@pytest.mark.parametrize("pair", list(PREVAILING), ids=str)
def test_of_the_same_rule_in_two_policies_the_stronger_word_counts(pair: tuple[Access, Access]) -> None:
    for first, second in (pair, pair[::-1]):
        named = [
            NamedRules(name, RuleSet((Rule(Resource.KEY, "a", False, access),)))
            for name, access in (("policy one", first), ("policy two", second))
        ]
        authorizer = PolicyAuthorizer(named, default_allow=False)
        for asked in ASKED:
            assert authorizer.decide(Resource.KEY, "ab", asked).allowed is (asked <= PREVAILING[pair])
    assert prevailing(None, READ) is prevailing(READ, None) is READ
    assert prevailing(None, None) is None


@pytest.mark.parametrize(
    ("name", "access", "allowed", "because"),
    [
        ("app/x", READ, True, 'key "app/x" is under key_prefix "app/" (read) of policy p0'),
        ("app/x", WRITE, False, 'key "app/x" is under key_prefix "app/" (read) of policy p0'),
        ("app/secret", READ, False, 'key "app/secret" is named by key "app/secret" (deny) of policy p1'),
        ("app/secrets", READ, True, 'key "app/secrets" is under key_prefix "app/" (read) of policy p0'),
        ("app/own/x", WRITE, True, 'key "app/own/x" is under key_prefix "app/own/" (write) of policy p1'),
        ("app", READ, False, 'no rule is about key "app", and the default policy is deny'),
        ("a\nb", READ, False, "no rule is about key 'a\\nb', and the default policy is deny"),
        ("x" * 300, READ, False, f'no rule is about key "{"x" * 200}...", and the default policy is deny'),
    ],
)
def test_a_decision_names_the_rule_and_its_policy(
    name: str, access: Access, allowed: bool, because: str
) -> None:
    authorizer = of(
        'key_prefix "app/" { policy = "read" }',
        'key "app/secret" { policy = "deny" }\nkey_prefix "app/own/" { policy = "write" }',
    )
    decision = authorizer.decide(Resource.KEY, name, access)
    assert (decision.allowed, decision.because) == (allowed, because)


def test_the_reason_names_the_policy_whose_word_counted() -> None:
    authorizer = of('operator = "read"', 'operator = "write"', 'operator = "write"')
    assert authorizer.decide(Resource.OPERATOR, "", WRITE).because == "there is operator (write) of policy p1"
    authorizer = of('service "a" { policy = "write" }', 'service "a" { policy = "read" intentions = "deny" }')
    assert authorizer.decide(Resource.INTENTION, "a", READ).because == (
        'intention "a" is named by service "a" (intentions = deny) of policy p1'
    )
    authorizer = of('service "a" { policy = "write" }')
    assert authorizer.decide(Resource.INTENTION, "a", WRITE).because == (
        'intention "a" is named by service "a" (write, so intentions = read) of policy p0'
    )


def test_the_default_policy_never_grants_acl() -> None:
    decision = of(default_allow=True).decide(Resource.ACL, "", READ)
    assert (decision.allowed, decision.because) == (
        False,
        "no rule is about acl, and the default policy never grants it",
    )
    assert of('acl = "read"').decide(Resource.ACL, "", READ).allowed


def test_lists_of_keys_are_free_while_the_list_policy_is_off() -> None:
    rules = 'key_prefix "" { policy = "deny" }'
    assert of(rules, key_list_policy=False).decide(Resource.KEY, "a", LIST).allowed
    assert not of(rules, key_list_policy=False).decide(Resource.KEY, "a", READ).allowed
    assert not of(rules, key_list_policy=True).decide(Resource.KEY, "a", LIST).allowed


@pytest.mark.parametrize(
    ("rules", "prefix", "default_allow", "allowed", "because"),
    [
        ('key_prefix "a/" { policy = "write" }', "a/", False, True, 'key "a/" is under key_prefix "a/" (write)'),
        ('key_prefix "a/" { policy = "write" }', "a/b", False, True, 'key "a/b" is under key_prefix "a/"'),
        ('key_prefix "a/" { policy = "write" }', "a", False, False, 'no rule is about every key under "a"'),
        ('key_prefix "a/" { policy = "write" }', "a", True, True, "the default policy is allow"),
        ('key_prefix "a/" { policy = "read" }', "a", True, False, 'under "a" holds what key_prefix "a/" (read)'),
        ('key "a/x" { policy = "read" }', "a/", True, False, 'holds what key "a/x" (read) of policy p0 is about'),
        ('key "a/x" { policy = "read" }', "b/", True, True, "the default policy is allow"),
        ('key "a" { policy = "write" }', "a", False, False, "no rule is about every key"),
        (
            'key_prefix "" { policy = "write" }\nkey_prefix "a/b" { policy = "deny" }',
            "a/", False, False, 'every key under "a/" holds what key_prefix "a/b" (deny) of policy p0 is about',
        ),
        ('key_prefix "" { policy = "write" }\nkey_prefix "a/b" { policy = "deny" }', "b", False, True, ""),
        ('key_prefix "" { policy = "deny" }\nkey_prefix "a/" { policy = "write" }', "a/", False, True, ""),
        ('key "a" { policy = "read" } key_prefix "a" { policy = "write" }', "a", False, False, 'what key "a" (read)'),
    ],
)  # fmt: skip
def test_a_tree_may_be_deleted_when_every_rule_over_and_in_it_is_write(
    rules: str, prefix: str, default_allow: bool, allowed: bool, because: str
) -> None:
    decision = of(rules, default_allow=default_allow).decide_tree(prefix)
    assert decision.allowed is allowed
    assert because in decision.because


@pytest.mark.parametrize(
    ("rules", "default_allow", "readable", "writable"),
    [
        ("", False, False, False),
        ("", True, True, True),
        ('service "web" { policy = "write" }', False, True, False),
        ('service_prefix "" { policy = "write" intentions = "write" }', False, True, True),
        (
            'service_prefix "" { policy = "write" intentions = "write" } service "a" { policy = "read" }',
            False, True, False,
        ),
        ('service_prefix "" { policy = "deny" }', True, False, False),
        ('service "a" { policy = "deny" }', True, True, False),
    ],
)  # fmt: skip
def test_all_services_are_read_with_any_and_written_with_every_intention(
    rules: str, default_allow: bool, readable: bool, writable: bool
) -> None:
    authorizer = of(rules, default_allow=default_allow)
    assert authorizer.decide(Resource.INTENTION, "*", READ).allowed is readable
    assert authorizer.decide(Resource.INTENTION, "*", WRITE).allowed is writable


def test_only_who_may_do_everything_is_unrestricted() -> None:
    assert of(GLOBAL_MANAGEMENT.rules).unrestricted
    assert of('acl = "write"', default_allow=True).unrestricted
    assert not of(default_allow=True).unrestricted
    assert not of(
        GLOBAL_MANAGEMENT.rules, 'key "a" { policy = "read" } key "a" { policy = "deny" }'
    ).unrestricted
    for missing in ('acl = "write"', 'operator = "write"', 'intentions = "write"'):
        assert not of(GLOBAL_MANAGEMENT.rules.replace(missing, "")).unrestricted
    for resource in Resource:
        assert of(GLOBAL_MANAGEMENT.rules).decide(resource, "x", WRITE).allowed


def test_a_denial_reads_as_consuls_with_its_reason() -> None:
    require(of('key "a" { policy = "read" }'), Resource.KEY, "a", READ)
    with pytest.raises(
        PermissionDeniedError, match=r'^Permission denied: no rule is about key "b", and the default'
    ):
        require(of('key "a" { policy = "read" }'), Resource.KEY, "b", READ)


# The naive reference: every rule is looked at, in the order of the words of the documentation.

names = st.text("ab/", max_size=4)
some_rules = st.lists(
    st.builds(
        Rule,
        st.sampled_from([Resource.KEY, Resource.SERVICE]),
        names,
        st.booleans(),
        st.sampled_from(list(Access)),
        st.none() | st.sampled_from([DENY, READ, WRITE]),
    ),
    max_size=7,
)


def said(rules: list[Rule], resource: Resource, exact: bool, segment: str) -> Access | None:
    """What all rules with this word and name say together."""
    source = Resource.SERVICE if resource is Resource.INTENTION else resource
    same = [r for r in rules if (r.resource, r.exact, r.segment) == (source, exact, segment)]
    order = (DENY, WRITE, LIST, READ)
    policy = next((word for word in order if word in {rule.access for rule in same}), None)
    if resource is not Resource.INTENTION or policy is None:
        return policy
    intentions = next((word for word in order if word in {rule.intentions for rule in same}), None)
    return intentions if intentions is not None else (DENY if policy is DENY else READ)


def naive(rules: list[Rule], resource: Resource, name: str, default: Access) -> Access:
    exact = said(rules, resource, True, name)
    if exact is not None:
        return exact
    for length in range(len(name), -1, -1):
        prefix = said(rules, resource, False, name[:length])
        if prefix is not None:
            return prefix
    return default


@given(st.lists(some_rules, max_size=3), names, st.booleans())
def test_the_reference_agrees_on_every_decision(
    policies: list[list[Rule]], name: str, default_allow: bool
) -> None:
    named = [NamedRules(f"p{i}", RuleSet(tuple(rules))) for i, rules in enumerate(policies)]
    authorizer = PolicyAuthorizer(named, default_allow=default_allow)
    every = [rule for rules in policies for rule in rules]
    default = WRITE if default_allow else DENY
    for resource in (Resource.KEY, Resource.SERVICE, Resource.INTENTION):
        granted = naive(every, resource, name, default)
        for asked in ASKED:
            assert authorizer.decide(resource, name, asked).allowed is (granted >= asked)
    below = [rule for rule in every if rule.resource is Resource.KEY and rule.segment.startswith(name)]
    without_exact = [rule for rule in every if not rule.exact]
    tree = naive(without_exact, Resource.KEY, name, default) is WRITE and all(
        said(every, Resource.KEY, rule.exact, rule.segment) is WRITE for rule in below
    )
    assert authorizer.decide_tree(name).allowed is tree


@given(st.lists(some_rules, max_size=3), st.booleans())
def test_the_order_of_policies_changes_nothing(policies: list[list[Rule]], default_allow: bool) -> None:
    named = [NamedRules(f"p{i}", RuleSet(tuple(rules))) for i, rules in enumerate(policies)]
    one_way = PolicyAuthorizer(named, default_allow=default_allow)
    other_way = PolicyAuthorizer(named[::-1], default_allow=default_allow)
    for name in ("", "a", "ab", "a/b"):
        for asked in ASKED:
            ours = one_way.decide(Resource.KEY, name, asked).allowed
            assert ours is other_way.decide(Resource.KEY, name, asked).allowed


def test_a_look_up_tries_one_prefix_for_each_length_not_each_rule() -> None:
    rules = RuleSet(tuple(Rule(Resource.KEY, f"{n:06}", False, READ) for n in range(5000)))
    authorizer = PolicyAuthorizer([NamedRules("p", rules)], default_allow=False)
    assert authorizer._tables[Resource.KEY]._lengths == [6]
    assert authorizer.decide(Resource.KEY, "004999/x", READ).allowed
    assert not authorizer.decide(Resource.KEY, "00499", READ).allowed
