"""What the engine, or the silence in its place, means to a person."""

from __future__ import annotations

import docker.errors
import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._engine import LabError, engine_errors, explain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PermissionError(13, 'Permission denied')", "group docker"),
        ("FileNotFoundError(2, 'No such file or directory')", "scripts/engine.sh"),
        ("ConnectionRefusedError(111, 'Connection refused')", "scripts/engine.sh"),
        ("anything else", "anything else"),
    ],
)
def test_what_stands_between_us_and_the_engine_has_a_remedy(text: str, words: str) -> None:
    assert words in explain(docker.errors.DockerException(text))


def test_the_engines_own_words_are_kept() -> None:
    error = docker.errors.APIError(
        "500 Server Error", explanation="driver failed programming external connectivity\n"
    )
    assert explain(error) == "driver failed programming external connectivity"


def test_an_error_opens_with_what_was_being_done() -> None:
    with pytest.raises(LabError, match=r"^server1: no space$"), engine_errors("server1"):
        raise docker.errors.DockerException("no space")


def test_an_error_that_is_no_engines_passes() -> None:
    with pytest.raises(ZeroDivisionError), engine_errors("server1"):
        raise ZeroDivisionError
