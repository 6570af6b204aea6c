# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service of the inventory as what is to be on its node: definition, application, sidecar. Touches no node."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import load_json
from ansible_collections.meshnode.lab.plugins.module_utils._node_spec import render_unit

#: Keys of a service in the inventory that are about its processes; all others are the agent's definition of it.
OWN_KEYS = ("command", "data_plane", "environment", "files", "unit_settings")
BUILTIN, ENVOY = "builtin", "envoy"
#: Who carries the bytes of a sidecar.
DATA_PLANES = (BUILTIN, ENVOY)
MAX_SERVICES = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
#: What a line of a unit or of an environment file can't hold.
_BREAKS = re.compile(r"[\x00-\x1f\x7f]")

APPLICATION = """\
[Unit]
Description={id}, a service of the mesh
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=60
StartLimitBurst=10

[Service]
Type=exec
User={user}
Group={user}
WorkingDirectory={folder}
EnvironmentFile={environment}
ExecStart={command}
"""
SIDECAR = """\
[Unit]
Description=sidecar proxy of {id}
Wants={agent}.service
After=network-online.target {agent}.service
StartLimitIntervalSec=60
StartLimitBurst=10

[Service]
Type=exec
User={user}
Group={user}
EnvironmentFile={environment}
{credentials}ExecStart={command}
{stopping}TimeoutStopSec=20
LimitNOFILE=65536
"""
BUILTIN_STOPPING = """\
# The first signal lets what is open end, for ten seconds.
KillMode=mixed
"""
#: It makes machine code of what it is told, where the built-in proxy is not let.
ENVOY_SETTINGS = "MemoryDenyWriteExecute=no\n"
#: Of both: they speak to strangers, so they may write nothing, and gain nothing.
HARDENED = """\
Restart=always
RestartSec=1
UMask=0077
AmbientCapabilities=
CapabilityBoundingSet=
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
{settings}
[Install]
WantedBy=multi-user.target
"""


class ServicesError(Exception):
    """The services can't be as they are wanted; the text names the thing and the fix."""


@dataclass(frozen=True)
class Places:
    """Where things are on the node, who runs them, and how a sidecar finds the agent."""

    config_dir: str = "/etc/consul.d"
    environment_dir: str = "/etc/meshnode/services"
    files_dir: str = "/usr/local/lib/meshnode/services"
    unit_dir: str = "/etc/systemd/system"
    manifest: str = "/etc/meshnode/services.json"
    program: str = "/opt/meshnode/current/bin/meshnode"
    agent: str = "consul"
    group: str = "consul"
    user: str = "mesh-app"
    sidecar_user: str = "mesh-proxy"
    address: str = "http://127.0.0.1:8500"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    token: str | None = None
    package: str = ""
    #: Packages of before, whose sidecars may run on; none where each sidecar is to run C(package).
    kept_packages: tuple[str, ...] = ()
    #: Of the sidecars whose service says nothing about it.
    data_plane: str = BUILTIN
    #: Envoy's program with its digest; where there is no digest the node has one of its own on C(PATH).
    envoy: str = "/usr/local/lib/meshnode/envoy"
    envoy_digest: str = ""

    def definition(self, service_id: str) -> str:
        """The file that the agent reads."""
        return f"{self.config_dir}/mesh-service-{service_id}.json"

    def application_unit(self, service_id: str) -> str:
        """Name of the unit."""
        return f"mesh-app-{service_id}.service"

    def sidecar_unit(self, service_id: str) -> str:
        """Name of the unit."""
        return f"mesh-sidecar-{service_id}.service"

    def folder(self, service_id: str) -> str:
        """Folder that the application runs in, with its files."""
        return f"{self.files_dir}/{service_id}"

    def environment(self, unit: str) -> str:
        """The unit's environment, which only root reads."""
        return f"{self.environment_dir}/{unit.removesuffix('.service')}.env"


def packages_in_use(places: Places) -> list[str]:
    """Packages of before that sidecars run on with, as the last run has noted: they stay on disk."""
    found = load_json(places.manifest).get("packages")
    return sorted(str(one) for one in found) if isinstance(found, list) else []


