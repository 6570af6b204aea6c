"""The modules of the ACLs against a real agent that denies by default."""

from __future__ import annotations

import json
import stat
import uuid
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.modules import (
    mesh_acl_policy,
    mesh_acl_role,
    mesh_acl_token,
    mesh_kv,
)

from tests.unit.plugins.api_agents import ApiAgent, ansible, running
from tests.unit.plugins.module_run import Outcome, run_module

AclAgent = tuple[ApiAgent, str]
MODULES = {"policy": mesh_acl_policy, "role": mesh_acl_role, "token": mesh_acl_token, "kv": mesh_kv}
WRITE = 'key_prefix "app/" { policy = "write" }'


class Acl:
    """The modules at one agent, with the first token unless another one is given."""

    def __init__(self, agent: AclAgent, capsys: pytest.CaptureFixture[str]) -> None:
        self.agent, self.token = agent
        self.capsys = capsys

    def run(self, kind: str, check: bool = False, **args: Any) -> Outcome:
        given = {**self.agent.secure, "token": self.token, **args}
        return run_module(MODULES[kind].main, self.capsys, check=check, **given)

    def four(self, kind: str, **args: Any) -> list[bool]:
        outcomes = [self.run(kind, check, **args) for check in (True, False, True, False)]
        assert [one["msg"] for one in outcomes] == [None] * 4
        return [one["changed"] for one in outcomes]


@pytest.fixture
def acl(acl_agent: AclAgent, capsys: pytest.CaptureFixture[str]) -> Acl:
    return Acl(acl_agent, capsys)


@pytest.fixture
def name() -> str:
    return f"app-{uuid.uuid4()}"


ONCE = [True, True, False, False]


def test_a_policy_is_made_changed_and_removed_once(acl: Acl, name: str) -> None:
    assert acl.four("policy", name=name, rules=WRITE, description="d") == ONCE
    made = acl.run("policy", name=name)
    assert (made["changed"], len(made["id"])) == (False, 36)
    changed = acl.run("policy", name=name, rules="", datacenters=["dc1"])
    assert changed["id"] == made["id"]
    assert changed["diff"] == {
        "before": {"Rules": WRITE, "Datacenters": []},
        "after": {"Rules": "", "Datacenters": ["dc1"]},
    }
    assert acl.four("policy", name=name, state="absent") == ONCE


def test_a_role_has_its_policies_by_name(acl: Acl, name: str) -> None:
    for policy in ("a", "b"):
        acl.run("policy", name=f"{name}-{policy}", rules=WRITE)
    wanted: dict[str, Any] = {
        "policies": [f"{name}-b", f"{name}-a"],
        "service_identities": [{"name": "web", "datacenters": ["dc1"]}, {"name": "db"}],
    }
    assert acl.four("role", name=name, **wanted) == ONCE
    assert acl.run("role", name=name, policies=[f"{name}-a"])["diff"] == {
        "before": {"Policies": [f"{name}-a", f"{name}-b"]},
        "after": {"Policies": [f"{name}-a"]},
    }
    assert not acl.run("role", name=name)["changed"]
    assert acl.four("role", name=name, policies=[], service_identities=[]) == ONCE
    assert acl.four("role", name=name, state="absent") == ONCE


def test_a_token_with_a_secret_of_the_vault_works_and_is_shown_nowhere(acl: Acl, name: str) -> None:
    secret = str(uuid.uuid4())
    acl.run("policy", name=name, rules=WRITE)
    outcomes = [
        acl.run("token", check, secret_id=secret, policies=[name], description="App")
        for check in (True, False, True, False)
    ]
    assert [one["changed"] for one in outcomes] == ONCE
    assert not [one for one in outcomes if secret in one["_printed"]]
    assert acl.run("kv", token=secret, key=f"app/{name}", value="v")["changed"]
    assert outcomes[1]["accessor_id"] == outcomes[3]["accessor_id"] != ""
    changed = acl.run("token", secret_id=secret, policies=[])
    assert changed["diff"] == {"before": {"Policies": [name]}, "after": {"Policies": []}}
    assert acl.four("token", secret_id=secret, state="absent") == ONCE
    refused = acl.run("kv", token=secret, key=f"app/{name}", value="w")
    assert refused["msg"].endswith(
        "ACL not found: the cluster does not know the token: check token (or CONSUL_HTTP_TOKEN)"
    )


def test_a_token_by_its_accessor_reveals_its_secret_only_to_a_task_that_logs_nothing(
    acl: Acl, name: str
) -> None:
    accessor = str(uuid.uuid4())
    assert acl.four("token", accessor_id=accessor, service_identities=[{"name": "web"}]) == ONCE
    refused = acl.run("token", accessor_id=accessor, reveal=True)
    assert refused["msg"] == "reveal=true returns the secret: set no_log: true on this task"
    secret = acl.run("token", accessor_id=accessor, reveal=True, _ansible_no_log=True)["secret_id"]
    assert not acl.run("token", accessor_id=accessor, secret_id=secret)["changed"]
    other = acl.run("token", accessor_id=accessor, secret_id=str(uuid.uuid4()))
    assert "secret_id: the token of accessor_id has another secret, which can't be changed" in other["msg"]
    assert secret not in other["_printed"]
    assert acl.four("token", accessor_id=accessor, state="absent") == ONCE


