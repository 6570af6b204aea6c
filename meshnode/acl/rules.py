"""The rule language of access control, HCL or JSON, in both of its forms, as values that know no policy yet.

Since Consul 1.4: ``key "a" { policy = "read" }`` is about exactly that key, ``key_prefix "a" { ... }`` about every key
that starts so. Before (*legacy*): ``key "a" { ... }`` is the prefix rule, and there are no others; ``acl = ...`` isn't
known. ``acl``, ``keyring`` and ``operator`` have no name: ``operator = "read"``.
Source: https://developer.hashicorp.com/consul/docs/security/acl/acl-rules and the page of the legacy rules.

Differences from Consul: an unknown word is an error, where Consul passes over it and grants nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from meshnode.acl.authorizer import Access, Resource
from meshnode.base.errors import ConfigError
from meshnode.base.suggest import did_you_mean
from meshnode.hcl.located import Node, Origin
from meshnode.hcl.parse import parse_hcl

__all__ = [
    "MAX_RULES_CHARS",
    "UNNAMED",
    "Rule",
    "RuleSet",
    "parse_rules",
    "serialize_rules",
    "translate_legacy_rules",
]

#: Longest text of one policy: a command of the log, which carries it, has at most four times as many bytes.
MAX_RULES_CHARS: Final = 256 * 1024
#: Longest word or name that an error shows.
MAX_SHOWN_CHARS: Final = 80
#: Resources without names.
UNNAMED: Final = frozenset({Resource.ACL, Resource.KEYRING, Resource.OPERATOR})
_PREFIX: Final = "_prefix"
_NAMED: Final = tuple(r for r in Resource if r not in UNNAMED and r is not Resource.INTENTION)
#: word -> (resource, whether the name is exact)
_WORDS: Final[dict[str, tuple[Resource, bool]]] = {
    **{resource.value: (resource, True) for resource in _NAMED},
    **{resource.value + _PREFIX: (resource, False) for resource in _NAMED},
    **{resource.value: (resource, False) for resource in sorted(UNNAMED)},
}
_LEGACY_WORDS: Final[dict[str, tuple[Resource, bool]]] = {
    **{resource.value: (resource, False) for resource in _NAMED},
    "keyring": (Resource.KEYRING, False),
    "operator": (Resource.OPERATOR, False),
}
_POLICIES: Final = {"deny": Access.DENY, "read": Access.READ, "list": Access.LIST, "write": Access.WRITE}
_KINDS: Final = {dict: "a block", list: "a list", bool: "a truth value", str: "text", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``segment`` is the name, or its start when not ``exact``; empty for resources without names.

    ``intentions`` is of services only; ``None``: it follows from ``access``.
    """

    resource: Resource
    segment: str
    exact: bool
    access: Access
    intentions: Access | None = None

    @property
    def word(self) -> str:
        """``key``, ``key_prefix`` or ``acl``."""
        return self.resource.value + ("" if self.exact or self.resource in UNNAMED else _PREFIX)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one policy, in the order of first use of each word. The same name may have several rules."""

    rules: tuple[Rule, ...] = ()


def parse_rules(text: str, where: str = "Rules", *, legacy: bool = False) -> RuleSet:
    """Read rules; raises :class:`ConfigError` with ``where:line:column``, the word at fault and what to write."""
    return RuleSet(tuple(rule for _, rule in _parse(text, where, legacy=legacy)))


def serialize_rules(rules: RuleSet) -> str:
    """HCL in the form of 1.4 that is read back as an equal set if each word's rules stand together."""
    return "\n".join(_as_hcl(rule) for rule in rules.rules) + ("\n" if rules.rules else "")


def translate_legacy_rules(text: str, where: str = "Rules") -> str:
    """Legacy rules in the form of 1.4: the same text, comments included, with ``_prefix`` after the words.

    Raises :class:`ConfigError` when they aren't legacy rules.
    """
    places = dict.fromkeys((origin, rule.resource) for origin, rule in _parse(text, where, legacy=True))
    source = text.removeprefix("\ufeff")
    line_starts = [0, *(match.end() for match in re.finditer("\n", source))]
    pieces: list[str] = []
    done = 0
    for origin, resource in sorted(places, key=lambda place: (place[0].line, place[0].column)):
        if resource in UNNAMED:
            continue
        start = line_starts[origin.line - 1] + origin.column - 1
        word = re.compile(rf'"?{resource.value}(?![\w.\-])').match(source, start)
        if word is None:  # written with escapes
            return serialize_rules(parse_rules(text, where, legacy=True))
        pieces += (source[done : word.end()], _PREFIX)
        done = word.end()
    return "".join((*pieces, source[done:]))


