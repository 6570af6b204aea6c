"""``services register`` and ``deregister``: services of the local agent, from files or from flags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Run ``register`` or ``deregister``; files are read and checked before the agent is asked for anything."""
    commands = {"register": _register, "deregister": _deregister}
    commands[args[0]](args[1:])
    return 0


def _register(args: list[str]) -> None:
    flags = FlagSet(
        "services register",
        "Usage: consul services register [options] [FILE...]",
        "Registers the services of configuration files (HCL or JSON), or the one that the flags describe. They stay "
        "registered until they are deregistered.",
    )
    name = flags.string("name", "Name of the service, when no file is given.", placeholder="name")
    service_id = flags.string("id", "ID of the service; left out, the name.", placeholder="id")
    address = flags.string("address", "Address of the service; left out, the node's.", placeholder="address")
    port = flags.integer("port", "Port of the service.", minimum=0, maximum=65535)
    tags = flags.strings("tag", "Tag of the service.", placeholder="tag")
    meta = flags.strings("meta", "Metadata of the service.", placeholder="key=value")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    if parsed.misplaced():
        raise FlagError(f"{parsed.misplaced()[0]} must come before the files")
    if not parsed.positionals and not parsed[name]:
        raise FlagError("Service registration requires at least one argument or flags.")
    if parsed.positionals and parsed.given_names() & {"name", "id", "address", "port", "tag", "meta"}:
        raise FlagError("Service registration requires arguments or -id, not both.")
    if parsed.positionals:
        services = _checked(parsed.positionals)
    else:
        tag_list: tuple[str, ...] = parsed[tags]
        service: dict[str, Any] = {"Name": parsed[name], "ID": parsed[service_id], "Port": parsed[port]}
        service |= {"Address": parsed[address], "Tags": list(tag_list), "Meta": _pairs(parsed[meta])}
        services = [{key: value for key, value in service.items() if value}]
    names = [_shown(service) for service in services]
    for at, service in enumerate(services):
        client = client_flags.client(parsed, f'Error registering service "{names[at]}"')
        try:
            client.call(
                "PUT",
                "/v1/agent/service/register",
                client_flags.write_query(parsed),
                json.dumps(service).encode(),
            )
        except MeshError as error:
            raise MeshError(f"{error}{_progress(names, at)}") from None
        print(f"Registered service: {names[at]}")


def _deregister(args: list[str]) -> None:
    flags = FlagSet(
        "services deregister",
        "Usage: consul services deregister [options] [FILE...]",
        "Deregisters the services of configuration files, or the one called -id. Ask the agent that they were "
        "registered with.",
    )
    service_id = flags.string("id", "ID of the service, when no file is given.", placeholder="id")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    if parsed.misplaced():
        raise FlagError(f"{parsed.misplaced()[0]} must come before the files")
    if not parsed.positionals and not parsed[service_id]:
        raise FlagError("Service deregistration requires at least one argument or -id.")
    if parsed.given(service_id) and parsed.positionals:
        raise FlagError("Service deregistration requires arguments or -id, not both.")
    if parsed.positionals:
        ids = [str(row.get("id") or row["name"]) for row in _from_files(parsed.positionals)]
    else:
        ids = [parsed[service_id]]
    for found in ids:
        client_flags.client(parsed, f'Error deregistering service "{found}"').call(
            "PUT",
            f"/v1/agent/service/deregister/{path_segment(found)}",
            client_flags.write_query(parsed),
        )
        print(f"Deregistered service: {found}")


def _shown(service: Mapping[str, Any]) -> str:
    return str(service.get("name") or service.get("Name") or service.get("id"))


def _progress(names: Sequence[str], at: int) -> str:
    """What became of the others when the service at ``at`` was refused; nothing where it is the only one."""
    done = f"; registered before it: {', '.join(names[:at])}" if at else ""
    left = f"; not tried: {', '.join(names[at + 1 :])}" if at + 1 < len(names) else ""
    return done + left


def _checked(paths: tuple[str, ...]) -> list[dict[str, Any]]:
    """The services of the files, each one that an agent would take as far as that can be told without asking one."""
    from meshnode.local.definitions import definition_fault  # here: flags need none of it
    from meshnode.local.parse import parse_service

    checked: list[dict[str, Any]] = []
    for path in paths:
        for service in _from_files((path,)):
            try:
                fault = definition_fault(parse_service(service), "")
            except MeshError as error:
                fault = str(error)
            if fault:
                raise MeshError(f'Error: {path}: service "{_shown(service)}": {fault}')
            checked.append(service)
    return checked


def _from_files(paths: tuple[str, ...]) -> list[dict[str, Any]]:
    from meshnode.cli.service_files import read_services  # here: flags need no parser

    try:
        return read_services(paths)
    except MeshError as error:
        raise MeshError(f"Error: {error}") from None


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f'-meta: Missing "=" value in argument: {text}: write key=value')
        pairs[key] = value
    return pairs
