"""Address templates of go-sockaddr: ``{{ GetPrivateIP }}``, ``{{ GetAllInterfaces | include "name" "eth" | ... }}``.

A pure evaluator of the part of Go's template language that addresses are written in: text, ``{{ pipeline }}`` and
``{{ range pipeline }}...{{ end }}``. In: the template and the interfaces. Out: text, or ``ConfigError``. ``math``,
variables and conditions are left out and refused by name. (https://github.com/hashicorp/go-sockaddr, ``template``)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from meshnode.agent.config import sockaddr_functions as functions
from meshnode.base.errors import ConfigError
from meshnode.base.suggest import did_you_mean
from meshnode.runtime.interfaces import Interface, Interfaces

__all__ = ["FUNCTIONS", "MAX_TEMPLATE_CHARS", "evaluate"]

#: Longest template that is read.
MAX_TEMPLATE_CHARS: Final = 4096

_ACTION: Final = re.compile(r"\{\{(?:-(?=\s))?(.*?)(?:(?<=\s)-)?\}\}", re.DOTALL)
_TOKEN: Final = re.compile(
    r'\s*(?:("(?:[^"\\]|\\.)*")|(`[^`]*`)|([+-]?[0-9]+)|([A-Za-z_][A-Za-z0-9_]*)|([|.()]))'
)
_KEYWORDS: Final = frozenset({"if", "else", "with", "define", "template", "block", "break", "continue"})

#: What may stand in a pipeline: name -> (number of arguments, function). The last argument may come from the pipe.
FUNCTIONS: Final[dict[str, tuple[int, Callable[..., Any]]]] = {
    "GetAllInterfaces": (0, functions.all_interfaces),
    "GetDefaultInterfaces": (0, functions.default_interfaces),
    "GetPrivateInterfaces": (0, functions.private_interfaces),
    "GetPublicInterfaces": (0, functions.public_interfaces),
    "GetPrivateIP": (0, functions.private_ip),
    "GetPrivateIPs": (0, functions.private_ips),
    "GetPublicIP": (0, functions.public_ip),
    "GetPublicIPs": (0, functions.public_ips),
    "GetInterfaceIP": (1, functions.interface_ip),
    "GetInterfaceIPs": (1, functions.interface_ips),
    "include": (3, functions.include),
    "exclude": (3, functions.exclude),
    "sort": (2, functions.sort),
    "unique": (2, functions.unique),
    "limit": (2, functions.limit),
    "offset": (2, functions.offset),
    "join": (3, functions.join),
    "attr": (2, functions.attr),
    "Attr": (2, functions.attr),
}


@dataclass(frozen=True, slots=True)
class _Range:
    pipeline: str
    body: tuple[str | _Action | _Range, ...]


@dataclass(frozen=True, slots=True)
class _Action:
    pipeline: str


def evaluate(template: str, interfaces: Interfaces) -> str:
    """The text that ``template`` stands for on a machine with ``interfaces``; raises ``ConfigError``."""
    if len(template) > MAX_TEMPLATE_CHARS:
        raise ConfigError(f"an address template with more than {MAX_TEMPLATE_CHARS} characters")
    parts, rest = _parse(_split(template), 0)
    assert rest == -1
    return _render(parts, interfaces, interfaces.all)


def _split(template: str) -> list[str | _Action]:
    """Text and actions in turn; ``{{-`` and ``-}}`` trim the white space beside them."""
    parts: list[str | _Action] = []
    position = 0
    for match in _ACTION.finditer(template):
        text = template[position : match.start()]
        parts.append(text.rstrip() if match[0].startswith("{{- ") else text)
        parts.append(_Action(match[1].strip()))
        position = match.end()
        if match[0].endswith(" -}}"):
            position += len(template[position:]) - len(template[position:].lstrip())
    if "{{" in template[position:]:
        _fail(template, "{{ has no }}")
    return [*parts, template[position:]]


def _parse(parts: list[str | _Action], start: int) -> tuple[tuple[str | _Action | _Range, ...], int]:
    """Read up to the ``end`` that closes this level (its index), or up to the end of the template (-1)."""
    found: list[str | _Action | _Range] = []
    index = start
    while index < len(parts):
        part = parts[index]
        word = part.pipeline.partition(" ")[0] if isinstance(part, _Action) else ""
        if word in _KEYWORDS:
            _fail(
                word,
                f"{word} is a part of templates that is not supported; known are range, end and pipelines",
            )
        if isinstance(part, _Action) and word == "range":
            body, index = _parse(parts, index + 1)
            if index < 0:
                _fail(part.pipeline, "range has no {{ end }}")
            found.append(_Range(part.pipeline.removeprefix("range"), body))
        elif word == "end":
            if start == 0:
                _fail("end", "there is no range to end")
            return tuple(found), index
        else:
            found.append(part)
        index += 1
    return tuple(found), -1


def _render(parts: tuple[str | _Action | _Range, ...], interfaces: Interfaces, dot: Any) -> str:
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, _Range):
            items = _pipeline(part.pipeline, interfaces, dot)
            if not isinstance(items, tuple):
                _fail(part.pipeline, "range needs a list of interfaces")
            texts += [_render(part.body, interfaces, (item,)) for item in items]
        else:
            texts.append(_text(part.pipeline, _pipeline(part.pipeline, interfaces, dot)))
    return "".join(texts)


def _text(pipeline: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return _fail(
        pipeline, 'it gives interfaces, not text: end it with | attr "address" or | join "address" " "'
    )


def _pipeline(source: str, interfaces: Interfaces, dot: Any) -> Any:
    value: Any = None
    for number, command in enumerate(_commands(source)):
        if not command:
            _fail(source, "nothing stands between two bars")
        piped = (value,) if number else ()
        head, *arguments = command
        if head is _DOT and not arguments and not piped:
            value = dot
            continue
        if not isinstance(head, _Name):
            if len(command) > 1 or piped:
                _fail(source, f"{head!r} is not a function")
            value = str(head)
            continue
        filled = [dot if argument is _DOT else argument for argument in arguments]
        value = _call(source, head.text, (*filled, *piped), interfaces)
    return value


def _call(source: str, name: str, arguments: tuple[Any, ...], interfaces: Interfaces) -> Any:
    if name not in FUNCTIONS:
        hint = did_you_mean(name, FUNCTIONS)
        _fail(source, f"{name} is not a function{hint}; known are {', '.join(FUNCTIONS)}")
    count, function = FUNCTIONS[name]
    if len(arguments) != count or any(isinstance(argument, _Name) for argument in arguments):
        _fail(source, f"{name} takes {count} argument{'s' * (count != 1)}, got {len(arguments)}")
    if count > 1 and not (
        isinstance(arguments[-1], tuple) and all(isinstance(i, Interface) for i in arguments[-1])
    ):
        _fail(source, f"{name} works on a list of interfaces: write GetAllInterfaces | {name} ...")
    texts = arguments[:-1] if count > 1 else arguments
    if not all(isinstance(argument, str) for argument in texts):
        _fail(source, f'{name} takes text here, not interfaces: write it in quotes, such as {name} "eth0"')
    try:
        return function(interfaces, *arguments)
    except ConfigError as error:
        return _fail(source, str(error))


@dataclass(frozen=True, slots=True)
class _Name:
    text: str


_DOT: Final = _Name(".")


def _commands(source: str) -> list[list[Any]]:
    """The commands of a pipeline: names, texts and numbers."""
    commands: list[list[Any]] = [[]]
    position, end = 0, len(source.rstrip())
    while position < end:
        match = _TOKEN.match(source, position)
        if match is None:
            _fail(source, f"{source[position:].strip()[:20]!r} can't be read")
        position = match.end()
        quoted, raw, number, name, sign = match.groups()
        if sign == "|":
            commands.append([])
        elif sign == ".":
            commands[-1].append(_DOT)
        elif sign:
            _fail(source, "parentheses are not supported: write a pipeline with |")
        elif name:
            commands[-1].append(_Name(name))
        elif number:
            commands[-1].append(number)
        else:
            commands[-1].append(raw[1:-1] if raw else re.sub(r"\\(.)", r"\1", quoted[1:-1]))
    return commands


def _fail(source: str, message: str) -> NoReturn:
    raise ConfigError(f"address template {{{{ {source.strip()} }}}}: {message}")
