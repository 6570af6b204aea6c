"""Command-line flags as Go programs read them: ``-flag v``, ``-flag=v``, ``--flag``, then the positionals.

    flags = FlagSet("kv get", "Usage: consul kv get [options] KEY", "Prints the value of KEY.")
    recurse = flags.boolean("recurse", "Print every key below KEY.")
    token = flags.string("token", "ACL token.", env="CONSUL_HTTP_TOKEN", group="HTTP API Options")
    parsed = flags.parse(args, environ)
    parsed[recurse]      # bool
    parsed.given(token)  # was it on the command line?
    parsed.positionals   # ("KEY",)

A flag is a typed handle. The environment is an argument, never read here. Each error is a
:class:`FlagError`; ``-h`` and ``-help`` end in :class:`HelpRequested`, whose ``str()`` is the usage text. The
grammar is that of Go's ``flag`` package (https://pkg.go.dev/flag): ``--`` ends the flags, ``-`` is a
positional, a boolean takes its value only after ``=``, and a repeated flag wins over its earlier self, or
adds to it when it is a list.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from meshnode.base.duration import format_duration, parse_duration
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.suggest import did_you_mean

__all__ = ["COMMAND_OPTIONS", "Flag", "FlagError", "FlagSet", "HelpRequested", "Parsed", "parse_boolean"]

T = TypeVar("T")

COMMAND_OPTIONS: Final = "Command Options"
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_MAX_INT_DIGITS: Final = 20
#: Columns of the help: of a description, and of what is said about a flag, each with its indentation.
_DESCRIPTION_WRAP: Final = 78
_WRAP: Final = 72


class FlagError(ConfigError):
    """The command line can't be read; ``key`` is the flag at fault without its dash, or empty."""


class HelpRequested(MeshError):  # noqa: N818 - asking for help is no error
    """``-h``, ``-help`` or ``--help`` was given; ``str()`` is the usage text."""


@dataclass(frozen=True, slots=True, eq=False)
class Flag(Generic[T]):
    """One flag: a handle that reads its value out of :class:`Parsed`."""

    name: str
    meaning: str
    default: T
    read: Callable[[str], Any]
    placeholder: str
    env: str
    group: str
    repeatable: bool = False

    @property
    def is_boolean(self) -> bool:
        """Whether the flag stands alone, as in ``-server``."""
        return self.placeholder == ""


class Parsed:
    """What a command line says: values by flag, and the positional arguments."""

    __slots__ = ("_set", "_values", "occurrences", "positionals")

    def __init__(
        self,
        flags: FlagSet,
        values: dict[str, Any],
        occurrences: Sequence[tuple[str, Any]],
        positionals: tuple[str, ...],
    ) -> None:
        self._set = flags
        self._values = values
        #: Name and value of each flag on the command line, in the order written.
        self.occurrences = tuple(occurrences)
        self.positionals = positionals

    def __getitem__(self, flag: Flag[T]) -> T:
        """The value: from the command line, else from the environment, else the default."""
        value: T = self._values.get(flag.name, flag.default)
        return value

    def given(self, flag: Flag[Any]) -> bool:
        """Whether the flag is on the command line."""
        return flag.name in self.given_names()

    def given_names(self) -> frozenset[str]:
        """Names of the flags on the command line."""
        return frozenset(name for name, _ in self.occurrences)

    def misplaced(self) -> tuple[str, ...]:
        """Positionals that read like flags of this command: they were written after the first positional."""
        return tuple(
            p for p in self.positionals if p.startswith("-") and self._set.named(_name_of(p)) is not None
        )

    def reject_positionals(self) -> None:
        """Raise :class:`FlagError` when there is any positional argument."""
        if not self.positionals:
            return
        hint = f": {self.misplaced()[0]} must come before it" if self.misplaced() else ""
        raise FlagError(f"{self._set.command} takes no arguments, got {self.positionals[0]!r}{hint}")


