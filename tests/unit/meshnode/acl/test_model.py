"""Hashes that follow the content, and values that keep their secret."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshnode.acl.authorizer import Access, Resource
from meshnode.acl.model import (
    GLOBAL_MANAGEMENT,
    AclNotFoundError,
    Policy,
    Role,
    ServiceIdentity,
    Token,
    policy_fault,
    token_fault,
)
from meshnode.acl.policy_authorizer import NamedRules, PolicyAuthorizer
from meshnode.acl.rules import parse_rules
from meshnode.control.command import AclBootstrap, AclTokenSet

IDENTITY = ServiceIdentity("web")
TOKEN = Token("a", "secret-1", "d", ("p",), ("r",), (IDENTITY,))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TOKEN, replace(TOKEN, description="e")),
        (TOKEN, replace(TOKEN, policies=("q",))),
        (TOKEN, replace(TOKEN, policies=("p", "r"), roles=())),
        (TOKEN, replace(TOKEN, service_identities=(ServiceIdentity("web", ("dc1",)),))),
        (TOKEN, replace(TOKEN, local=True)),
        (TOKEN, replace(TOKEN, legacy_type="client")),
        (Policy("p", "n"), Policy("p", "n", rules='acl = "read"')),
        (Policy("p", "ab", "c"), Policy("p", "a", "bc")),
        (Policy("p", "n"), Policy("p", "n", datacenters=("dc1",))),
        (Role("r", "n"), Role("r", "n", policies=("p",))),
    ],
)
def test_a_hash_changes_with_the_content(one: Token, other: Token) -> None:
    assert len(one.hash) == 32
    assert one.hash == replace(one, create_index=5, modify_index=9).hash
    assert one.hash != other.hash


def test_no_value_shows_a_secret() -> None:
    for value in (TOKEN, AclTokenSet(TOKEN, create=True), AclBootstrap("a", "secret-1", 1.0)):
        assert "secret-1" not in repr(value)


def test_the_built_in_policy_is_well_formed() -> None:
    assert policy_fault(GLOBAL_MANAGEMENT) == ""


def test_a_service_identity_stands_for_the_rights_of_the_service_and_its_sidecar() -> None:
    authorizer = PolicyAuthorizer([NamedRules("i", parse_rules(IDENTITY.rules()))], default_allow=False)
    table = [
        (Resource.SERVICE, "web", Access.WRITE, True),
        (Resource.SERVICE, "web-sidecar-proxy", Access.WRITE, True),
        (Resource.SERVICE, "web2", Access.WRITE, False),
        (Resource.SERVICE, "other", Access.READ, True),
        (Resource.NODE, "n", Access.READ, True),
        (Resource.NODE, "n", Access.WRITE, False),
        (Resource.KEY, "k", Access.READ, False),
        (Resource.INTENTION, "web", Access.READ, True),
    ]
    for resource, name, access, allowed in table:
        assert authorizer.decide(resource, name, access).allowed is allowed


@pytest.mark.parametrize("at", [9.9, 10.0, 10.1])
def test_a_token_is_over_from_its_time_on(at: float) -> None:
    assert replace(TOKEN, expiration_time=10.0).expired(at) is (at >= 10.0)
    assert not TOKEN.expired(at)


def test_faults_of_a_token_are_found_before_the_store_is_asked() -> None:
    assert token_fault(TOKEN) == ""
    assert token_fault(replace(TOKEN, secret_id="allow")).startswith("Permission denied")


def test_the_error_starts_as_consuls() -> None:
    assert str(AclNotFoundError()) == "ACL not found"
    assert str(AclNotFoundError("no x")) == "ACL not found: no x"
