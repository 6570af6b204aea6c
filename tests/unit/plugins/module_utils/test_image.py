"""The image's digest covers what goes into it and nothing else, and the plan is as short as what is there allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._image import (
    Recipe,
    Step,
    bootstrap_command,
    explain_bootstrap_failure,
    parse_packages,
    plan,
    read_context,
)

RECIPE = Recipe("node", "bookworm", ("curl", "systemd"), "", (("Dockerfile", 0, "aa"),))
PULLED = replace(RECIPE, base_image="debian:bookworm-slim")


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "trixie"},
        {"packages": ("curl",)},
        {"base_image": "debian:bookworm"},
        {"files": (("Dockerfile", 0, "ab"),)},
        {"files": (("Dockerfile", 0o111, "aa"),)},
    ],
    ids=str,
)
def test_each_input_makes_another_image(change: dict[str, object]) -> None:
    assert replace(RECIPE, **change).digest != RECIPE.digest


def test_the_order_of_packages_makes_no_other_image() -> None:
    assert replace(RECIPE, packages=("systemd", "curl")).reference == RECIPE.reference


def test_a_changed_file_keeps_the_base() -> None:
    assert replace(RECIPE, files=()).base_reference == RECIPE.base_reference


@pytest.mark.parametrize(
    ("recipe", "present", "cached", "steps"),
    [
        (RECIPE, (), False, (Step.BOOTSTRAP, Step.IMPORT, Step.BUILD)),
        (RECIPE, (), True, (Step.IMPORT, Step.BUILD)),
        (RECIPE, (RECIPE.base_reference,), False, (Step.BUILD,)),
        (RECIPE, (RECIPE.reference,), False, ()),
        (PULLED, (), False, (Step.PULL, Step.BUILD)),
        (PULLED, ("debian:bookworm-slim",), False, (Step.BUILD,)),
        (PULLED, (RECIPE.reference,), True, (Step.PULL, Step.BUILD)),
    ],
)
def test_the_plan_starts_from_what_is_there(
    recipe: Recipe, present: tuple[str, ...], cached: bool, steps: tuple[Step, ...]
) -> None:
    assert plan(recipe, present, cached=cached) == steps


def test_force_builds_again() -> None:
    present = (RECIPE.reference, RECIPE.base_reference)
    assert plan(RECIPE, present, cached=True, force=True) == (Step.BUILD,)


def test_a_package_list_has_comments_and_no_duplicates() -> None:
    assert parse_packages("# why\nsystemd\n\ncurl # for us\nsystemd\n") == ("curl", "systemd")


def test_the_context_is_read_by_content_and_not_by_time(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "unit").write_text("[Unit]\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("x")
    before = read_context(tmp_path)
    assert [path for path, _mode, _digest in before] == ["Dockerfile", "etc/unit"]
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    assert read_context(tmp_path) == before
    (tmp_path / "Dockerfile").write_text("FROM y\n")
    assert read_context(tmp_path) != before


def test_mmdebstrap_uses_debians_own_archive_unless_told_otherwise() -> None:
    assert bootstrap_command(RECIPE, "/x.tar")[-2:] == ["bookworm", "/x.tar"]
    assert "--include=curl,systemd" in bootstrap_command(RECIPE, "/x.tar")
    assert bootstrap_command(RECIPE, "/x.tar", "file:///archive")[-1] == "file:///archive"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("E: Could not resolve host", "lab_docker_image_mirror"),
        ("E: The repository 'x trixy Release' does not have a Release file.", "lab_docker_image_suite"),
        ("E: Unable to locate package no-such-thing", '"no-such-thing"'),
        ("write error: No space left on device", "make clean"),
        ("E: unshare failed", "root"),
        ("something else", "last lines"),
    ],
)
def test_a_failed_bootstrap_says_what_to_do(output: str, words: str) -> None:
    assert words in explain_bootstrap_failure(output, "trixy")
