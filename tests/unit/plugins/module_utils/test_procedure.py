"""Whose turn it is to change the mesh: the policy as a table, and the record in the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._procedure import (
    RECORD_FILE,
    REMOTE_PATIENCE,
    ProcedureError,
    Record,
    Run,
    age,
    decide,
    read,
    write,
)
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError

ALICE, BOB, CAROL = Run("alice", "here", 10, "5"), Run("bob", "here", 11, "6"), Run("carol", "there", 10, "5")
NOW = 100_000.0


def record(run: Run = ALICE, procedure: str = "gossip_rotate", touched: float = NOW - 60) -> Record:
    return Record(procedure, run, NOW - 600, touched, "install", {"target": "1f3870be"})


def test_the_first_one_begins() -> None:
    made = decide(None, "gossip_rotate", ALICE, alive=False, now=NOW, force=False)
    assert made == Record("gossip_rotate", ALICE, NOW, NOW, "", {})


def test_the_same_run_goes_on() -> None:
    assert decide(record(), "gossip_rotate", ALICE, alive=True, now=NOW, force=False) == record(touched=NOW)


def test_who_comes_while_the_owner_lives_is_told_who_and_since_when() -> None:
    with pytest.raises(ProcedureError) as refused:
        decide(record(), "gossip_rotate", BOB, alive=True, now=NOW, force=False)
    assert str(refused.value) == (
        "the mesh is being changed: gossip_rotate, begun by alice on here (process 10) 10 min ago, phase install: "
        "let it end, or end that process and run again"
    )


def test_the_same_procedure_takes_over_from_a_dead_run_with_its_phase_and_notes() -> None:
    taken = decide(record(), "gossip_rotate", BOB, alive=False, now=NOW, force=False)
    assert taken == replace(record(touched=NOW), run=BOB)


@pytest.mark.parametrize("run", [ALICE, BOB])
def test_another_procedure_waits_until_the_broken_one_is_finished(run: Run) -> None:
    with pytest.raises(
        ProcedureError, match=r"run playbooks/gossip_rotate\.yml again, which finishes it, before ca_rotate"
    ):
        decide(record(), "ca_rotate", run, alive=False, now=NOW, force=False)


@pytest.mark.parametrize(("broken", "other", "does"), [
    ("roll", "rollback", "takes it back"), ("rollback", "roll", "rolls on to the new"),
])  # fmt: skip
def test_a_roll_and_its_way_back_take_each_other_over_and_nobody_else_does(
    broken: str, other: str, does: str
) -> None:
    found = replace(record(procedure=broken), notes={"roll": "r1"})
    taken = decide(found, other, BOB, alive=False, now=NOW, force=False)
    assert taken == Record(other, BOB, NOW, NOW, "install", {"roll": "r1"})
    with pytest.raises(ProcedureError) as refused:
        decide(found, "ca_rotate", BOB, alive=False, now=NOW, force=False)
    assert str(refused.value).endswith(
        f"run playbooks/{broken}.yml again, which finishes it, or playbooks/{other}.yml, which {does}, before ca_rotate"
    )
    with pytest.raises(ProcedureError, match="the mesh is being changed"):
        decide(found, other, BOB, alive=True, now=NOW, force=False)


@pytest.mark.parametrize("procedure", ["roll", "rollback"])
def test_no_way_back_leads_over_another_procedure(procedure: str) -> None:
    with pytest.raises(ProcedureError, match="which finishes it, before"):
        decide(record(), procedure, BOB, alive=False, now=NOW, force=False)


def test_one_that_was_refused_before_its_first_phase_makes_way_and_is_told_of_while_it_lives() -> None:
    found = replace(record(), phase="", notes={})
    made = decide(found, "ca_rotate", BOB, alive=False, now=NOW, force=False)
    assert made == Record("ca_rotate", BOB, NOW, NOW, "", {})
    with pytest.raises(ProcedureError, match="10 min ago, phase begin: let it end"):
        decide(found, "ca_rotate", BOB, alive=True, now=NOW, force=False)


@pytest.mark.parametrize(("idle", "force", "allowed"), [
    (60.0, False, False), (60.0, True, True), (REMOTE_PATIENCE, False, False), (REMOTE_PATIENCE + 1, False, True),
])  # fmt: skip
def test_a_run_on_another_controller_counts_as_alive_for_an_hour(
    idle: float, force: bool, allowed: bool
) -> None:
    found = record(CAROL, touched=NOW - idle)
    if allowed:
        assert decide(found, "gossip_rotate", ALICE, alive=True, now=NOW, force=force).run == ALICE
        return
    with pytest.raises(ProcedureError, match="mesh_procedure_force=true"):
        decide(found, "gossip_rotate", ALICE, alive=True, now=NOW, force=force)


def test_force_does_not_mix_two_procedures() -> None:
    with pytest.raises(ProcedureError, match="broken off"):
        decide(record(CAROL), "ca_rotate", ALICE, alive=True, now=NOW, force=True)


@pytest.mark.parametrize("name", ["", "Gossip", "a b", "../x", "x" * 50])
def test_a_procedure_has_a_plain_name(name: str) -> None:
    with pytest.raises(ProcedureError, match="is not a procedure"):
        decide(None, name, ALICE, alive=False, now=NOW, force=False)


def test_the_record_is_kept_and_removed(tmp_path: Path) -> None:
    store = SecretStore(str(tmp_path / ".secrets"), "dc1")
    assert read(store) is None
    with store.lock():
        write(store, record())
    assert read(store) == record()
    with store.lock():
        write(store, None)
    assert read(store) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"procedure": "x", "run": 5}'])
def test_a_damaged_record_is_named_and_not_overlooked(tmp_path: Path, text: str) -> None:
    store = SecretStore(str(tmp_path / ".secrets"), "dc1")
    with store.lock():
        store.replace(RECORD_FILE, text)
    with pytest.raises(SecretStoreError, match=r"procedure\.json is damaged"):
        read(store)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h")]
)
def test_ages_are_short(seconds: float, text: str) -> None:
    assert age(seconds) == text
