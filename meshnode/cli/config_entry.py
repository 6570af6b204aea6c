"""``config delete``, ``list``, ``read`` and ``write``: config entries. Outputs are those of Consul 1.10."""

from __future__ import annotations

from typing import Any, Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import Flag, FlagError, FlagSet, Parsed
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.data_argument import read_argument, read_file
from meshnode.cli.output import go_json
from meshnode.hcl.located import plain
from meshnode.hcl.parse import parse_hcl

__all__ = ["run"]

_BASE: Final = "/v1/config"
_INDENT: Final = "    "
_MAX_INDEX: Final = 2**63 - 1


def run(args: list[str]) -> int:
    """Run the command named by ``args[0]``."""
    commands = {"delete": _delete, "list": _list, "read": _read, "write": _write}
    return commands[args[0]](args[1:])


def _write(args: list[str]) -> int:
    flags = FlagSet(
        "config write",
        "Usage: consul config write [options] FILE",
        "Creates or changes the config entry that FILE describes, in JSON or HCL; - is standard input.",
    )
    cas, index = _cas_flags(flags, "write the entry")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    if len(parsed.positionals) != 1:
        raise FlagError("Must provide exactly one positional argument to specify the config entry to write")
    entry = _entry(parsed.positionals[0])
    query = client_flags.write_query(parsed) | _condition(parsed, cas, index)
    shown = f"{_text(entry, 'Kind')}/{_text(entry, 'Name')}"
    client = client_flags.client(parsed, f"Error writing config entry {shown}")
    if client.send_json("PUT", _BASE, entry, query) is not True:
        raise MeshError(f"Config entry not updated: {shown}")
    print(f"Config entry written: {shown}")
    return 0


def _read(args: list[str]) -> int:
    flags = FlagSet(
        "config read",
        "Usage: consul config read [options] -kind <config kind> -name <config name>",
        "Shows a config entry as JSON.",
    )
    kind_flag, name_flag = _kind_flag(flags, "read"), _name_flag(flags, "read")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    kind, name = _given(parsed, kind_flag), _given(parsed, name_flag)
    client = client_flags.client(parsed, f"Error reading config entry {kind}/{name}")
    print(go_json(client.get_json(_path(kind, name), client_flags.query(parsed)), _INDENT))
    return 0


def _list(args: list[str]) -> int:
    flags = FlagSet(
        "config list",
        "Usage: consul config list [options] -kind <config kind>",
        "Lists the names of the config entries of a kind.",
    )
    kind_flag = _kind_flag(flags, "list")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    kind = _given(parsed, kind_flag)
    client = client_flags.client(parsed, f"Error listing config entries for kind {kind}")
    for row in client.get_json(f"{_BASE}/{path_segment(kind)}", client_flags.query(parsed)) or []:
        print(row["Name"])
    return 0


def _delete(args: list[str]) -> int:
    flags = FlagSet(
        "config delete",
        "Usage: consul config delete [options] -kind <config kind> -name <config name>",
        "Deletes a config entry, named by its kind and name, or by a file that describes it.",
    )
    kind_flag, name_flag = _kind_flag(flags, "delete"), _name_flag(flags, "delete")
    file_flag = flags.string(
        "filename", "File that describes the config entry to delete.", placeholder="file"
    )
    cas, index = _cas_flags(flags, "delete the entry")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    if parsed.given(file_flag):
        if parsed.given(kind_flag) or parsed.given(name_flag):
            raise FlagError("filename can't be used with kind or name")
        entry = _entry(parsed[file_flag])
        kind, name = _text(entry, "Kind"), _text(entry, "Name")
        if not (kind and name):
            raise MeshError(f"{parsed[file_flag]}: Kind and Name are required")
    else:
        kind, name = _given(parsed, kind_flag), _given(parsed, name_flag)
    if parsed[cas] and parsed[index].strip("0") == "":
        raise FlagError("Must specify a -modify-index greater than 0 with -cas")
    query = client_flags.write_query(parsed) | _condition(parsed, cas, index)
    client = client_flags.client(parsed, f"Error deleting config entry {kind}/{name}")
    if client.send_json("DELETE", _path(kind, name), None, query) is False:
        raise MeshError(f"Config entry not deleted: {kind}/{name}")
    print(f"Config entry deleted: {kind}/{name}")
    return 0


def _kind_flag(flags: FlagSet, verb: str) -> Flag[str]:
    return flags.string("kind", f"Kind of the config entry to {verb}.", placeholder="kind")


def _name_flag(flags: FlagSet, verb: str) -> Flag[str]:
    return flags.string("name", f"Name of the config entry to {verb}.", placeholder="name")


def _cas_flags(flags: FlagSet, verb: str) -> tuple[Flag[bool], Flag[str]]:
    cas = flags.boolean("cas", f"Only {verb} if it was last changed at -modify-index; 0: if there is none.")
    index = flags.string("modify-index", "The ModifyIndex to compare with, for -cas.", placeholder="int")
    return cas, index


def _condition(parsed: Parsed, cas: Flag[bool], index: Flag[str]) -> dict[str, str]:
    text = parsed[index]
    if not parsed[cas]:
        if parsed.given(index):
            raise FlagError("Cannot specify -modify-index without -cas")
        return {}
    if text and not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= _MAX_INDEX):
        raise FlagError(f"-modify-index: {text[:40]!r} is no index: write a whole number")
    return {"cas": text or "0"}


def _given(parsed: Parsed, flag: Flag[str]) -> str:
    if not parsed[flag]:
        raise FlagError(f"Must specify the -{flag.name} parameter")
    return parsed[flag]


def _entry(name: str) -> dict[str, Any]:
    """The object that a file holds, in JSON or HCL; what is in it is the server's to judge."""
    data = read_argument("-") if name == "-" else read_file(name)
    where = "standard input" if name == "-" else name
    try:
        value = plain(parse_hcl(data.decode(), where))
    except UnicodeDecodeError:
        raise MeshError(f"Failed to decode config entry input: {where} is not UTF-8") from None
    except ConfigError as error:
        raise MeshError(f"Failed to decode config entry input: {error}") from None
    if not isinstance(value, dict):
        raise MeshError(f"Failed to decode config entry input: {where} holds no object")
    if not _text(value, "Kind"):
        raise MeshError(f"Failed to decode config entry input: {where}: Kind is required")
    return value


def _text(entry: dict[str, Any], name: str) -> str:
    """A field in either spelling."""
    found = next((value for key, value in entry.items() if key.lower() == name.lower()), "")
    if name == "Name" and not found and _text(entry, "Kind") == "proxy-defaults":
        return "global"
    return found if isinstance(found, str) else ""


def _path(kind: str, name: str) -> str:
    return f"{_BASE}/{path_segment(kind)}/{path_segment(name)}"
