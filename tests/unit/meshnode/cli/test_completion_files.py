from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli.main import COMMANDS

MESHNODE = Path(sys.executable).with_name("meshnode")
DEADLINE = 30.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/sh")
    for name in ("XDG_CONFIG_HOME", "ZDOTDIR", "COMP_LINE", "COMP_POINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", [str(MESHNODE)])
    return tmp_path


def asked(line: str, point: int | None = None) -> list[str]:
    environment = os.environ | {"COMP_LINE": line, "COMP_POINT": str(len(line) if point is None else point)}
    done = subprocess.run(
        [MESHNODE, "meshnode", "", ""],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_program_answers_a_shell() -> None:
    assert asked("meshnode kv ") == ["delete", "export", "get", "import", "put"]
    assert asked("meshnode kv get -re") == ["-recurse"]
    assert asked("meshnode mem and more", point=12) == ["members"]
    assert asked("meshnode tls ca create -d") == ["-days", "-domain"]


@pytest.mark.parametrize("name", sorted(name for name, (module, _) in COMMANDS.items() if module))
def test_every_command_has_its_flags_completed(run: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COMP_LINE", f"meshnode {name} -")
    monkeypatch.delenv("COMP_POINT", raising=False)
    done = run()
    assert (done.code, done.err) == (0, "")
    usage = _usage(run, monkeypatch, name)
    for flag in done.out.splitlines():
        assert f"\n  {flag}\n" in usage or f"\n  {flag}=<" in usage
    assert len(done.out.splitlines()) == usage.count("\n\n  -")


def _usage(run: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    monkeypatch.delenv("COMP_LINE")
    return str(run(*name.split(), "-h").out)


def test_bash_zsh_and_fish_are_set_up_once(home: Path, run: Any) -> None:
    (home / ".bashrc").write_text("alias ll='ls -l'")
    (home / ".bashrc").chmod(0o600)
    (home / ".zshrc").write_bytes(b"# \xff\n")
    (home / ".config" / "fish").mkdir(parents=True)
    done = run("-autocomplete-install")
    assert (done.code, done.err, done.out.count(": written; new shells complete meshnode\n")) == (0, "", 3)
    files = [home / ".bashrc", home / ".zshrc", home / ".config/fish/completions/meshnode.fish"]
    first = [file.read_bytes() for file in files]
    assert f"complete -o default -C {MESHNODE} meshnode\n".encode() in first[0]
    assert first[1].startswith(b"# \xff\n")
    assert (home / ".bashrc").stat().st_mode & 0o777 == 0o600
    again = run("--autocomplete-install")
    assert (again.code, again.out.count(": nothing to do\n")) == (0, 3)
    assert [file.read_bytes() for file in files] == first
    removed = run("-autocomplete-uninstall")
    assert (removed.code, removed.out.count(": removed\n")) == (0, 3)
    assert (home / ".bashrc").read_text() == "alias ll='ls -l'\n"
    assert (home / ".zshrc").read_bytes() == b"# \xff\n"
    assert not files[2].exists()
    assert run("-autocomplete-uninstall").out.count(": nothing to do\n") == 3


def test_the_file_of_the_login_shell_is_made(home: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/bash")
    assert run("-autocomplete-install").code == 0
    assert [file.name for file in home.iterdir()] == [".bashrc"]


def test_a_link_stays_a_link(home: Path, run: Any) -> None:
    (home / "dotfiles").mkdir()
    (home / "dotfiles" / "bashrc").write_text("one\n")
    (home / ".bashrc").symlink_to("dotfiles/bashrc")
    run("-autocomplete-install")
    assert (home / ".bashrc").is_symlink()
    assert "complete" in (home / "dotfiles" / "bashrc").read_text()
    assert [file.name for file in (home / "dotfiles").iterdir()] == ["bashrc"]


def test_what_stands_against_it_is_named(home: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no shell to set up" in run("-autocomplete-install").err
    (home / ".bashrc").mkdir()
    assert run("-autocomplete-install").err == f"{home}/.bashrc can't be read: Is a directory\n"
    (home / ".bashrc").rmdir()
    (home / ".bashrc").write_text("# >>> completion of meshnode >>>\n")
    assert run("-autocomplete-uninstall").err.startswith(f"{home}/.bashrc: the line ")
    monkeypatch.setattr(sys, "argv", ["/x/meshnode/__main__.py"])
    assert "call the program by its name" in run("-autocomplete-install").err
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(sys, "argv", [str(MESHNODE)])
    assert "HOME is not set" in run("-autocomplete-install").err


def test_bash_takes_what_was_installed(home: Path, run: Any) -> None:
    (home / ".bashrc").write_text("")
    run("-autocomplete-install")
    done = subprocess.run(
        ["bash", "--norc", "-c", 'source "$HOME/.bashrc" && complete -p meshnode'],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == f"complete -o default -C '{MESHNODE}' meshnode\n"


@pytest.fixture
def terminal(home: Path, run: Any) -> Iterator[int]:
    """An interactive bash that has read the rc file."""
    (home / ".bashrc").write_text(
        f"PS1='ready> '\nPATH={MESHNODE.parent}:$PATH\nbind 'set bell-style none'\n"
    )
    run("-autocomplete-install")
    child, terminal = pty.fork()
    if child == 0:
        environment = os.environ | {"TERM": "dumb", "HISTFILE": "/dev/null"}
        os.execve(str(shutil.which("bash")), ["bash", "--rcfile", str(home / ".bashrc"), "-i"], environment)
    yield terminal
    os.write(terminal, b"\x15exit\n")
    os.waitpid(child, 0)
    os.close(terminal)


def read_until(terminal: int, expected: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + DEADLINE
    while expected not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{expected!r} did not come: {seen!r}"
        seen += os.read(terminal, 65536)
    return seen


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (b"meshnode mem", b"meshnode members "),
        (b"meshnode kv ge", b"meshnode kv get "),
        (b"meshnode operator auto", b"meshnode operator autopilot "),
        (b"meshnode kv get -recu", b"meshnode kv get -recurse "),
    ],
)
def test_tab_completes_in_bash(terminal: int, typed: bytes, completed: bytes) -> None:
    read_until(terminal, b"ready> ")
    os.write(terminal, typed + b"\t")
    read_until(terminal, completed)
