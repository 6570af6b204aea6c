"""Where settings come from: files, directories, variables of the environment.

A directory is read in the order of its file names, without its subdirectories; symbolic links to files are followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshnode.agent.config.schema import Fragment, read_settings
from meshnode.base.errors import ConfigError
from meshnode.hcl.json_text import parse_json
from meshnode.hcl.located import Node
from meshnode.hcl.parse import parse_hcl

__all__ = [
    "LOCAL_CONFIG_VARIABLES",
    "Source",
    "config_files",
    "environment_sources",
    "read_source",
]

#: Text of a configuration, as the official container image takes it; read after the files, like a file of its own.
LOCAL_CONFIG_VARIABLES: Final = ("CONSUL_LOCAL_CONFIG", "MESHNODE_LOCAL_CONFIG")
_FORMATS: Final = {".json": "json", ".hcl": "hcl"}


@dataclass(frozen=True, slots=True)
class Source:
    """A text, where it comes from, and its format: ``json`` or ``hcl``."""

    where: str
    text: str
    format: str


def config_files(paths: Iterable[str], config_format: str = "") -> tuple[list[Path], list[str]]:
    """The files behind ``paths`` in the order of reading, and warnings about files that are skipped.

    Raises ``ConfigError`` for a path that does not exist.
    """
    found: list[Path] = []
    warnings: list[str] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            names = sorted(entry.name for entry in _entries(path) if entry.is_file())
            found += [path / name for name in names if config_format or Path(name).suffix in _FORMATS]
        elif not path.exists():
            raise ConfigError(f"{text} does not exist: name a configuration file or a directory of them")
        elif config_format or path.suffix in _FORMATS:
            found.append(path)
        else:
            warnings.append(
                f"skipping file {text}, extension must be .hcl or .json, or config format must be set (-config-format)"
            )
    return found, warnings


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError as error:
        raise ConfigError(f"{directory} can't be read: {error.strerror}") from None


def read_file_source(path: Path, config_format: str = "") -> Source:
    """The text of a file; raises ``ConfigError``."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: byte {error.start} can't be read") from None
    return Source(str(path), text, config_format or _FORMATS[path.suffix])


def environment_sources(environ: Mapping[str, str]) -> list[Source]:
    """The configuration in the environment, JSON or HCL."""
    return [
        Source(f"environment variable {name}", environ[name], "hcl")
        for name in LOCAL_CONFIG_VARIABLES
        if environ.get(name, "").strip()
    ]


def read_source(source: Source) -> tuple[Fragment, list[ConfigError]]:
    """The settings of a source, and every mistake in it; a syntax error is the only one of its source."""
    try:
        node: Node = (parse_json if source.format == "json" else parse_hcl)(source.text, source.where)
    except ConfigError as problem:
        return {}, [problem]
    return read_settings(node)
