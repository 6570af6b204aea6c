"""What may come next on a command line, and the lines of rc files that make a shell ask for it. All of it is pure.

The shell runs the program itself with what was typed so far in ``COMP_LINE`` (``complete -C`` of bash), as with
Consul. Candidates come from the table of commands, and flags from the help of a command, so there is no second list.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from typing import Final, Literal, TypeAlias

from meshnode.base.errors import ConfigError

__all__ = ["SHELLS", "Shell", "complete", "flag_names", "script", "with_block", "without_block"]

Shell: TypeAlias = Literal["bash", "zsh", "fish"]
SHELLS: Final[tuple[Shell, ...]] = ("bash", "zsh", "fish")
#: How ``FlagSet.help`` begins the line of a flag.
_FLAG_LINE: Final = re.compile(r"^  (-[A-Za-z][\w-]*)(?==<|$)", re.MULTILINE)
_TOP_FLAGS: Final = ("-autocomplete-install", "-autocomplete-uninstall", "-help", "-version")


def complete(line: str, commands: Iterable[str], help_of: Callable[[str], str]) -> list[str]:
    """Candidates for the word that ``line``, what stands before the cursor, ends in; sorted.

    ``help_of`` gives the usage text of a command and is asked only when flags are wanted.
    """
    words = line.split()[1:]
    current = "" if not words or line[-1:].isspace() else words.pop()
    names = set(commands)
    name = ""
    while words and f"{name} {words[0]}".strip() in names:
        name = f"{name} {words.pop(0)}".strip()
    below = {other for other in names if other.startswith(name and name + " ")} - {name}
    if below and not words:
        depth = len(name.split())
        found = {other.split()[depth] for other in below}
        if not name and current.startswith("-"):
            found.update(_TOP_FLAGS)
    elif name and not below and current.startswith("-"):
        found = set(flag_names(help_of(name)))
    else:
        return []
    # Go takes one dash or two.
    dash = "-" if current.startswith("--") else ""
    return sorted(dash + word for word in found if (dash + word).startswith(current))


def flag_names(usage: str) -> list[str]:
    """The flags that a usage text describes, each with its dash."""
    return _FLAG_LINE.findall(usage)


def script(shell: Shell, program: str, name: str) -> str:
    """What makes ``shell`` ask ``program`` (a path) how to complete lines that begin with ``name``."""
    command = shlex.quote(program)
    if shell == "bash":
        return f"complete -o default -C {shlex.quote(command)} {name}\n"
    if shell == "zsh":
        return (
            "(( $+functions[compdef] )) || { autoload -U compinit && compinit; }\n"
            "autoload -U +X bashcompinit && bashcompinit\n"
            f"complete -o nospace -C {shlex.quote(command)} {name}\n"
        )
    # fish drops the space before the cursor; without it, the last word would look unfinished.
    return (
        f"function __complete_{_identifier(name)}\n"
        "    set -lx COMP_LINE (commandline -cp)\n"
        '    test -z (commandline -ct); and set COMP_LINE "$COMP_LINE "\n'
        f"    {command}\n"
        "end\n"
        f'complete -c {name} -a "(__complete_{_identifier(name)})"\n'
    )


def with_block(text: str, name: str, body: str) -> str:
    """``text`` with ``body`` between two marks, in place of what stood there before, or at the end."""
    begin, end = _marks(name)
    block = f"{begin}\n{body}{end}\n"
    found = _find(text, name)
    if found is not None:
        return text[: found[0]] + block + text[found[1] :]
    gap = "" if not text or text.endswith("\n") else "\n"
    return text + gap + block


def without_block(text: str, name: str) -> str:
    """``text`` without the marks and what is between them."""
    found = _find(text, name)
    return text if found is None else text[: found[0]] + text[found[1] :]


def _find(text: str, name: str) -> tuple[int, int] | None:
    begin, end = _marks(name)
    found = re.search(rf"^{re.escape(begin)}[ \t\r]*\n", text, re.MULTILINE)
    if found is None:
        return None
    last = re.compile(rf"^{re.escape(end)}[ \t\r]*(?:\n|\Z)", re.MULTILINE).search(text, found.end())
    if last is None:
        raise ConfigError(f"the line {begin!r} has no {end!r} below it: delete what is left of that block")
    return found.start(), last.end()


def _marks(name: str) -> tuple[str, str]:
    return f"# >>> completion of {name} >>>", f"# <<< completion of {name} <<<"


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)
