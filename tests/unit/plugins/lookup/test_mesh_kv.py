"""The lookup C(mesh_kv), as Ansible runs it, against a real agent over HTTPS."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.lookup import mesh_kv
from ansible_collections.meshnode.lab.plugins.module_utils import mesh_api
from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApiError

from tests.unit.plugins.api_agents import ApiAgent, ansible


@pytest.fixture
def key(open_agent: ApiAgent) -> str:
    name = f"l/{uuid.uuid4()}"
    for tail, value in (("one", b"1"), ("a/two", "zwei ü".encode()), ("empty", b"")):
        assert open_agent.agent.api(f"/v1/kv/{name}/{tail}", "PUT", value)[1] == "true"
    return name


def look(agent: ApiAgent, *terms: str, **options: Any) -> list[Any]:
    given = {"recurse": False, "default": None, "b64": False, **agent.secure, **options}
    return [mesh_kv.read(mesh_api.api_from(given), term, given) for term in terms]


def test_keys_are_text(open_agent: ApiAgent, key: str) -> None:
    assert look(open_agent, f"{key}/one", f"{key}/a/two", f"{key}/empty") == ["1", "zwei ü", ""]


def test_a_prefix_is_a_dictionary(open_agent: ApiAgent, key: str) -> None:
    assert look(open_agent, f"{key}/", recurse=True) == [{"one": "1", "a/two": "zwei ü", "empty": ""}]
    assert look(open_agent, f"{key}/none/", recurse=True) == [{}]


def test_a_key_that_is_not_there_is_an_error_or_the_default(open_agent: ApiAgent, key: str) -> None:
    assert look(open_agent, f"{key}/none", default="d") == ["d"]
    assert look(open_agent, f"{key}/none", default="") == [""]
    with pytest.raises(MeshApiError, match=f"{key}/none: is not in the store: write the key first, or give"):
        look(open_agent, f"{key}/none")


def test_bytes_are_base64_or_an_error(open_agent: ApiAgent, key: str) -> None:
    body = [{"KV": {"Verb": "set", "Key": f"{key}/bytes", "Value": "AP8="}}]
    assert open_agent.agent.api("/v1/txn", "PUT", json.dumps(body).encode())[0] == 200
    assert look(open_agent, f"{key}/bytes", b64=True) == ["AP8="]
    with pytest.raises(MeshApiError, match="its value is not text: set b64=true to get base64"):
        look(open_agent, f"{key}/bytes")


@pytest.mark.parametrize(
    ("term", "options", "message"),
    [
        ("", {}, "term: is empty: name a key, or set recurse=true"),
        ("/a", {}, "term: '/a' starts with a slash"),
        ("a", {"address": "127.0.0.1:1"}, "can't reach the agent"),
        ("a", {"client_key": None}, "client_cert and client_key go together"),
    ],
)
def test_a_bad_value_is_named_with_its_fix(
    open_agent: ApiAgent, term: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MeshApiError) as raised:
        look(open_agent, term, **options)
    assert message in str(raised.value)


def test_ansible_reads_the_variables_of_consul_and_its_own_keyword_errors(
    open_agent: ApiAgent, tmp_path: Path, key: str
) -> None:
    def call(arguments: str) -> tuple[int, str]:
        expression = "{{ lookup('meshnode.lab.mesh_kv', %s) | default('nothing', true) }}" % arguments  # noqa: UP031
        message = json.dumps({"msg": expression})
        done = ansible(
            tmp_path, "ansible", "localhost", "-m", "debug", "-a", message, **open_agent.environment
        )
        return done.returncode, done.stdout + done.stderr

    assert '"msg": "zwei ü"' in call(f"'{key}/a/two'")[1]
    code, text = call(f"'{key}/none'")
    assert code != 0
    assert f"mesh_kv: {key}/none: is not in the store" in text
    code, text = call(f"'{key}/none', errors='warn'")
    assert (code, "is not in the store" in text, '"msg": "nothing"' in text) == (0, True, True)
    code, text = call(f"'{key}/none', errors='ignore'")
    assert (code, "is not in the store" in text, '"msg": "nothing"' in text) == (0, False, True)
