from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _authorities, _certificate, _controller
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.pki import keys
from meshnode.pki.authority import Authority, authority_name
from meshnode.pki.request import create_request
from tests.support.openssl import openssl, verify_strictly

KEY = keys.generate_key()


def make_ca(tmp_path: Path, **wish: Any) -> SecretStore:
    store = SecretStore(str(tmp_path / ".secrets"), "dc1")

    def create(generation: int) -> Authority:
        return Authority.create(authority_name("dc1", generation), at=_controller.now(), entropy=os.urandom)

    _authorities.ensure_generations(store, _authorities.Wish(**wish), create, check_mode=False)
    return store


def issue(tmp_path: Path, *, check: bool = False, **changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {name: spec.get("default") for name, spec in _certificate.ARGUMENT_SPEC.items()}
    node = changes.get("node", "s1")
    options |= {
        "store": str(tmp_path / ".secrets"),
        "role": "server",
        "node": node,
        "csr": create_request(KEY, node),
    }
    options |= {"sans": {"dns": [], "ip": ["10.1.0.11"]}}
    return _certificate.issue(options | changes, check_mode=check)


def test_check_run_check_run(tmp_path: Path) -> None:
    store = make_ca(tmp_path)
    told = issue(tmp_path, check=True)
    assert (told["changed"], told["certificate"], told["cause"]) == (True, None, "missing")
    assert list(store.list("issued")) == []
    made = issue(tmp_path)
    assert (made["changed"], made["reason"]) == (True, "there is no certificate yet")
    for check in (True, False):
        kept = issue(tmp_path, check=check, certificate=made["certificate"])
        assert (kept["changed"], kept["reason"], kept.get("diff")) == (False, None, None)
        assert (kept["certificate"], kept["serial"]) == (made["certificate"], made["serial"])


def test_certificate_is_what_openssl_takes(tmp_path: Path) -> None:
    make_ca(tmp_path)
    made = issue(tmp_path)
    (tmp_path / "ca").write_text(made["bundle"])
    (tmp_path / "leaf").write_text(made["certificate"])
    verify_strictly(tmp_path / "ca", tmp_path / "leaf", "-verify_hostname", "server.dc1.consul")
    verify_strictly(tmp_path / "ca", tmp_path / "leaf", "-verify_ip", "10.1.0.11")
    serial = openssl("x509", "-noout", "-serial", "-in", tmp_path / "leaf").strip().split("=")[1]
    assert int(serial, 16) == int(made["serial"], 16)


def test_fresh_node_and_fresh_store_are_no_failure_in_check_mode(tmp_path: Path) -> None:
    told = issue(tmp_path, check=True)
    assert (told["changed"], told["bundle"]) == (True, None)
    assert "the CA is not made yet" in told["reason"]
    make_ca(tmp_path)
    assert "the node's key is not made yet" in issue(tmp_path, check=True, csr="")["reason"]
    assert not (tmp_path / ".secrets/dc1/issued").exists()


def test_what_is_missing_in_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretStoreError, match=r"holds no CA: run meshnode\.lab\.mesh_ca first"):
        issue(tmp_path)
    make_ca(tmp_path)
    with pytest.raises(SecretStoreError, match=r"csr is empty: run meshnode\.lab\.mesh_csr"):
        issue(tmp_path, csr=None)


def test_new_generation_issues_anew_only_after_the_switch(tmp_path: Path) -> None:
    make_ca(tmp_path)
    first = issue(tmp_path)["certificate"]
    make_ca(tmp_path, new_generation=True)
    before = issue(tmp_path, certificate=first)
    assert (before["changed"], before["bundle"].count("BEGIN CERTIFICATE")) == (False, 2)
    make_ca(tmp_path, current=2)
    after = issue(tmp_path, certificate=first)
    assert (after["cause"], after["generation"]) == ("issuer_changed", 2)
    assert "issuer: CN=meshnode CA dc1 g1" in after["diff"]["before"]
    assert "issuer: CN=meshnode CA dc1 g2" in after["diff"]["after"]


