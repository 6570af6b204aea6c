"""Config entries for tests: from HCL as the documents write it, and tables of them."""

from __future__ import annotations

from typing import Any

from meshnode.config_entries.model import ConfigEntry
from meshnode.config_entries.parse import parse_entry
from meshnode.config_entries.table import EntryTable
from meshnode.hcl.located import plain
from meshnode.hcl.parse import parse_hcl

__all__ = ["entry", "http", "plain_of", "table"]


def plain_of(text: str) -> dict[str, Any]:
    """The object that a text of HCL or JSON is."""
    value = plain(parse_hcl(text, "entry.hcl"))
    assert isinstance(value, dict)
    return value


def entry(text: str) -> ConfigEntry:
    """The entry that a text of HCL or JSON describes."""
    return parse_entry(plain_of(text))


def http(*services: str, protocol: str = "http") -> list[ConfigEntry]:
    """Defaults that say that these services speak HTTP."""
    return [
        parse_entry({"Kind": "service-defaults", "Name": name, "Protocol": protocol}) for name in services
    ]


def table(*entries: ConfigEntry | str) -> EntryTable:
    """A table of entries, or of texts that describe them."""
    rows = [entry(each) if isinstance(each, str) else each for each in entries]
    return EntryTable({row.key: row for row in rows})
