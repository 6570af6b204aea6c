from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli import main as module
from meshnode.cli.main import COMMANDS, NOT_IN_THIS_RELEASE, main

GROUPS = [name for name, (where, _) in COMMANDS.items() if not where]
LEAVES = [name for name, (where, _) in COMMANDS.items() if where]
#: So that it can be read on any terminal.
MAX_COLUMNS = 78
MESHNODE = Path(sys.executable).with_name("meshnode")


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_of_each_command_is_on_stdout_and_succeeds(run: Any, name: str, flag: str) -> None:
    done = run(*name.split(), flag)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: ")
    assert [line for line in done.out.splitlines() if len(line) > MAX_COLUMNS] == []


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_alone_prints_its_commands_and_fails(run: Any, name: str) -> None:
    done = run(*name.split())
    assert (done.code, done.out) == (1, "")
    assert "Available commands are:" in done.err
    asked = run(*name.split(), "-h")
    assert (asked.code, asked.err) == (0, "")
    assert asked.out == done.err


@pytest.mark.parametrize("word", ["-h", "-help", "--help", "help"])
def test_help_lists_every_command(run: Any, word: str) -> None:
    done = run(word)
    assert done.code == 0
    for name in COMMANDS:
        if " " not in name:
            assert f"\n    {name} " in done.out


def test_nothing_at_all_prints_the_list_and_is_127(run: Any) -> None:
    done = run()
    assert (done.code, done.out) == (127, "")
    assert done.err.startswith("Usage: ")


@pytest.mark.parametrize(
    ("word", "meant"), [("membres", "members"), ("versoin", "version"), ("Keyring", "keyring")]
)
def test_an_unknown_command_is_127_and_what_was_meant_is_suggested(run: Any, word: str, meant: str) -> None:
    done = run(word)
    assert (done.code, done.out) == (127, "")
    assert done.err.startswith(f"There is no command {word!r}. Did you mean {meant!r}?\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["kv", "gte", "a"], "There is no command 'kv gte'. Did you mean 'kv get'?"),
        (["operator", "raft", "list-pers"], "There is no command 'operator raft list-pers'. "
         "Did you mean 'operator raft list-peers'?"),
        (["tls", "xylophone"], "There is no command 'tls xylophone'."),
    ],
)  # fmt: skip
def test_an_unknown_command_of_a_group_is_named_above_its_help(run: Any, words: list[str], line: str) -> None:
    done = run(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"{line}\n\nUsage: ")


def test_a_word_that_resembles_nothing_gets_no_suggestion(run: Any) -> None:
    assert run("xylophone").err.startswith("There is no command 'xylophone'.\n")


@pytest.mark.parametrize("name", sorted(NOT_IN_THIS_RELEASE))
def test_what_consul_has_and_we_do_not_is_called_that(run: Any, name: str) -> None:
    done = run(*name.split(), "anything")
    assert (done.code, done.out) == (1, "")
    assert "does not have yet" in done.err


@pytest.mark.parametrize("flag", ["-v", "-version", "--version", "version"])
def test_every_way_to_ask_for_the_version(run: Any, flag: str) -> None:
    done = run(flag)
    assert done.code == 0
    assert done.out.startswith("Consul v1.2.3\nProtocol 2 spoken by default, understands 2 to 3 ")


@pytest.mark.parametrize(
    "error", [RuntimeError("two\nlines"), ValueError(), KeyError("Name"), AssertionError()]
)
def test_a_bug_ends_in_one_line_and_says_how_to_see_more(
    run: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_args: list[str]) -> int:
        raise error

    monkeypatch.delenv(module.TRACEBACK_VARIABLE, raising=False)
    monkeypatch.setattr(module, "_dispatch", fail)
    done = run("members")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"internal error: {type(error).__name__}: ")
    assert done.err.endswith(" (set MESHNODE_TRACEBACK=1 for details)\n")
    assert done.err.count("\n") == 1
    monkeypatch.setenv(module.TRACEBACK_VARIABLE, "1")
    with pytest.raises(type(error)):
        main(["members"])


def test_an_interrupt_is_130(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_args: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_dispatch", interrupted)
    done = run("members")
    assert (done.code, done.out, done.err) == (130, "", "")


def test_output_that_nobody_reads_is_no_traceback() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{MESHNODE} -h | true"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == ""


def test_a_command_that_asks_an_agent_loads_no_more_than_it_needs() -> None:
    code = (
        "import sys; from meshnode.cli.main import main; main(['members', '-http-addr=127.0.0.1:1']);"
        "print([m for m in ('ssl', 'asyncio', 'cryptography', 'meshnode.agent', 'logging', 'http.client')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ, timeout=30
    )
    assert done.stdout == "[]\n"
    assert "can't reach the agent at http://127.0.0.1:1" in done.stderr


#: Presses Ctrl-C in the middle of the import of the command line.
INTERRUPTED_LOADING = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "meshnode.base.goflags":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from meshnode.__main__ import main
sys.exit(main())
"""


def test_ctrl_c_while_modules_are_loaded_ends_the_process_in_silence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_LOADING, "version"], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_ctrl_c_that_python_wrapped_in_another_error_is_still_ctrl_c(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dispatch(args: list[str]) -> int:
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    monkeypatch.setattr(module, "_dispatch", dispatch)
    done = run("version")
    assert (done.code, done.out, done.err) == (module.INTERRUPTED, "", "")


def test_the_installed_programs_are_the_one_that_minds_ctrl_c() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == dict.fromkeys(("meshnode", "consul"), "meshnode.__main__:main")