@dataclass(frozen=True)
class Unit:
    """A unit, with the text of its environment file. ``digest`` is of all that it is started with."""

    name: str
    text: str
    environment: str
    digest: str
    #: What processes carry that may run on, though a start would be with something else: digest -> their package.
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    """One service: what the agent reads, the files of its application by name, and its units."""

    id: str
    definition: str
    files: Mapping[str, str]
    units: tuple[Unit, ...]
    #: Ids that the agent is to know afterwards: the service's, and its sidecar's.
    registered: tuple[str, ...]
    #: Who carries the bytes of its sidecar; empty without one.
    data_plane: str = ""


def wants_envoy(rows: Any, default: str) -> bool:
    """Whether a sidecar of C(services) is to be Envoy, as far as they are well-formed; services_from judges them."""
    rows = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    return any(
        str(row.get("data_plane") or default) == ENVOY
        and isinstance(row.get("connect"), Mapping)
        and row["connect"].get("sidecar_service") is not None
        for row in rows
    )


def services_from(rows: Iterable[Mapping[str, Any]], places: Places) -> list[Service]:
    """The services of the inventory; raises :class:`ServicesError` naming the one that can't be."""
    made: dict[str, Service] = {}
    for number, row in enumerate(rows):
        if number == MAX_SERVICES:
            raise ServicesError(f"services: are more than {MAX_SERVICES} on one node: put some elsewhere")
        service = _service(row, f"services[{number}]", places)
        if service.id in made:
            raise ServicesError(
                f"services[{number}]: the id {service.id} comes twice on this node: set id for one"
            )
        made[service.id] = service
    return list(made.values())


def _service(row: Mapping[str, Any], where: str, places: Places) -> Service:
    definition = {key: value for key, value in row.items() if key not in OWN_KEYS}
    service_id = str(definition.get("id") or definition.get("name") or "")
    if not _NAME.fullmatch(service_id):
        raise ServicesError(
            f"{where}: {service_id[:80]!r} is no name for files and units: write name (or id) with letters, digits, "
            "'.', '_' and '-', at most 64"
        )
    files = _mapping(row, "files", where)
    for name, content in files.items():
        if not _NAME.fullmatch(str(name)) or not isinstance(content, str):
            raise ServicesError(f"{where}.files.{name}: write a file name without '/', and its text")
    units = []
    if row.get("command"):
        units.append(_application(service_id, row, files, where, places))
    registered = [service_id]
    connect = definition.get("connect")
    sidecar = connect.get("sidecar_service") if isinstance(connect, Mapping) else None
    plane = _data_plane(row, sidecar is not None, where, places)
    if plane:
        units.append(_sidecar(service_id, definition, plane, where, places))
        registered.append(str((sidecar or {}).get("id") or f"{service_id}-sidecar-proxy"))
    text = json.dumps({"service": definition}, indent=4, sort_keys=True) + "\n"
    return Service(service_id, text, files, tuple(units), tuple(registered), plane)


def _data_plane(row: Mapping[str, Any], has_sidecar: bool, where: str, places: Places) -> str:
    said = row.get("data_plane")
    if said is not None and said not in DATA_PLANES:
        raise ServicesError(
            f"{where}.data_plane: {str(said)[:80]!r} is none: write {' or '.join(DATA_PLANES)}"
        )
    if said == ENVOY and not has_sidecar:
        raise ServicesError(
            f"{where}.data_plane: the service has no sidecar that could be Envoy: add connect.sidecar_service, "
            "or leave data_plane out"
        )
    return str(said or places.data_plane) if has_sidecar else ""


