"""py-consul: access control."""

from __future__ import annotations

import consul
import pytest

from meshnode.testing import Mesh
from tests.support.py_consul import UNKNOWN, client_of

# Access control


def test_without_access_control_its_routes_say_that_it_is_off(client: consul.Consul) -> None:
    with pytest.raises(consul.ACLDisabled, match="ACL support disabled"):
        client.acl.token.list()


def test_bootstrap_is_refused_when_there_is_a_management_token(manager: consul.Consul) -> None:
    with pytest.raises(consul.ACLPermissionDenied, match=r"[Bb]ootstrap"):
        manager.acl.bootstrap()


def test_nothing_is_allowed_without_a_token(manager: consul.Consul, guarded: Mesh, name: str) -> None:
    manager.kv.put(name, "x")
    anonymous = client_of(guarded["server1"])
    with pytest.raises(consul.ACLPermissionDenied, match="Permission denied"):
        anonymous.kv.get(name)
    with pytest.raises(consul.ACLPermissionDenied, match="ACL not found"):
        anonymous.kv.get(name, token=UNKNOWN)
    assert anonymous.catalog.nodes()[1] == []


def test_a_policy_is_made_read_changed_and_deleted(manager: consul.Consul, name: str) -> None:
    made = manager.acl.policy.create(
        name, description="d", rules={"key_prefix": {f"{name}/": {"policy": "read"}}}
    )
    assert manager.acl.policy.read(made["ID"])["Name"] == name
    assert name in [policy["Name"] for policy in manager.acl.policy.list()]
    changed = manager.acl.policy.update(
        made["ID"], name, description="e", rules={"key_prefix": {f"{name}/": {"policy": "write"}}}
    )
    assert changed["Description"] == "e"
    assert '"write"' in changed["Rules"]
    assert manager.acl.policy.delete(made["ID"])
    assert made["ID"] not in [policy["ID"] for policy in manager.acl.policy.list()]


def test_a_token_gives_what_its_policy_allows(manager: consul.Consul, name: str) -> None:
    policy = manager.acl.policy.create(name, rules={"key_prefix": {f"{name}/": {"policy": "write"}}})
    token = manager.acl.token.create(policies_id=[policy["ID"]], description="d")
    secret = token["SecretID"]
    assert manager.kv.put(f"{name}/a", "x", token=secret)
    with pytest.raises(consul.ACLPermissionDenied):
        manager.kv.put("elsewhere", "x", token=secret)
    assert manager.acl.token.read(token["AccessorID"])["Description"] == "d"
    assert manager.acl.token.read_self(token=secret)["AccessorID"] == token["AccessorID"]
    assert token["AccessorID"] in [one["AccessorID"] for one in manager.acl.token.list(policy=policy["ID"])]
    clone = manager.acl.token.clone(token["AccessorID"], description="clone")
    assert clone["SecretID"] != secret
    assert manager.kv.get(f"{name}/a", token=clone["SecretID"])[1]["Value"] == b"x"
    updated = manager.acl.token.update(token["AccessorID"], description="none")
    assert updated["SecretID"] == secret
    with pytest.raises(consul.ACLPermissionDenied):
        manager.kv.put(f"{name}/a", "y", token=secret)
    assert manager.acl.token.delete(clone["AccessorID"])
    with pytest.raises(consul.ACLPermissionDenied, match="ACL not found"):
        manager.kv.get(f"{name}/a", token=clone["SecretID"])


def test_a_role_gives_its_policies_to_its_tokens(manager: consul.Consul, name: str) -> None:
    manager.acl.policy.create(name, rules={"key_prefix": {f"{name}/": {"policy": "write"}}})
    role = manager.acl.role.create(name, description="d", policies_name=[name])
    assert manager.acl.role.read(role["ID"])["Policies"][0]["Name"] == name
    assert manager.acl.role.read_by_name(name)["ID"] == role["ID"]
    assert role["ID"] in [one["ID"] for one in manager.acl.role.list()]
    token = manager.acl.token.create(roles_name=[name])
    assert manager.kv.put(f"{name}/a", "x", token=token["SecretID"])
    assert manager.kv.get(f"{name}/a", token=token["SecretID"])[1]["Value"] == b"x"
    assert manager.acl.role.update(role["ID"], name, description="e")["Description"] == "e"
    with pytest.raises(consul.ACLPermissionDenied):
        manager.kv.put(f"{name}/a", "x", token=token["SecretID"])
    with pytest.raises(consul.ACLPermissionDenied):
        manager.kv.get(f"{name}/a", token=token["SecretID"])
    assert manager.acl.role.delete(role["ID"])
    with pytest.raises(consul.ACLPermissionDenied, match="ACL not found"):
        manager.acl.role.read(role["ID"])


def test_the_default_token_is_changed_while_the_agent_runs(
    manager: consul.Consul, guarded: Mesh, name: str
) -> None:
    anonymous = client_of(guarded["server1"])
    manager.kv.put(name, "x")
    assert anonymous.catalog.nodes()[1] == []
    assert manager.agent.token.set_default(guarded.token)
    assert anonymous.kv.get(name)[1]["Value"] == b"x"
    assert [node["Node"] for node in anonymous.catalog.nodes()[1]] == ["server1"]
    assert manager.agent.token.set("default", "")
    with pytest.raises(consul.ACLPermissionDenied):
        anonymous.agent.self()
    with pytest.raises(consul.ACLPermissionDenied):
        anonymous.kv.get(name)
    assert anonymous.catalog.nodes()[1] == []


def test_the_token_of_a_request_without_one_is_the_default_token(
    manager: consul.Consul, guarded: Mesh
) -> None:
    anonymous = client_of(guarded["server1"])
    manager.agent.token.set_default(guarded.token)
    try:
        assert anonymous.acl.token.read_self()["SecretID"] == guarded.token
    finally:
        manager.agent.token.set_default("")


def test_the_other_tokens_of_an_agent_are_changed_while_it_runs(
    manager: consul.Consul, guarded: Mesh
) -> None:
    assert manager.agent.token.set_agent(guarded.token)
    assert manager.agent.token.set_agent_recovery("")
    assert manager.agent.token.set_replication("")
    # It came with Consul 1.15: 404.
    assert manager.agent.token.set_config_file_service_registration("") is False
