"""Reading the files of the web page from the package."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

__all__ = ["page_files"]


def page_files() -> dict[str, bytes]:
    """Path below ``/ui/`` -> content, of every file of the page; raises ``OSError`` when the package is not whole."""
    return dict(_walk(files("meshnode.ui") / "static", ""))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry.read_bytes()