def _mapping(row: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = row.get(key) or {}
    if not isinstance(value, Mapping):
        raise ServicesError(f"{where}.{key}: is a {type(value).__name__}: write names and values")
    return value


def _application(
    service_id: str, row: Mapping[str, Any], files: Mapping[str, str], where: str, places: Places
) -> Unit:
    name = places.application_unit(service_id)
    text = APPLICATION.format(
        id=service_id,
        user=places.user,
        folder=places.folder(service_id),
        environment=places.environment(name),
        command=_command(row["command"], where),
    )
    text += HARDENED.format(settings=_settings(row, where))
    environment = render_environment(_mapping(row, "environment", where), f"{where}.environment")
    return unit_from(name, text, environment, *(f"{key}\0{files[key]}" for key in sorted(files)))


def _sidecar(service_id: str, definition: Mapping[str, Any], plane: str, where: str, places: Places) -> Unit:
    name = places.sidecar_unit(service_id)
    variables = {"CONSUL_HTTP_ADDR": places.address}
    credentials = ""
    if places.ca_file:
        variables |= {"CONSUL_CACERT": places.ca_file, "CONSUL_HTTP_SSL": "true"}
        held = {"ca": places.ca_file}
        if places.cert_file and places.key_file:
            held |= {"cert": places.cert_file, "key": places.key_file}
        # The agent's key is for the agent alone, so root copies it into a folder in memory that is this user's and goes
        # with the process. LoadCredential would do the same, but not in a container.
        folder = f"/run/{name.removesuffix('.service')}"
        credentials = f"RuntimeDirectory={name.removesuffix('.service')}\nRuntimeDirectoryMode=0700\n"
        for short, path in held.items():
            copy = ["/usr/bin/install", "-T", f"--owner={places.sidecar_user}", "--mode=0400", path]
            credentials += f"ExecStartPre=+{_command([*copy, f'{folder}/{short}'], where)}\n"
        names = {"ca": "CONSUL_CACERT", "cert": "CONSUL_CLIENT_CERT", "key": "CONSUL_CLIENT_KEY"}
        variables |= {names[short]: f"{folder}/{short}" for short in held}
    if token := definition.get("token") or places.token:
        variables["CONSUL_HTTP_TOKEN"] = token
    text = SIDECAR.format(
        id=service_id,
        agent=places.agent,
        user=places.sidecar_user,
        environment=places.environment(name),
        credentials=credentials,
        command=_command(_sidecar_words(service_id, plane, places), where),
        stopping="" if plane == ENVOY else BUILTIN_STOPPING,
    )
    text += HARDENED.format(settings=ENVOY_SETTINGS if plane == ENVOY else "")
    environment = render_environment(variables, where)
    if plane == ENVOY:  # meshnode starts it, and is not in the process then: a new package is no reason
        return unit_from(name, text, environment, places.envoy_digest)
    kept = {unit_from(name, text, environment, one).digest: one for one in places.kept_packages}
    return replace(unit_from(name, text, environment, places.package), kept=kept)


def _sidecar_words(service_id: str, plane: str, places: Places) -> list[str]:
    if plane == BUILTIN:
        return [places.program, "connect", "proxy", "-sidecar-for", service_id]
    words = [places.program, "connect", "envoy", "-sidecar-for", service_id]
    # Two Envoys of a node would be in each other's way, and whoever asks its administration may stop it.
    words.append("-admin-bind=")
    return words + (["-envoy-binary", places.envoy] if places.envoy_digest else [])


def unit_from(name: str, text: str, environment: str, *inputs: str) -> Unit:
    """All that it is started with is in the digest that its process carries, so that a later run knows what changed."""
    parts = "\0".join([environment, *inputs])
    # Salted with the text, so that nothing short in the environment could be guessed from a world-readable unit.
    digest = hashlib.sha256(f"{text}\0{parts}".encode()).hexdigest()
    whole = render_unit(f"# Managed by Ansible. {digest[:32]}\n{text}")
    carried = whole.partition("Environment=")[2].partition("\n")[0].partition("=")[2]
    return Unit(name, whole, environment, carried)


def _command(command: Any, where: str) -> str:
    """As systemd reads it back: neither variables nor specifiers of its own."""
    if isinstance(command, str):
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ServicesError(f"{where}.command: {error}: write it as a list of words") from None
    else:
        words = command
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ServicesError(f"{where}.command: write a line, or a list of words")
    return " ".join(_word(word, f"{where}.command") for word in words)


def _word(word: str, where: str) -> str:
    if _BREAKS.search(word):
        raise ServicesError(f"{where}: {word!r} has control characters: leave them out, or run a script")
    if _PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _settings(row: Mapping[str, Any], where: str) -> str:
    lines = []
    for name, value in sorted(_mapping(row, "unit_settings", where).items()):
        if _BREAKS.search(f"{name}{value}"):
            raise ServicesError(f"{where}.unit_settings.{name}: has a line break: write one line")
        lines.append(f"{name}={str(value).lower() if isinstance(value, bool) else value}\n")
    return "".join(lines)


def render_environment(variables: Mapping[str, Any], where: str) -> str:
    """NAME="value" lines, sorted, as systemd reads them."""
    lines = ["# Managed by Ansible."]
    for name in sorted(variables):
        value = str(variables[name])
        if not _VARIABLE.fullmatch(str(name)) or _BREAKS.search(value):
            raise ServicesError(
                f"{where}.{name}: write a name of letters, digits and _, and one line of text"
            )
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
        lines.append(f'{name}="{escaped}"')
    return "\n".join(lines) + "\n"
