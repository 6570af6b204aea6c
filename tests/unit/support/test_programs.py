"""A missing program fails a run of make, and nobody else's; whatever make installs is known here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import ALLOWED, PACKAGES, lacking, why_not

ROOT = Path(__file__).parents[3]
REQUIRED = {"MESH_REQUIRE_PROGRAMS": "1"}
SKIPPING = """
import pytest
from tests.support.programs import ALLOWED, lacking, needs, skip

@needs("socat")
def test_marked(): pass

def test_called():
    pytest.skip(lacking("socat"))

def test_excused():
    skip("root")

def test_of_a_reason_of_its_own():
    pytest.skip("not today")

@pytest.mark.xfail(reason="known")
def test_known_to_fail():
    assert False

def test_with_all_it_needs(): pass
"""


def outcome(file: Path, **variables: str) -> tuple[dict[str, int], str]:
    """Numbers of tests by outcome, and all that was printed, of a run without socat."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-rs"]
    given = {"PATH": str(file.parent), "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [*command, "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), str(file)],
        cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    counts = re.findall(r"(\d+) (passed|failed|skipped|xfailed|error)", done.stdout.splitlines()[-1])
    return {what: int(number) for number, what in counts}, done.stdout


def test_a_run_by_hand_skips_what_it_can_not_run(tmp_path: Path) -> None:
    file = tmp_path / "test_x.py"
    file.write_text(SKIPPING)
    counts, said = outcome(file)
    assert counts == {"passed": 1, "skipped": 4, "xfailed": 1}
    assert "missing program: socat (install socat)" in said


def test_a_run_of_make_fails_for_a_missing_program_and_names_it(tmp_path: Path) -> None:
    file = tmp_path / "test_x.py"
    file.write_text(SKIPPING)
    counts, said = outcome(file, **REQUIRED)
    assert counts == {"passed": 1, "skipped": 1, "failed": 2, "error": 1, "xfailed": 1}
    assert said.count("missing program: socat (install socat); MESH_REQUIRE_PROGRAMS=1 says") == 2
    assert "ALLOWED of tests/support/programs.py doesn't have: not today" in said
    assert ALLOWED["root"] in said


def test_a_run_of_make_fails_for_a_file_that_skips_itself(tmp_path: Path) -> None:
    file = tmp_path / "test_x.py"
    file.write_text("import pytest\npytest.importorskip('no_such_module', reason='not installed')\n")
    assert outcome(file)[0] == {"skipped": 1}
    counts, said = outcome(file, **REQUIRED)
    assert counts == {"error": 1}
    assert "not installed" in said


@pytest.mark.parametrize("reason", ALLOWED.values())
def test_what_is_allowed_may_stand(reason: str) -> None:
    assert why_not(reason, REQUIRED) == ""
    assert why_not(f"{reason}?", REQUIRED) != ""
    assert why_not(f"{reason}?", {}) == ""


def test_no_test_skips_for_a_reason_that_is_not_in_the_list() -> None:
    skipping = re.compile(r"pytest\.skip\(|mark\.skip|importorskip\(")
    known = {Path(__file__), ROOT / "tests" / "support" / "programs.py"}
    files = [file for file in (ROOT / "tests").rglob("*.py") if file not in known]
    assert files
    assert [str(file) for file in files if skipping.search(file.read_text())] == []


def test_every_program_that_make_installs_is_known_with_its_package() -> None:
    script = (ROOT / "scripts" / "programs.sh").read_text()
    listed = re.search(r"^install_programs '\n(.*?)^'", script, re.MULTILINE | re.DOTALL)
    assert listed
    installed = dict(line.split() for line in listed[1].splitlines())
    assert installed == {name: package for name, package in PACKAGES.items() if name != "envoy"}


def test_a_program_that_nobody_listed_can_not_be_asked_for() -> None:
    with pytest.raises(AssertionError, match="nothing-like-it: put it and its package into PACKAGES"):
        lacking("nothing-like-it")
    assert lacking() == ""