def test_change_of_address_is_spelled_out(tmp_path: Path) -> None:
    make_ca(tmp_path)
    first = issue(tmp_path)["certificate"]
    moved = issue(tmp_path, certificate=first, sans={"dns": ["s1.example"], "ip": ["10.1.0.12"]})
    assert moved["reason"] == "its names change: +10.1.0.12 +s1.example -10.1.0.11"


def test_last_third_of_life_renews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ca(tmp_path)
    first = issue(tmp_path, days=30)["certificate"]
    now = datetime.now(UTC)
    monkeypatch.setattr(_controller, "now", lambda: now + timedelta(days=19))
    assert not issue(tmp_path, days=30, certificate=first)["changed"]
    monkeypatch.setattr(_controller, "now", lambda: now + timedelta(days=21))
    assert issue(tmp_path, days=30, certificate=first)["cause"] == "expires_soon"


def test_what_was_issued_is_written_down_and_the_list_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_ca(tmp_path)
    monkeypatch.setattr(_certificate, "MAX_REMEMBERED", 3)
    serials = [issue(tmp_path)["serial"] for _ in range(5)]
    index = json.loads(store.read("issued/s1.json") or "")
    assert [entry["serial"] for entry in index["certificates"]] == serials[:1:-1]
    assert index["certificates"][0]["generation"] == 1
    assert index["certificates"][0]["dns"] == ["s1", "server.dc1.consul", "localhost"]


def test_many_nodes_at_once_each_get_theirs(tmp_path: Path) -> None:
    store = make_ca(tmp_path)
    nodes = [f"n{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda node: issue(tmp_path, node=node, role="client"), nodes))
    assert len({result["serial"] for result in made}) == 12
    assert list(store.list("issued")) == sorted(f"{node}.json" for node in nodes)


def test_client_can_not_have_the_name_of_a_server(tmp_path: Path) -> None:
    make_ca(tmp_path)
    with pytest.raises(ConfigError, match="makes its holder a server"):
        issue(tmp_path, role="client", sans={"dns": ["server.dc1.consul"], "ip": []})


def test_request_of_another_node_is_refused(tmp_path: Path) -> None:
    make_ca(tmp_path)
    with pytest.raises(RemoteProtocolError, match="may only ask for itself"):
        issue(tmp_path, csr=create_request(KEY, "s2"))


@pytest.mark.parametrize("node", ["../../x", "a/b", ".hidden", ""])
def test_name_of_a_node_can_not_leave_the_store(tmp_path: Path, node: str) -> None:
    make_ca(tmp_path)
    with pytest.raises((ConfigError, SecretStoreError)):
        issue(tmp_path, node=node, csr=create_request(KEY, node or "x"))
    assert not (tmp_path / ".secrets/dc1/issued").exists()


def test_ca_of_the_variables_signs_and_is_not_written_down(tmp_path: Path) -> None:
    vault = Authority.create("vault", at=_controller.now(), entropy=os.urandom)
    made = issue(tmp_path, ca_cert_pem=vault.certificate_pem, ca_key_pem=vault.key_pem)
    assert (made["generation"], made["bundle"]) == (None, vault.certificate_pem)
    stored = "".join(path.read_text() for path in (tmp_path / ".secrets").rglob("*") if path.is_file())
    assert "s1" in stored
    assert "PEM" not in stored
    assert "PRIVATE" not in stored


def test_damaged_index_is_named(tmp_path: Path) -> None:
    store = make_ca(tmp_path)
    issue(tmp_path)
    Path(store.path, "issued/s1.json").write_text("[")
    with pytest.raises(SecretStoreError, match=r"issued/s1\.json is damaged: move it away"):
        issue(tmp_path)


def test_certificate_that_is_none_is_replaced(tmp_path: Path) -> None:
    make_ca(tmp_path)
    made = issue(tmp_path, certificate="garbage")
    assert made["cause"] == "unparsable"
    assert made["diff"]["before"] == "certificate: can't be read\n"
