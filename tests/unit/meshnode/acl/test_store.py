"""The tables: what may be written, what is refused and why, and that links never dangle."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.acl.model import (
    ANONYMOUS,
    ANONYMOUS_ACCESSOR,
    GLOBAL_MANAGEMENT,
    GLOBAL_MANAGEMENT_ID,
    Policy,
    Role,
    ServiceIdentity,
    Token,
    bootstrap_token,
    master_token,
)
from meshnode.acl.rules import parse_rules
from meshnode.acl.store import ACL, AclStore

READ_KEYS = 'key_prefix "" { policy = "read" }'


def filled() -> tuple[AclStore, set[tuple[str, ...]]]:
    touched: set[tuple[str, ...]] = set()
    store = AclStore(touched)
    assert not store.set_policy(2, Policy("p1", "reader", rules=READ_KEYS), create=True)
    assert not store.set_role(3, Role("r1", "role", policies=("p1",)), create=True)
    assert not store.set_token(4, Token("a1", "s1", policies=("p1",), roles=("r1",)), create=True)
    touched.clear()
    return store, touched


def test_the_anonymous_token_and_the_policy_for_everything_are_always_there() -> None:
    touched: set[tuple[str, ...]] = set()
    store = AclStore(touched)
    assert (store.tokens(), store.policies(), store.roles()) == ([ANONYMOUS], [GLOBAL_MANAGEMENT], [])
    assert store.token_by_secret("anonymous") == ANONYMOUS
    assert store.token(ANONYMOUS_ACCESSOR) == ANONYMOUS
    assert store.policy_named("Global-Management") == GLOBAL_MANAGEMENT
    assert store.rules_of(GLOBAL_MANAGEMENT_ID) == parse_rules(GLOBAL_MANAGEMENT.rules)
    assert (store.index, store.bootstrap_index, touched) == (0, 0, set())


def test_what_is_written_is_found_by_each_of_its_names() -> None:
    store, _ = filled()
    token = Token("a1", "s1", policies=("p1",), roles=("r1",), create_index=4, modify_index=4)
    assert store.token("A1") == store.token_by_secret("s1") == token
    assert store.token_by_secret("S1") is None, "secrets don't ignore case"
    assert store.policy("P1") == store.policy_named("READER")
    assert store.role("R1") == store.role_named("ROLE")
    assert store.rules_of("p1") == parse_rules(READ_KEYS)


def test_a_change_keeps_the_create_index_and_touches_the_watch_key() -> None:
    store, touched = filled()
    assert not store.set_token(7, Token("a1", "s1", "new"), create=False)
    changed = store.token("a1")
    assert changed is not None
    assert (changed.description, changed.create_index, changed.modify_index) == ("new", 4, 7)
    assert (store.index, touched) == (7, {ACL})


def test_every_change_forgets_what_was_resolved() -> None:
    store, _ = filled()
    for index, change in enumerate(
        (
            lambda i: store.set_token(i, Token("a2", "s2", expiration_time=5.0), create=True),
            lambda i: store.reap_tokens(i, 5.0),
            lambda i: store.delete_token(i, "a1"),
            lambda i: store.set_policy(i, Policy("p1", "reader"), create=False),
            lambda i: store.delete_policy(i, "p1"),
            lambda i: store.set_role(i, Role("r1", "role"), create=False),
            lambda i: store.delete_role(i, "r1"),
            lambda i: store.bootstrap(i, bootstrap_token("b", "bs", 1.0), 0),
        ),
        10,
    ):
        store.resolved["x"] = None  # type: ignore[assignment]
        change(index)
        assert (store.resolved, store.index) == ({}, index)


@pytest.mark.parametrize(
    ("token", "create", "because"),
    [
        (Token("", "s"), True, "no AccessorID is set"),
        (Token("a", ""), True, "Missing ACL ID"),
        (Token("a" * 257, "s"), True, "AccessorID must have at most 256 printable characters"),
        (Token("a", "s" * 257), True, "SecretID must have at most 256 printable characters"),
        (Token("a", "se\ncret"), True, "SecretID must have at most 256 printable characters"),
        (Token("a", "manage"), True, "Permission denied: Cannot modify root ACL"),
        (Token("A1", "s"), True, 'AccessorID "A1" is already in use'),
        (Token("a", "s1"), True, "SecretID is already in use"),
        (Token("a", "s"), False, 'Cannot find token "a"'),
        (Token("a1", "other"), False, "Changing a tokens SecretID is not permitted"),
        (Token("a1", "s1", local=True), False, 'cannot toggle local mode of "a1"'),
        (Token("a1", "s1", expiration_time=5.0), False, "Cannot change expiration time"),
        (Token("a", "s", policies=("p2",)), True, 'No such ACL policy with ID "p2"'),
        (Token("a", "s", roles=("r2",)), True, 'No such ACL role with ID "r2"'),
        (Token("a", "s", legacy_type="boss"), True, "Invalid ACL Type: write client or management"),
        (Token("a", "s", legacy_type="client", rules="keyy"), True, "ACL rule compilation failed: Rules:1:5"),
        (Token("a", "s", service_identities=(ServiceIdentity(""),)), True, "missing the service name"),
        (Token("a", "s", service_identities=(ServiceIdentity('x" {'),)), True, "has an invalid name"),
        (Token("a", "s", service_identities=(ServiceIdentity("Web"),)), True, "has an invalid name"),
    ],
)
def test_a_token_that_can_not_be_is_refused_whole(token: Token, create: bool, because: str) -> None:
    store, touched = filled()
    before = store.tokens()
    fault = store.set_token(9, token, create=create)
    assert because in fault
    assert (store.tokens(), store.index, touched) == (before, 4, set())


@pytest.mark.parametrize(
    ("policy", "create", "because"),
    [
        (Policy("", "x"), True, "no ID is set"),
        (Policy("p", ""), True, "Invalid Policy: no Name is set"),
        (Policy("p", "a b"), True, "Only alphanumeric characters"),
        (Policy("p", "a" * 129), True, "at most 128 of them"),
        (Policy("p", "x", rules='key "a" {}'), True, 'Invalid Policy: Rules:1:9: key "a" has no policy'),
        (Policy("p", "READER"), True, 'A Policy with Name "READER" already exists'),
        (Policy("p1", "x"), True, 'Invalid Policy: ID "p1" is already in use'),
        (Policy("p", "x"), False, 'Cannot find policy "p"'),
        (Policy("p1", "global-management"), False, "already exists"),
        (replace(GLOBAL_MANAGEMENT, rules=""), False, "Changing the Rules for the builtin global-management"),
        (replace(GLOBAL_MANAGEMENT, datacenters=("dc1",)), False, "Changing the Datacenters of the builtin"),
    ],
)
def test_a_policy_that_can_not_be_is_refused_whole(policy: Policy, create: bool, because: str) -> None:
    store, touched = filled()
    before = store.policies()
    assert because in store.set_policy(9, policy, create=create)
    assert (store.policies(), store.index, touched) == (before, 4, set())


@pytest.mark.parametrize(
    ("role", "create", "because"),
    [
        (Role("", "x"), True, "no ID is set"),
        (Role("r", ""), True, "Invalid Role: no Name is set"),
        (Role("r", "a b"), True, "Only alphanumeric characters"),
        (Role("r", "a" * 257), True, "at most 256 of them"),
        (Role("r", "ROLE"), True, 'A Role with Name "ROLE" already exists'),
        (Role("r1", "x"), True, 'Invalid Role: ID "r1" is already in use'),
        (Role("r", "x"), False, 'Cannot find role "r"'),
        (Role("r", "x", policies=("p2",)), True, 'No such ACL policy with ID "p2"'),
        (Role("r", "x", service_identities=(ServiceIdentity(""),)), True, "missing the service name"),
    ],
)
def test_a_role_that_can_not_be_is_refused_whole(role: Role, create: bool, because: str) -> None:
    store, _ = filled()
    before = store.roles()
    assert because in store.set_role(9, role, create=create)
    assert (store.roles(), store.index) == (before, 4)


def test_names_of_the_longest_length_are_taken() -> None:
    store, _ = filled()
    assert not store.set_policy(9, Policy("p", "a" * 128), create=True)
    assert not store.set_role(9, Role("r", "a" * 256), create=True)
    assert not store.set_token(9, Token("a" * 256, "s" * 256), create=True)


def test_a_refusal_never_shows_the_secret() -> None:
    store, _ = filled()
    for token in (Token("a1", "hunter2"), Token("", "hunter2"), Token("a", "hunter2\n")):
        assert "hunter2" not in store.set_token(9, token, create=False) + repr(token)


def test_a_new_name_frees_the_old_one() -> None:
    store, _ = filled()
    assert not store.set_policy(9, Policy("p1", "writer"), create=False)
    assert not store.set_role(9, Role("r1", "other"), create=False)
    assert (store.policy_named("reader"), store.role_named("role")) == (None, None)
    assert not store.set_policy(9, Policy("p2", "reader"), create=True)
    assert not store.set_role(9, Role("r2", "role"), create=True)


def test_the_words_of_the_builtin_policy_may_change() -> None:
    store, _ = filled()
    assert not store.set_policy(9, replace(GLOBAL_MANAGEMENT, description="all"), create=False)


def test_deleting_a_policy_or_a_role_takes_the_links_to_it_along() -> None:
    store, _ = filled()
    assert not store.delete_policy(9, "P1")
    token, role = store.token("a1"), store.role("r1")
    assert token is not None
    assert role is not None
    assert (token.policies, token.roles, token.modify_index) == ((), ("r1",), 9)
    assert (role.policies, role.modify_index) == ((), 9)
    assert not store.delete_role(10, "R1")
    token = store.token("a1")
    assert token is not None
    assert (token.roles, token.modify_index) == ((), 10)


def test_links_are_kept_once_and_in_lower_case() -> None:
    store, _ = filled()
    assert not store.set_token(9, Token("a", "s", policies=("P1", "p1"), roles=("R1", "r1")), create=True)
    assert not store.set_role(9, Role("r", "x", policies=("P1", "p1")), create=True)
    token, role = store.token("a"), store.role("r")
    assert token is not None
    assert role is not None
    assert (token.policies, token.roles, role.policies) == (("p1",), ("r1",), ("p1",))


def test_what_is_not_there_is_deleted_already() -> None:
    store, touched = filled()
    assert not store.delete_token(9, "x")
    assert not store.delete_policy(9, "x")
    assert not store.delete_role(9, "x")
    assert (store.index, touched) == (4, set())


def test_what_is_built_in_can_not_be_deleted() -> None:
    store, _ = filled()
    assert "anonymous token" in store.delete_token(9, ANONYMOUS_ACCESSOR)
    assert "builtin global-management policy" in store.delete_policy(9, GLOBAL_MANAGEMENT_ID)


def test_a_deleted_token_is_gone_under_both_names() -> None:
    store, touched = filled()
    assert not store.delete_token(9, "A1")
    assert (store.token("a1"), store.token_by_secret("s1"), touched) == (None, None, {ACL})
    assert not store.set_token(10, Token("a1", "s1"), create=True)


def test_the_first_token_is_made_once_and_again_only_with_the_index_of_the_last_time() -> None:
    store, _ = filled()
    assert not store.bootstrap(9, bootstrap_token("b1", "bs1", 5.0), 0)
    assert store.bootstrap_index == 9
    made = store.token_by_secret("bs1")
    assert made is not None
    assert (made.policies, made.create_time) == ((GLOBAL_MANAGEMENT_ID,), 5.0)
    again = bootstrap_token("b2", "bs2", 6.0)
    assert store.bootstrap(10, again, 0) == "ACL bootstrap no longer allowed (reset index: 9)"
    assert store.bootstrap(10, again, 8) == "Invalid ACL bootstrap reset index 8: write 9"
    assert store.token_by_secret("bs2") is None
    assert not store.bootstrap(11, again, 9)
    assert store.bootstrap_index == 11
    assert "reset index: 11" in store.bootstrap(12, bootstrap_token("b3", "bs3", 7.0), 0)


def test_where_somebody_can_do_everything_there_is_no_first_token_to_make() -> None:
    store, _ = filled()
    assert store.reset_index() == 0
    assert not store.set_token(9, master_token("m", "ms", 1.0), create=True)
    first = bootstrap_token("b1", "bs1", 5.0)
    assert store.bootstrap(10, first, 0) == "ACL bootstrap no longer allowed (reset index: 9)"
    assert not store.bootstrap(11, first, 9)
    assert store.reset_index() == 11


def test_tokens_that_are_over_are_reaped_and_the_next_end_is_known() -> None:
    store, touched = filled()
    for name, until in (("x", 100.0), ("y", 50.0), ("z", 0.0)):
        assert not store.set_token(9, Token(name, f"s-{name}", expiration_time=until), create=True)
    touched.clear()
    assert store.next_expiration() == 50.0
    assert (store.reap_tokens(10, 49.9), touched) == (0, set())
    assert (store.reap_tokens(10, 50.0), touched) == (1, {ACL})
    assert (store.token("y"), store.next_expiration()) == (None, 100.0)
    assert store.reap_tokens(11, 1000.0) == 1
    assert store.token("z") is not None
    assert store.next_expiration() == 0.0


ids = st.sampled_from(["1", "2", "3"])
actions = st.one_of(
    st.tuples(st.just("policy"), ids, st.booleans()),
    st.tuples(st.just("role"), ids, st.booleans(), st.lists(ids, max_size=2)),
    st.tuples(st.just("token"), ids, st.booleans(), st.lists(ids, max_size=2), st.lists(ids, max_size=2)),
    st.tuples(st.sampled_from(["-policy", "-role", "-token"]), ids),
)


@given(st.lists(actions, max_size=25))
def test_no_history_leaves_a_link_to_what_is_gone(history: list[tuple[object, ...]]) -> None:
    store = AclStore(set())
    for key in ("1", "2"):
        assert not store.set_policy(2, Policy(f"p{key}", f"n{key}"), create=True)
    for key in ("1", "2"):
        assert not store.set_role(3, Role(f"r{key}", f"n{key}", policies=("p1", "p2")), create=True)
    for key in ("1", "2", "3"):
        linked = Token(f"a{key}", f"s{key}", "", ("p1", "p2"), ("r1", "r2"))
        assert not store.set_token(4, linked, create=True)
    for index, action in enumerate(history, 5):
        match action:
            case ("policy", str(key), bool(create)):
                store.set_policy(index, Policy(f"p{key}", f"n{key}"), create=create)
            case ("role", str(key), bool(create), list(policies)):
                role = Role(f"r{key}", f"n{key}", policies=tuple(f"p{p}" for p in policies))
                store.set_role(index, role, create=create)
            case ("token", str(key), bool(create), list(policies), list(roles)):
                linked = tuple(f"p{p}" for p in policies), tuple(f"r{r}" for r in roles)
                store.set_token(index, Token(f"a{key}", f"s{key}", "", *linked), create=create)
            case ("-policy", str(key)):
                store.delete_policy(index, f"p{key}")
            case ("-role", str(key)):
                store.delete_role(index, f"r{key}")
            case ("-token", str(key)):
                store.delete_token(index, f"a{key}")
    for holder in (*store.tokens(), *store.roles()):
        assert all(store.policy(link) is not None for link in holder.policies)
        assert holder.create_index <= holder.modify_index <= max(store.index, 1)
    for token in store.tokens():
        assert all(store.role(link) is not None for link in token.roles)
        assert store.token_by_secret(token.secret_id) is token
    for policy in store.policies():
        assert store.policy_named(policy.name) is policy
    copy = AclStore(set())
    copy.load(store.policies(), store.roles(), store.tokens())
    assert (copy.policies(), copy.roles(), copy.tokens()) == (store.policies(), store.roles(), store.tokens())
