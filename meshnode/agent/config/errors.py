"""Many mistakes in one error: an operator wants to hear of all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

from meshnode.base.errors import ConfigError

__all__ = ["ConfigErrors", "problems_of", "raise_all"]


class ConfigErrors(ConfigError):  # noqa: N818 - several errors
    """Several ``problems``; ``str()`` is one line for each, after a line that counts them."""

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        lines = [f"{len(problems)} errors occurred:", *(f"  * {problem}" for problem in problems)]
        super().__init__("\n".join(lines), key=problems[0].key)
        self.problems = tuple(problems)


def raise_all(problems: Sequence[ConfigError]) -> None:
    """Raise ``problems``, if there are any: a single one as it is."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigErrors(problems)


def problems_of(error: ConfigError) -> tuple[ConfigError, ...]:
    """The mistakes that ``error`` tells of, one or several."""
    return error.problems if isinstance(error, ConfigErrors) else (error,)
