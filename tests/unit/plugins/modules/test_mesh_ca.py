from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _controller
from ansible_collections.meshnode.lab.plugins.modules import mesh_ca

from meshnode.pki.authority import Authority
from meshnode.pki.bundle import split_bundle
from tests.support.openssl import openssl
from tests.unit.plugins.module_run import Outcome, run_module


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(check: bool = False, **args: object) -> Outcome:
        return run_module(mesh_ca.main, capsys, check=check, store=str(tmp_path / ".secrets"), **args)

    return call


def test_check_run_check_run(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first = run(check=True)
    assert (first["changed"], first["certificate"], first["bundle"], first["generation"]) == (
        True,
        None,
        None,
        1,
    )
    assert list(tmp_path.iterdir()) == []
    made = run()
    assert made["changed"]
    assert [run(check=True)["changed"], run()["changed"]] == [False, False]
    assert run()["certificate"] == made["certificate"]
    assert made["subject"] == "CN=meshnode CA dc1 g1"


def test_key_is_in_the_store_and_nowhere_in_the_output(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    printed = run()["_printed"]
    key = (tmp_path / ".secrets/dc1/ca/1/ca.key").read_text()
    assert "PRIVATE KEY" not in printed
    assert key.splitlines()[1] not in printed
    assert openssl("x509", "-pubkey", "-noout", "-in", tmp_path / ".secrets/dc1/ca/1/ca.crt") == openssl(
        "pkey", "-pubout", stdin=key
    )


def test_rotation_is_told_before_it_is_done(run) -> None:  # type: ignore[no-untyped-def]
    first = run()
    told = run(check=True, state="new_generation")
    assert (told["changed"], told["generations"], told["bundle"]) == (True, [1, 2], None)
    assert told["certificate"] == first["certificate"]
    assert told["diff"]["before"] == {"generations": [1], "current": 1, "trusted": [1]}
    added = run(state="new_generation")
    assert (added["generation"], added["trusted_generations"]) == (1, [1, 2])
    assert not run(state="new_generation")["changed"]
    assert not run()["changed"], "a plain run in the midst of a rotation leaves it where it is"
    switched = run(current_generation=2)
    assert (switched["changed"], switched["generation"], switched["subject"]) == (
        True,
        2,
        "CN=meshnode CA dc1 g2",
    )
    assert split_bundle(switched["bundle"]) == split_bundle(added["bundle"])[::-1]
    retired = run(trusted_generations=[2])
    assert retired["bundle"] == switched["certificate"]
    assert not run(current_generation=2, trusted_generations=[2])["changed"]


def test_kind_and_life_of_the_key_are_options(run) -> None:  # type: ignore[no-untyped-def]
    made = run(key_type="rsa-2048", days=10, cluster="east")
    text = openssl("x509", "-noout", "-text", stdin=made["certificate"])
    assert "Public-Key: (2048 bit)" in text
    assert made["subject"] == "CN=meshnode CA east g1"
    assert not made["warnings"]


def test_ca_of_the_variables_is_used_and_not_written_down(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    old, new = (
        Authority.create(name, at=_controller.now(), entropy=os.urandom, days=days)
        for name, days in (("old", 3650), ("vault", 3650))
    )
    result = run(ca_cert_pem=new.certificate_pem + old.certificate_pem, ca_key_pem=new.key_pem)
    assert (result["changed"], result["generation"], result["subject"]) == (False, None, "CN=vault")
    assert split_bundle(result["bundle"]) == [new.certificate_pem, old.certificate_pem]
    assert list(tmp_path.iterdir()) == []
    assert new.key_pem.splitlines()[1] not in result["_printed"]


def test_ca_of_the_variables_with_another_key_is_refused(run) -> None:  # type: ignore[no-untyped-def]
    one, two = (Authority.create(name, at=_controller.now(), entropy=os.urandom) for name in "ab")
    result = run(ca_cert_pem=one.certificate_pem, ca_key_pem=two.key_pem)
    assert result["failed"]
    assert result["msg"] == "CA of dc1: ca_key_pem: the CA certificate and the CA key don't belong together"
    assert two.key_pem.splitlines()[1] not in result["_printed"]


def test_failure_is_a_sentence(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run()
    (tmp_path / ".secrets/dc1/ca/1/ca.crt").chmod(0o644)
    result = run()
    assert result["failed"]
    assert "open to others: see who read it, then chmod 600" in result["msg"]
    assert "wrong" in run(current_generation="wrong")["msg"]
    assert run(current_generation=9)["msg"] == "CA of dc1: CA generation 9 does not exist: there is 1"


def test_missing_package_is_named_with_its_remedy(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    import sys

    monkeypatch.setitem(sys.modules, "meshnode.pki.authority", None)
    assert "-m pip install meshnode" in run()["msg"]
