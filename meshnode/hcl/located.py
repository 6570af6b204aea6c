"""A configuration text as a tree of values, each of which knows where it was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["BUILT_IN", "Node", "Origin", "Plain", "located", "plain"]

#: The same tree without places, as ``json.loads`` would give it.
Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"


@dataclass(frozen=True, slots=True)
class Origin:
    """A place: a file with line and column counted from 1, or a flag or variable with both zero."""

    where: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """``file:line:column``, as compilers and editors write it."""
        return f"{self.where}:{self.line}:{self.column}" if self.line else self.where


#: Where a value comes from that nobody wrote.
BUILT_IN: Final = Origin("built-in default")


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place; ``key_origin`` is the place of the key that it was written under."""

    value: str | int | float | bool | list[Node] | dict[str, Node] | None
    origin: Origin
    key_origin: Origin | None = None


def plain(node: Node) -> Plain:
    """The tree without its places."""
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    return node.value


def located(value: Plain, origin: Origin) -> Node:
    """A tree in which everything was written at ``origin``: for flags and defaults."""
    if isinstance(value, list):
        return Node([located(item, origin) for item in value], origin)
    if isinstance(value, dict):
        return Node({key: located(item, origin) for key, item in value.items()}, origin)
    return Node(value, origin)
