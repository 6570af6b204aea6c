"""What the documents tell people to read and to type is there: files, targets of make, commands and their flags."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from meshnode.base.goflags import HelpRequested
from meshnode.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *ROOT.glob("roles/*/README.md"),
        *ROOT.glob("plugins/*.md"),
    ]
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)[^)]*\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
#: Of a make target's recipe: it runs tests.
RUNS_TESTS = re.compile(r"\$\(PYTEST\)|-m tests\.sim")
#: Ends of a command within a line of a shell, as words of shlex with punctuation.
ENDS = {"|", "||", "&&", ";", ">", ">>", "<", "&", "(", ")"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def rules() -> dict[str, tuple[list[str], str]]:
    """Target -> what it needs, and its recipe."""
    found = re.finditer(
        r"^([a-z-]+):([^#\n]*)(?:#.*)?\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    return {rule[1]: (rule[2].split(), rule[3]) for rule in found}


def needed(target: str) -> set[str]:
    return {target}.union(*(needed(each) for each in rules()[target][0]))


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of ours in the blocks that are marked as a console."""
    for block in CONSOLE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if not line.startswith("$ "):
                continue
            lexer = shlex.shlex(line[2:], posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            try:
                words = list(lexer)
            except ValueError:  # a here document, or a string that goes on
                continue
            for place, word in enumerate(words):
                if Path(word).name in ("meshnode", "consul"):
                    rest = words[place + 1 :]
                    end = next((at for at, each in enumerate(rest) if each in ENDS), len(rest))
                    yield rest[:end]


@cache
def usage(command: str) -> str:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            import_module(COMMANDS[command][0]).run([*command.split()[1:], "-h"])
    except HelpRequested as text:
        return str(text)
    return printed.getvalue()


def fault(words: list[str]) -> str:
    """What is wrong with a command line; empty when nothing is."""
    known = [" ".join(words[:length]) for length in (3, 2, 1) if " ".join(words[:length]) in COMMANDS]
    if not known:
        return "" if words[:1] in ([], ["-v"], ["-h"], ["-version"]) else f"no command {' '.join(words)}"
    if not COMMANDS[known[0]][0]:
        return ""
    rest = words[len(known[0].split()) :]
    # What comes after the first positional is no flag.
    while rest and rest[0].startswith("-") and rest[0] != "--":
        flag, equals, _ = ("-" + rest[0].lstrip("-")).partition("=")
        described = re.search(rf"^  {re.escape(flag)}(=<.*)?$", usage(known[0]), re.MULTILINE)
        if flag != "-h" and described is None:
            return f"{known[0]} has no flag {flag}"
        has_value = described is not None and described[1] and not equals
        rest = rest[2:] if has_value else rest[1:]
    return ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_link_to_a_file_leads_to_one(path: Path) -> None:
    targets = LINK.findall(path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_target_of_make_that_is_named_is_there(path: Path) -> None:
    code = "\n".join(CODE.findall(path.read_text()))
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)", code))
    assert named - set(rules()) == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_command_on_a_console_exists_with_its_flags(path: Path) -> None:
    assert [told for words in commands(path.read_text()) if (told := fault(words))] == []


def test_the_commands_of_the_documents_are_found_and_wrong_ones_told() -> None:
    assert sum(len(list(commands(path.read_text()))) for path in DOCUMENTS) > 25
    text = "```console\n$ sudo meshnode kv get -recurse a | wc -l\n$ docker exec x consul kv gets\n```"
    assert list(commands(text)) == [["kv", "get", "-recurse", "a"], ["kv", "gets"]]
    assert fault(["kv", "get", "-recurs", "a"]) == "kv get has no flag -recurs"
    assert fault(["kvs"]) == "no command kvs"


def test_the_readme_leads_to_every_document() -> None:
    linked = {(ROOT / target).resolve() for target in LINK.findall((ROOT / "README.md").read_text())}
    assert [name(path) for path in DOCUMENTS if path.parent == ROOT / "docs" and path not in linked] == []


def test_the_readme_names_each_test_that_make_test_leaves_out() -> None:
    apart = {target for target, (_, recipe) in rules().items() if RUNS_TESTS.search(recipe)} - needed("test")
    assert {"chaos", "day-two-test", "drill", "fuzz"} <= apart
    told = set(re.findall(r"`([a-z-]+)`", (ROOT / "README.md").read_text()))
    assert apart - told == set()
