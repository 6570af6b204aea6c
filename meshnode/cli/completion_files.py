"""``-autocomplete-install`` and ``-autocomplete-uninstall`` edit the rc files of bash, zsh and fish; and the answer."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import HelpRequested
from meshnode.cli.completion import SHELLS, Shell, complete, script, with_block, without_block

__all__ = ["answer", "install", "uninstall"]


def answer(commands: Mapping[str, tuple[str, str]], environ: Mapping[str, str]) -> int:
    """Print the candidates for ``COMP_LINE`` up to ``COMP_POINT``, one a line."""
    line = environ["COMP_LINE"]
    point = environ.get("COMP_POINT", "")
    if point.isascii() and point.isdigit():
        # bash counts bytes.
        line = os.fsencode(line)[: int(point[:9])].decode(errors="replace")

    def help_of(name: str) -> str:
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                import_module(commands[name][0]).run([*name.split()[1:], "-h"])
        except HelpRequested as usage:
            return str(usage)
        except MeshError:
            return ""
        return printed.getvalue()

    for candidate in complete(line, commands, help_of):
        print(candidate)
    return 0


def install(environ: Mapping[str, str], program: str) -> int:
    """Make each shell of this user complete ``program``; doing it again changes nothing."""
    path, name = os.path.abspath(program), _name(program)
    for shell, file in _files(environ, name).items():
        body = script(shell, path, name)
        old = _read(file)
        try:
            new = body if shell == "fish" else with_block(old, name, body)
        except ConfigError as error:
            raise ConfigError(str(error), where=str(file)) from None
        if new != old:
            _write(file, new)
        print(f"{shell}: {file}: {'written; new shells complete ' + name if new != old else 'nothing to do'}")
    return 0


def uninstall(environ: Mapping[str, str], program: str) -> int:
    """Take out what :func:`install` wrote, and nothing else."""
    name = _name(program)
    for shell, file in _files(environ, name).items():
        old = _read(file)
        try:
            new = "" if shell == "fish" else without_block(old, name)
        except ConfigError as error:
            raise ConfigError(str(error), where=str(file)) from None
        if new != old and shell == "fish":
            file.unlink()
        elif new != old:
            _write(file, new)
        print(f"{shell}: {file}: {'removed' if new != old else 'nothing to do'}")
    return 0


def _name(program: str) -> str:
    name = os.path.basename(program)
    if name.endswith(".py"):
        raise ConfigError(
            f"{name} is no command that is typed: call the program by its name, meshnode or consul"
        )
    return name


def _files(environ: Mapping[str, str], name: str) -> dict[Shell, Path]:
    """The file of each shell that this user has: there is an rc file, or it is the login shell."""
    if not environ.get("HOME"):
        raise ConfigError("HOME is not set: it says where the files of the shell are")
    home = Path(environ["HOME"])
    fish = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish"
    files: dict[Shell, Path] = {
        "bash": home / ".bashrc",
        "zsh": Path(environ.get("ZDOTDIR") or home) / ".zshrc",
        "fish": fish / "completions" / f"{name}.fish",
    }
    login = os.path.basename(environ.get("SHELL", ""))
    there = {"bash": files["bash"].exists(), "zsh": files["zsh"].exists(), "fish": fish.is_dir()}
    found = {shell: files[shell] for shell in SHELLS if there[shell] or shell == login}
    if not found:
        raise ConfigError(
            f"no shell to set up: there is no {files['bash']}, no {files['zsh']} and no {fish}, and SHELL is none "
            "of bash, zsh and fish"
        )
    return found


def _read(file: Path) -> str:
    """The text with its line ends and every byte, "" when there is no file."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise MeshError(f"{file} can't be read: {error.strerror}") from None


def _write(file: Path, text: str) -> None:
    """Replace the file in one step, keeping its mode; a link stays one, and what it points to is changed."""
    target = Path(os.path.realpath(file))
    temporary = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MeshError(f"{file} can't be written: {error.strerror}") from None
