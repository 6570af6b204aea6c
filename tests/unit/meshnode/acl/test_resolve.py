"""From secrets to rights: what a token is made of, what the configuration adds, and when the answer is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshnode.acl import resolve as module
from meshnode.acl.authorizer import ALLOW_ALL, Access, Authorizer, Resource
from meshnode.acl.model import (
    ANONYMOUS_ACCESSOR,
    GLOBAL_MANAGEMENT_ID,
    AclNotFoundError,
    Policy,
    Role,
    ServiceIdentity,
    Token,
)
from meshnode.acl.resolve import MAX_RESOLVED, AclSettings, authorizer_of_texts, policy_texts, resolve
from meshnode.acl.store import AclStore
from meshnode.base.errors import ConfigError

ON = AclSettings(
    enabled=True,
    default_allow=False,
    key_list_policy=True,
    datacenter="dc1",
    node_name="node1",
    master_token="master",
    agent_master_token="agent-master",
)
READ, WRITE = Access.READ, Access.WRITE


def rule(resource: str, name: str, policy: str = "read") -> str:
    return f'{resource} "{name}" {{ policy = "{policy}" }}\n'


@pytest.fixture
def store() -> AclStore:
    store = AclStore(set())
    store.set_policy(2, Policy("p1", "one", rules=rule("key", "a")), create=True)
    store.set_policy(3, Policy("p2", "two", rules=rule("key", "b")), create=True)
    store.set_policy(4, Policy("p3", "far", rules=rule("key", "c"), datacenters=("dc2",)), create=True)
    near, far = ServiceIdentity("web", ("dc1",)), ServiceIdentity("db", ("dc2",))
    store.set_role(5, Role("r1", "role", policies=("p2",), service_identities=(near, far)), create=True)
    store.set_token(6, Token("a1", "s1", policies=("p1", "p3"), roles=("r1",)), create=True)
    store.set_token(
        7, Token("a2", "s2", legacy_type="client", rules=rule("key", "old/", "write")), create=True
    )
    store.set_token(8, Token("a3", "s3", policies=(GLOBAL_MANAGEMENT_ID,)), create=True)
    return store


def may(authorizer: Authorizer, resource: Resource, name: str, access: Access) -> bool:
    return authorizer.decide(resource, name, access).allowed


def test_while_access_control_is_off_everything_is_allowed(store: AclStore) -> None:
    assert resolve(store, "whatever", AclSettings(), 0.0) is ALLOW_ALL


def test_a_token_has_the_rights_of_its_policies_roles_and_identities_in_this_datacenter(
    store: AclStore,
) -> None:
    authorizer = resolve(store, "s1", ON, 0.0)
    assert [may(authorizer, Resource.KEY, name, READ) for name in "abc"] == [True, True, False]
    assert may(authorizer, Resource.SERVICE, "web", WRITE)
    assert not may(authorizer, Resource.SERVICE, "db", WRITE)
    assert authorizer.decide(Resource.KEY, "b", READ).because.endswith("of policy two")
    assert authorizer.decide(Resource.SERVICE, "web", READ).because.endswith("of service identity web")
    elsewhere = resolve(store, "s1", replace(ON, datacenter="dc2"), 0.0)
    assert may(elsewhere, Resource.KEY, "c", READ)
    assert may(elsewhere, Resource.SERVICE, "db", WRITE)


def test_a_legacy_token_has_its_own_rules_which_are_about_prefixes(store: AclStore) -> None:
    decision = resolve(store, "s2", ON, 0.0).decide(Resource.KEY, "old/x", WRITE)
    assert decision.allowed
    assert decision.because == 'key "old/x" is under key_prefix "old/" (write) of the token\'s own rules'


def test_a_management_token_is_unrestricted(store: AclStore) -> None:
    assert resolve(store, "s3", ON, 0.0).unrestricted


@pytest.mark.parametrize("default_allow", [True, False])
def test_no_secret_is_the_anonymous_token(store: AclStore, default_allow: bool) -> None:
    settings = replace(ON, default_allow=default_allow)
    assert may(resolve(store, "", settings, 0.0), Resource.KEY, "x", READ) is default_allow
    store.set_token(9, Token(ANONYMOUS_ACCESSOR, "anonymous", policies=("p1",)), create=False)
    assert may(resolve(store, "", settings, 0.0), Resource.KEY, "a", READ)
    assert may(resolve(store, "anonymous", settings, 0.0), Resource.KEY, "a", READ)


@pytest.mark.parametrize("secret", ["nope", "S1", "a1", "manage", "allow"])
def test_an_unknown_secret_is_refused_and_not_remembered(store: AclStore, secret: str) -> None:
    with pytest.raises(AclNotFoundError, match=r"^ACL not found$"):
        resolve(store, secret, ON, 0.0)
    assert not store.resolved


def test_the_tokens_of_the_configuration_need_no_row(store: AclStore) -> None:
    assert resolve(store, "master", ON, 0.0).unrestricted
    agent = resolve(store, "agent-master", ON, 0.0)
    assert may(agent, Resource.AGENT, "node1", WRITE)
    assert not may(agent, Resource.AGENT, "node2", READ)
    assert may(agent, Resource.NODE, "any", READ)
    assert not may(agent, Resource.NODE, "node1", WRITE)
    for secret in ("master", "agent-master"):
        with pytest.raises(AclNotFoundError):
            resolve(store, secret, replace(ON, master_token="", agent_master_token=""), 0.0)


def test_settings_never_show_a_secret() -> None:
    assert "master'" not in repr(ON)
    assert "agent-master" not in repr(ON)


def test_an_answer_is_kept_until_the_tables_change(store: AclStore) -> None:
    first = resolve(store, "s1", ON, 0.0)
    assert resolve(store, "s1", ON, 1.0) is first
    assert resolve(store, "s1", replace(ON, default_allow=True), 1.0) is not first
    store.set_policy(9, Policy("p1", "one", rules=rule("key", "z")), create=False)
    second = resolve(store, "s1", ON, 2.0)
    assert [may(second, Resource.KEY, name, READ) for name in "az"] == [False, True]


def test_tokens_with_the_same_policies_share_one_authorizer(store: AclStore) -> None:
    store.set_token(9, Token("a4", "s4", policies=("p1",)), create=True)
    store.set_token(10, Token("a5", "s5", policies=("p1",)), create=True)
    assert resolve(store, "s4", ON, 0.0) is resolve(store, "s5", ON, 0.0)


def test_a_token_ends_at_its_time_even_when_its_rights_are_known(store: AclStore) -> None:
    store.set_token(9, Token("a4", "s4", policies=("p1",), expiration_time=100.0), create=True)
    assert may(resolve(store, "s4", ON, 99.0), Resource.KEY, "a", READ)
    with pytest.raises(AclNotFoundError):
        resolve(store, "s4", ON, 100.0)
    with pytest.raises(AclNotFoundError):
        resolve(AclStore(set()), "s4", ON, 99.0)


def test_a_deleted_token_is_worth_nothing_at_once(store: AclStore) -> None:
    resolve(store, "s1", ON, 0.0)
    store.delete_token(9, "a1")
    with pytest.raises(AclNotFoundError):
        resolve(store, "s1", ON, 0.0)


def test_so_many_answers_are_kept_and_not_one_more(store: AclStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_RESOLVED == 4096
    monkeypatch.setattr(module, "MAX_RESOLVED", 4)
    store.set_token(9, Token("a4", "s4"), create=True)
    for secret in ("s1", "s2"):
        resolve(store, secret, ON, 0.0)
    assert len(store.resolved) == 4
    resolve(store, "s4", ON, 0.0)
    assert len(store.resolved) == 2


def test_an_agent_without_the_tables_comes_to_the_same_rights(store: AclStore) -> None:
    for secret in ("s1", "s2", "s3"):
        token = store.token_by_secret(secret)
        assert token is not None
        ours = resolve(store, secret, ON, 0.0)
        theirs = authorizer_of_texts(policy_texts(store, token, "dc1"), ON)
        assert theirs.unrestricted is ours.unrestricted
        for resource in Resource:
            for name in ("", "a", "b", "c", "web", "db", "old/x"):
                for access in (READ, WRITE):
                    assert theirs.decide(resource, name, access) == ours.decide(resource, name, access)


def test_texts_that_are_no_rules_name_where_they_are_from() -> None:
    with pytest.raises(ConfigError, match=r"^policy x:1:1: no rule is called"):
        authorizer_of_texts([("policy x", "foo = 1", False)], ON)
