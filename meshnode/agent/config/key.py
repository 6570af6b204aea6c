"""One row of the key table: what a key is called, what it takes, what it means, and whether it works."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

__all__ = ["WORKS", "Key", "Kind", "Noted", "Refused", "Status", "Works"]


class Kind(Enum):
    """What may be written under a key; the value is the word for it in errors and in the documentation."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "whole number"
    NUMBER = "number"
    DURATION = "duration"
    PORT = "port number"
    ADDRESS = "address"
    ADDRESSES = "space-separated addresses"
    STRINGS = "list of strings"
    STRING_MAP = "object of strings"
    LISTS_MAP = "object of lists of strings"
    OBJECT = "object"
    OBJECTS = "list of objects"
    OPEN = "free object"
    OPENS = "list of free objects"


@dataclass(frozen=True, slots=True)
class Works:
    """The key does what Consul's does, or better."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A value other than the default, or one of ``harmless``, is an error that gives ``reason``."""

    reason: str
    harmless: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Noted:
    """Any value is accepted; one other than ``quiet`` is answered with a warning that gives ``reason``."""

    reason: str
    quiet: Any


Status = Works | Refused | Noted
WORKS: Final = Works()


@dataclass(frozen=True, slots=True)
class Key:
    """A key by its dotted path.

    ``default`` is the value when nobody sets it; ``shown`` says it in words when it is worked out at start.
    ``flag`` is the flag of ``agent`` without its dash. ``shape`` names the table of what is inside an object
    (empty: the rows below ``path``). ``choices`` lists the accepted texts, when they are few.
    """

    path: str
    kind: Kind
    default: Any
    meaning: str
    status: Status = WORKS
    flag: str = ""
    reload: bool = False
    shown: str = ""
    shape: str = ""
    choices: tuple[str, ...] = ()
    secret: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def parent(self) -> str:
        """The path without its last part; empty at the top."""
        return self.path.rpartition(".")[0]