def _parse(text: str, where: str, *, legacy: bool) -> Iterator[tuple[Origin, Rule]]:
    """Each rule with the place of its word."""
    if len(text) > MAX_RULES_CHARS:
        raise ConfigError(
            f"longer than {MAX_RULES_CHARS} characters: split it into several policies", where=where
        )
    root = parse_hcl(text, where)
    if not isinstance(root.value, dict):
        _fail(
            root.origin,
            f'{_kind(root)} in place of rules: write them as key_prefix "app/" {{ policy = "read" }}',
        )
    for word, node in root.value.items():
        known = (_LEGACY_WORDS if legacy else _WORDS).get(word)
        if known is None:
            _fail(node.key_origin or node.origin, _unknown_word(word, legacy=legacy))
        if known[0] in UNNAMED:
            yield from _unnamed(word, known[0], node)
        else:
            yield from _named(word, *known, node)


def _unknown_word(word: str, *, legacy: bool) -> str:
    if legacy and word in _WORDS:
        plain = word.removesuffix(_PREFIX)
        hint = f": write {plain}, which is a prefix rule there" if plain != word else ""
        return f"{word} is not of the legacy rules{hint}"
    words = sorted(_LEGACY_WORDS if legacy else _WORDS)
    hint = did_you_mean(word, words) or f": write one of {', '.join(words)}"
    return f"no rule is called {_quoted(word)}{hint}"


def _unnamed(word: str, resource: Resource, node: Node) -> Iterator[tuple[Origin, Rule]]:
    place = node.key_origin or node.origin
    if not isinstance(node.value, str):
        _fail(place, f'{word} has no names and is {_kind(node)} here: write {word} = "read"')
    if node.value:
        yield place, Rule(resource, "", False, _access(node, word, list_allowed=False))


def _named(word: str, resource: Resource, exact: bool, node: Node) -> Iterator[tuple[Origin, Rule]]:
    for group in node.value if isinstance(node.value, list) else [node]:
        place = group.key_origin or node.key_origin or group.origin
        if not isinstance(group.value, dict):
            _fail(group.origin, f'{word} is {_kind(group)}: write {word} "name" {{ policy = "read" }}')
        for segment, body in group.value.items():
            for block in body.value if isinstance(body.value, list) else [body]:
                if not isinstance(block.value, dict):
                    _fail(
                        body.key_origin or block.origin,
                        f'{word} {_quoted(segment)} is {_kind(block)}: write {word} "name" {{ policy = "read" }}',
                    )
                yield place, _rule(word, resource, segment, exact, block, block.value)


def _rule(
    word: str, resource: Resource, segment: str, exact: bool, block: Node, fields: dict[str, Node]
) -> Rule:
    known = ("policy", "intentions") if resource is Resource.SERVICE else ("policy",)
    for name, node in fields.items():
        if name not in known:
            hint = did_you_mean(name, known) or f": it has {' and '.join(known)}"
            _fail(
                node.key_origin or node.origin,
                f"{_quoted(name)} is no field of {word} {_quoted(segment)}{hint}",
            )
    subject = f"{word} {_quoted(segment)}"
    if "policy" not in fields:
        _fail(block.origin, f'{subject} has no policy: write policy = "read" in it')
    access = _access(fields["policy"], f"policy of {subject}", list_allowed=resource is Resource.KEY)
    intentions = fields.get("intentions")
    if intentions is None or intentions.value == "":
        return Rule(resource, segment, exact, access)
    return Rule(
        resource, segment, exact, access, _access(intentions, f"intentions of {subject}", list_allowed=False)
    )


def _access(node: Node, subject: str, *, list_allowed: bool) -> Access:
    known = [word for word in _POLICIES if word != "list" or list_allowed]
    choice = f"write {', '.join(known[:-1])} or {known[-1]}"
    if not isinstance(node.value, str):
        _fail(node.origin, f"{subject} is {_kind(node)}: {choice}, in double quotes")
    if node.value == "list" and not list_allowed:
        _fail(node.origin, f'{subject} is "list", which only key and key_prefix have: {choice}')
    if node.value not in known:
        hint = did_you_mean(node.value, known) or f": {choice}"
        _fail(node.origin, f"{subject} is {_quoted(node.value)}{hint}")
    return _POLICIES[node.value]


def _kind(node: Node) -> str:
    return _KINDS.get(type(node.value), "a number")


def _fail(origin: Origin, message: str) -> NoReturn:
    raise ConfigError(message, where=str(origin))


def _quoted(text: str) -> str:
    shown = text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}..."
    return f'"{shown}"' if shown.isprintable() else ascii(shown)


def _as_hcl(rule: Rule) -> str:
    if rule.resource in UNNAMED:
        return f'{rule.word} = "{rule.access.name.lower()}"'
    lines = [f"{rule.word} {_hcl_string(rule.segment)} {{", f'  policy = "{rule.access.name.lower()}"']
    if rule.intentions is not None:
        lines.append(f'  intentions = "{rule.intentions.name.lower()}"')
    return "\n".join([*lines, "}"])


def _hcl_string(text: str) -> str:
    """Every character as itself, but for those that end a string, begin an interpolation, or can't be seen."""
    parts = []
    for i, character in enumerate(text):
        if character in '"\\':
            parts.append("\\" + character)
        elif character == "$" and text[i + 1 : i + 2] == "{":
            parts.append("\\x24")
        elif character.isprintable():
            parts.append(character)
        else:
            parts.append(f"\\U{ord(character):08x}")
    return f'"{"".join(parts)}"'
