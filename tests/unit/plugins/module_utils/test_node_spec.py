from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._node_spec import (
    ARGUMENT_SPEC,
    render_config,
    render_environment,
    render_files,
    render_unit,
    separate_secrets,
)
from ansible_collections.meshnode.lab.plugins.module_utils._redact import fingerprint, masked, redact, restore

from meshnode.base.gossip_key import gossip_key_fingerprint, parse_gossip_key

KEY = "cg8StVXbQJ0gPvMd9o7yrg=="
CONFIG: dict[str, Any] = {
    "encrypt": KEY,
    "encrypt_verify_incoming": True,
    "acl": {"tokens": {"agent": "11111111-2222-3333-4444-555555555555"}, "token_ttl": "30s"},
    "checks": [{"http": "http://x", "header": {"Authorization": ["Bearer abcdefgh"]}}],
    "ports": {"http": -1},
}


def options(**changes: Any) -> dict[str, Any]:
    defaults = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    return {**defaults, "config": CONFIG, **changes}


def test_a_fingerprint_is_the_one_that_the_agent_shows() -> None:
    assert fingerprint(KEY) == gossip_key_fingerprint(parse_gossip_key(KEY, ""))


def test_secrets_are_found_at_every_depth_and_nothing_else() -> None:
    hidden = json.dumps(redact(CONFIG))
    for secret in (KEY, "11111111-2222", "Bearer"):
        assert secret not in hidden
    assert json.loads(hidden)["acl"]["token_ttl"] == "30s"
    assert json.loads(hidden)["encrypt_verify_incoming"] is True
    assert masked(CONFIG) == {KEY, "11111111-2222-3333-4444-555555555555", "Bearer abcdefgh"}


def test_what_was_separated_comes_together_again() -> None:
    public, secrets = separate_secrets(CONFIG)
    assert KEY not in json.dumps(public)
    assert restore(public, secrets) == CONFIG


def test_rendered_files_hold_placeholders_only() -> None:
    assert KEY not in json.dumps(render_files(options(unit="[Service]\n")))


def test_the_configuration_is_written_as_to_nice_json_writes_it() -> None:
    assert render_config({"b": [1], "a": "ü"}) == '{\n    "a": "\\u00fc",\n    "b": [\n        1\n    ]\n}\n'


def test_certificates_are_written_before_the_configuration_that_names_them() -> None:
    tls = {
        "ca": "CA",
        "ca_file": "/c/ca",
        "certificate": "CERT",
        "cert_file": "/c/cert",
        "key_file": "/c/key",
    }
    paths = [file["path"] for file in render_files(options(tls=tls))]
    assert paths[:3] == ["/c/ca", "/c/cert", "/etc/consul.d/meshnode.json"]
    assert "/c/key" not in paths


def test_the_configuration_is_for_root_and_the_agent_only() -> None:
    modes = {
        file["path"]: (file.get("group"), file.get("mode")) for file in render_files(options(user="agent"))
    }
    assert modes["/etc/consul.d/meshnode.json"] == ("agent", "0640")


def test_the_keys_of_the_wan_are_for_the_agent_alone_and_placeholders_still() -> None:
    files = {file["path"]: file for file in render_files(options(user="agent"), (KEY,))}
    ring = files["/var/lib/consul/serf/remote.keyring"]
    assert (ring["owner"], ring["group"], ring["mode"], ring["show"]) == ("agent", "agent", "0600", "keyring")
    assert json.loads(ring["content"]) == [f"(secret {fingerprint(KEY)})"]
    assert KEY not in json.dumps(files)


def test_without_keys_of_its_own_the_wan_has_no_file() -> None:
    assert not any("keyring" in file["path"] for file in render_files(options()))


def test_without_client_variables_their_file_is_removed() -> None:
    absent = [file["path"] for file in render_files(options()) if file["content"] is None]
    assert absent == ["/etc/meshnode/client.env"]
    assert "CONSUL_HTTP_SSL=true\n" in render_environment({"CONSUL_HTTP_SSL": "true"})


def test_a_unit_carries_the_digest_of_its_text() -> None:
    text = "[Unit]\n[Service]\nUser=x\n"
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert render_unit(text) == f"[Unit]\n[Service]\nEnvironment=MESHNODE_UNIT_DIGEST={expected}\nUser=x\n"
    with pytest.raises(ValueError, match="Service"):
        render_unit("[Unit]\n")