def test_what_a_token_task_leaves_out_stays(acl: Acl, name: str) -> None:
    accessor = str(uuid.uuid4())
    acl.run("policy", name=name, rules=WRITE)
    acl.run("role", name=name, policies=[name])
    acl.run("token", accessor_id=accessor, roles=[name], description="one", local=True)
    changed = acl.run("token", accessor_id=accessor, description="two")
    assert changed["diff"] == {"before": {"Description": "one"}, "after": {"Description": "two"}}
    assert not acl.run("token", accessor_id=accessor, roles=[name], local=True)["changed"]
    refused = acl.run("token", accessor_id=accessor, local=False)
    assert "local: can't be changed: remove the token first" in refused["msg"]


@pytest.mark.parametrize("kind", ["policy", "role", "token"])
def test_a_token_without_rights_and_an_unknown_one_are_told(acl: Acl, name: str, kind: str) -> None:
    named: dict[str, Any] = {"accessor_id": str(uuid.uuid4())} if kind == "token" else {"name": name}
    nobody = acl.run(kind, token=None, **named)
    assert "403 Permission denied" in nobody["msg"]
    assert nobody["msg"].endswith("set token (or CONSUL_HTTP_TOKEN) to a token that may do this")
    unknown = str(uuid.uuid4())
    refused = acl.run(kind, token=unknown, **named)
    assert refused["msg"].endswith("the cluster does not know the token: check token (or CONSUL_HTTP_TOKEN)")
    assert unknown not in refused["_printed"]


@pytest.mark.parametrize(
    ("kind", "args", "message"),
    [
        ("policy", {"name": "a b"}, "name: 'a b' is no name: write letters, digits, - and _"),
        ("policy", {"name": "x", "rules": "key {"}, "Invalid Policy"),
        ("role", {"name": "x", "policies": ["no-such-policy"]}, "no-such-policy"),
        ("role", {"name": "x", "service_identities": [{}]}, "missing required arguments: name"),
        ("token", {}, "one of the following is required: accessor_id, secret_id"),
        ("token", {"accessor_id": "x"}, "accessor_id: 'x' is not a UUID: write one"),
        ("token", {"secret_id": "no-uuid-but-secret"}, "secret_id: is not a UUID: write one"),
        (
            "token",
            {"accessor_id": str(uuid.UUID(int=7)), "expiration_ttl": "1s"},
            "expiration_ttl: 1s is out of range: write a duration from 60s to 86400s",
        ),
    ],
)
def test_a_bad_value_is_named_with_its_fix(acl: Acl, kind: str, args: dict[str, Any], message: str) -> None:
    outcome = acl.run(kind, **args)
    assert outcome["failed"]
    assert message in outcome["msg"]
    assert "no-uuid-but-secret" not in outcome["_printed"]


def test_a_cluster_without_acls_is_told(open_agent: ApiAgent, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_module(mesh_acl_policy.main, capsys, **open_agent.plain, name="a")
    assert outcome["failed"]
    assert "this cluster has no ACLs: set acl.enabled in the configuration of its agents" in outcome["msg"]


def test_the_first_token_is_made_once_and_only_in_its_file(tmp_path: Path) -> None:
    config = {"enabled": True, "default_policy": "deny"}
    with running(tmp_path, acl=config) as agent:
        place = tmp_path / "store" / "dc1" / "bootstrap"

        def call(*more: str, dest: Path = place) -> tuple[int, str]:
            task = ("localhost", "-m", "meshnode.lab.mesh_acl_bootstrap", "-vvv", "-a", f"dest={dest}")
            done = ansible(tmp_path, "ansible", *task, *more, **agent.environment)
            return done.returncode, done.stdout + done.stderr

        code, told = call("-C")
        assert (code, "CHANGED" in told, place.exists()) == (0, True, False)
        code, made = call()
        assert (code, "CHANGED" in made) == (0, True), made
        secret = place.read_text().strip()
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        status, text = agent.agent.api("/v1/acl/policies")
        assert status == 403
        for more in (["-C"], []):
            code, again = call(*more)
            assert (code, "SUCCESS" in again) == (0, True)
            assert secret not in again
        code, refused = call(dest=tmp_path / "elsewhere")
        assert code != 0
        assert "the first token is given once: put the file of dest back" in refused
        assert not (tmp_path / "elsewhere").exists()
        assert secret not in made + told + refused + text
        agent_token = {**agent.environment, "CONSUL_HTTP_TOKEN": secret}
        done = ansible(
            tmp_path,
            "ansible",
            "localhost",
            "-m",
            "meshnode.lab.mesh_acl_policy",
            "-a",
            "name=p",
            **agent_token,
        )
        assert done.returncode == 0, done.stdout
        place.write_text("")
        assert "is empty, an earlier run was broken off: delete it to try again" in call()[1]


def test_a_place_that_cannot_be_written_is_told_before_the_cluster_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    dest = tmp_path / "file" / "token"
    args = json.dumps({"dest": str(dest), "address": "127.0.0.1:1"})
    done = ansible(tmp_path, "ansible", "localhost", "-m", "meshnode.lab.mesh_acl_bootstrap", "-a", args)
    assert done.returncode != 0
    assert "name a place to write to" in done.stdout + done.stderr