class FlagSet:
    """The flags of one command. Each method that adds a flag returns its handle."""

    def __init__(self, command: str, usage: str, description: str = "") -> None:
        self.command = command
        self.usage = usage
        self.description = description
        self._flags: dict[str, Flag[Any]] = {}

    def string(self, name: str, meaning: str, *, default: str = "", placeholder: str = "value", env: str = "",
               group: str = COMMAND_OPTIONS) -> Flag[str]:  # fmt: skip
        """Add a flag with a text value."""
        return self._add(Flag(name, meaning, default, str, placeholder, env, group))

    def boolean(self, name: str, meaning: str, *, default: bool = False, env: str = "",
                group: str = COMMAND_OPTIONS) -> Flag[bool]:  # fmt: skip
        """Add a flag that is true when it stands alone, and takes a value only as ``-flag=false``."""
        return self._add(Flag(name, meaning, default, parse_boolean, "", env, group))

    def integer(self, name: str, meaning: str, *, default: int = 0, minimum: int | None = None,
                maximum: int | None = None, env: str = "",
                group: str = COMMAND_OPTIONS) -> Flag[int]:  # fmt: skip
        """Add a flag with a whole number, ``minimum`` to ``maximum``."""

        def read(text: str) -> int:
            return _parse_integer(text, minimum, maximum)

        return self._add(Flag(name, meaning, default, read, "int", env, group))

    def duration(self, name: str, meaning: str, *, default: float = 0.0, env: str = "",
                 group: str = COMMAND_OPTIONS) -> Flag[float]:  # fmt: skip
        """Add a flag with a Go duration; its value is in seconds."""
        return self._add(Flag(name, meaning, default, parse_duration, "duration", env, group))

    def strings(
        self, name: str, meaning: str, *, placeholder: str = "value", group: str = COMMAND_OPTIONS
    ) -> Flag[tuple[str, ...]]:
        """Add a flag that may be given several times; its value is a tuple in the order given."""
        return self._add(Flag(name, meaning, (), str, placeholder, "", group, repeatable=True))

    def include(self, other: FlagSet) -> None:
        """Take over every flag of ``other``: for sets that many commands share."""
        for flag in other._flags.values():
            self._add(flag)

    def named(self, name: str) -> Flag[Any] | None:
        """The flag called ``name``, without its dash."""
        return self._flags.get(name)

    def names(self) -> tuple[str, ...]:
        """Every name, in the order added."""
        return tuple(self._flags)

    def parse(self, args: Sequence[str], environ: Mapping[str, str] | None = None) -> Parsed:
        """Read ``args``; raises :class:`FlagError` or :class:`HelpRequested`."""
        values = self._from_environment(environ or {})
        occurrences: list[tuple[str, Any]] = []
        position = 0
        while position < len(args):
            argument = args[position]
            if not argument.startswith("-") or argument == "-":
                break
            position += 1
            if argument == "--":
                break
            flag, text = self._split(argument)
            if text is None and flag.is_boolean:
                text = "true"
            elif text is None:
                if position == len(args):
                    raise FlagError(f"flag needs an argument: -{flag.name}", key=flag.name)
                text = args[position]
                position += 1
            value = _read(flag, text, f"flag -{flag.name}")
            values[flag.name] = (*values.get(flag.name, ()), value) if flag.repeatable else value
            occurrences.append((flag.name, value))
        return Parsed(self, values, occurrences, tuple(args[position:]))

    def help(self) -> str:
        """The usage text: what the command does, then its flags by group, each with meaning and default."""
        parts = [self.usage.rstrip()]
        if self.description:
            parts.append(_wrapped(self.description))
        groups: dict[str, list[Flag[Any]]] = {}
        for flag in sorted(self._flags.values(), key=lambda flag: flag.name):
            groups.setdefault(flag.group, []).append(flag)
        for title in sorted(groups, key=lambda title: (title == COMMAND_OPTIONS, title)):
            parts.append(title)
            parts.extend(_describe(flag) for flag in groups[title])
        return "\n\n".join(parts) + "\n"

    def _add(self, flag: Flag[T]) -> Flag[T]:
        assert flag.name not in self._flags, f"flag -{flag.name} is defined twice"
        self._flags[flag.name] = flag
        return flag

    def _split(self, argument: str) -> tuple[Flag[Any], str | None]:
        name = _name_of(argument)
        if not name or name.startswith(("-", "=")):
            raise FlagError(f"bad flag syntax: {argument}")
        flag = self._flags.get(name)
        if flag is None:
            if name in ("h", "help"):
                raise HelpRequested(self.help())
            hint = did_you_mean(f"-{name}", [f"-{known}" for known in self._flags])
            raise FlagError(f"flag provided but not defined: -{name}{hint}", key=name)
        _, equals, text = argument.partition("=")
        return flag, text if equals else None

    def _from_environment(self, environ: Mapping[str, str]) -> dict[str, Any]:
        return {
            flag.name: _read(flag, environ[flag.env], f"environment variable {flag.env}")
            for flag in self._flags.values()
            if flag.env and environ.get(flag.env)
        }


def parse_boolean(text: str) -> bool:
    """Read what Go's ``strconv.ParseBool`` takes; raises :class:`ConfigError`."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ConfigError(f'"{text}" is not a boolean: write true or false')


def _parse_integer(text: str, minimum: int | None, maximum: int | None) -> int:
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_INT_DIGITS):
        raise ConfigError(f'"{text}" is not a whole number')
    number = int(text)
    if minimum is not None and number < minimum:
        raise ConfigError(f"{number} is too small: the smallest is {minimum}")
    if maximum is not None and number > maximum:
        raise ConfigError(f"{number} is too large: the largest is {maximum}")
    return number


def _read(flag: Flag[Any], text: str, source: str) -> Any:
    try:
        return flag.read(text)
    except ConfigError as error:
        raise FlagError(f"{source}: {error}", key=flag.name) from None


def _name_of(argument: str) -> str:
    dashes = 2 if argument.startswith("--") else 1
    name = argument[dashes:]
    return name if name.startswith("=") else name.partition("=")[0]


def _wrapped(description: str) -> str:
    """The description, indented; a paragraph with a line that is too long is filled, examples stay as they are."""
    paragraphs = textwrap.dedent(description).strip().split("\n\n")
    return "\n\n".join(_paragraph(text) for text in paragraphs)


def _paragraph(text: str) -> str:
    lines = text.splitlines()
    is_example = any(line.startswith(" ") for line in lines)
    if is_example or max(map(len, lines), default=0) <= _DESCRIPTION_WRAP - 2:
        return textwrap.indent(text, "  ")
    return "\n".join(_fill(text, _DESCRIPTION_WRAP, "  "))


def _fill(text: str, width: int, indentation: str) -> list[str]:
    # A flag is one word: -no-merge has no place to break at.
    return textwrap.wrap(
        text, width, initial_indent=indentation, subsequent_indent=indentation, break_on_hyphens=False
    )


def _describe(flag: Flag[Any]) -> str:
    head = f"  -{flag.name}" if flag.is_boolean else f"  -{flag.name}=<{flag.placeholder}>"
    text = flag.meaning
    if flag.repeatable:
        text += " This flag may be given several times."
    if flag.env:
        text += f" The environment variable {flag.env} does the same."
    if flag.default not in ("", False, 0, ()) or (flag.default and flag.is_boolean):
        default = format_duration(flag.default) if flag.placeholder == "duration" else str(flag.default)
        text += f" The default is {default.lower() if flag.is_boolean else default}."
    return "\n".join([head, *_fill(text, _WRAP, "     ")])
