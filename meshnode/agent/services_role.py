"""The agent's own services and checks, put together: local state, files, runners, and the sync with the catalog."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from meshnode.agent.config.assemble import settings_of
from meshnode.agent.config.checks_proxies import proxy_rules
from meshnode.agent.config.model import AgentConfig, LocalConfig
from meshnode.agent.local_changes import LocalAliases, LocalChanges, ServerCall
from meshnode.agent.local_config import ConfiguredDefinitions, read_definitions
from meshnode.agent.local_effects import LocalPerformer, LocalStateView
from meshnode.agent.local_services import LocalPolicy, LocalServices
from meshnode.agent.local_sync import CatalogSync
from meshnode.agent.managed_command import api_environment, inherited, own_command
from meshnode.agent.managed_proxies import ManagedProxies, ManagedSettings
from meshnode.base.errors import MeshError
from meshnode.catalog.model import Node
from meshnode.local.definitions import ScriptPolicy
from meshnode.local.state import LocalSettings, LocalState
from meshnode.runtime.checks.clock import LoopClock
from meshnode.runtime.checks.runner import CheckRunners
from meshnode.runtime.local_files import LocalFiles
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.runtime.tls import TlsContexts

__all__ = ["MANAGED_ROOT_REFUSAL", "ServicesRole"]

#: Why a root agent runs no managed proxy.
MANAGED_ROOT_REFUSAL: Final = (
    "the agent runs as root: set connect.proxy.allow_managed_root to true, or run the agent as another user"
)


class ServicesRole:
    """``call`` asks a server, ``token`` is the agent's own, ``members`` counts the LAN pool."""

    def __init__(
        self,
        config: AgentConfig,
        node_id: str,
        *,
        tls: TlsContexts,
        call: ServerCall,
        token: Callable[[], str],
        members: Callable[[], int],
        rng: random.Random,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._node_id = node_id
        self._config = config
        self.state = LocalState(_node(config, node_id), _settings(config.local), rng)
        changes = LocalChanges(self.state)
        aliases = LocalAliases(self.state, changes, call, token)
        self._runners = CheckRunners(
            spawn,
            rng,
            LoopClock(),
            lambda skip: tls.checks_client(
                skip_verify=skip, present_certificate=self._config.local.enable_agent_tls_for_checks
            ),
            alias=aliases,
        )
        data_dir = config.identity.data_dir
        self.services = LocalServices(
            self.state,
            changes,
            self._runners,
            LocalFiles(Path(data_dir)) if data_dir else None,
            _policy(config),
            clock=loop.time,
            wall_clock=time.time,
        )
        self._sync = CatalogSync(
            self.state, changes, call, members=members, token=token, clock=loop.time, rng=rng
        )
        self.view = LocalStateView(self.state)
        self.performer = LocalPerformer(self.services)
        self.proxies = ManagedProxies(self.state, changes, _managed(config), clock=loop.time)
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        """Load what is configured and what was saved, and begin. Raises :class:`MeshError`."""
        found = _definitions(self._config)
        if found.problems:
            raise found.problems[0]
        self.services.load(found.services, found.checks)
        self._tasks = [
            spawn(self._sync.run(), name="catalog sync"),
            spawn(self.services.reap_for_ever(), name="service reaper"),
        ]

    def run_proxies(self) -> None:
        """Start managed proxies from now on: there is an API that they can ask."""
        self.proxies.start()

    async def stop_syncing(self) -> None:
        """Tell the servers nothing any more: whoever leaves must not put itself into the catalog again."""
        await cancel_and_wait(*self._tasks)

    async def stop(self) -> None:
        """End every check; what is registered stays so, and managed proxies go on if a later run can find them."""
        await self.proxies.stop()
        await cancel_and_wait(*self._tasks)
        await self._runners.stop_all()

    def check_reload(self, config: AgentConfig) -> None:
        """Raise :class:`MeshError` when the definitions of ``config`` can't be used; nothing changes."""
        found = _definitions(config)
        if found.problems:
            raise MeshError("; ".join(map(str, found.problems)))
        self.services.check(found.services, found.checks)

    def reload(self, config: AgentConfig) -> None:
        """Take over a configuration that was checked."""
        self._config = config
        self.state.settings = _settings(config.local)
        self.services.policy = _policy(config)
        self.state.set_node(_node(config, self._node_id))
        found = _definitions(config)
        self.services.reload(found.services, found.checks)

    def servers_changed(self) -> None:
        """There is a server that wasn't there."""
        self._sync.servers_appeared()

    def tags(self) -> Mapping[str, Iterable[str]]:
        """The services and their tags, for the filters of user events."""
        return {service.name: service.tags for service in self.state.services()}


def _node(config: AgentConfig, node_id: str) -> Node:
    identity, addresses = config.identity, config.addresses
    return Node(
        name=identity.node_name,
        address=addresses.advertise,
        id=node_id,
        datacenter=identity.datacenter,
        tagged_addresses={
            **identity.tagged_addresses,
            "lan": addresses.advertise,
            "wan": addresses.advertise_wan,
        },
        meta=dict(identity.node_meta),
    )


def _settings(local: LocalConfig) -> LocalSettings:
    return LocalSettings(
        check_update_interval=local.check_update_interval, discard_check_output=local.discard_check_output
    )


def _policy(config: AgentConfig) -> LocalPolicy:
    local = config.local
    return LocalPolicy(
        ScriptPolicy(local.enable_script_checks, local.enable_local_script_checks),
        allow_managed_proxies=config.connect.allow_managed_api_registration,
        output_max_size=local.check_output_max_size,
        proxies=proxy_rules(settings_of(config).__getitem__, config.addresses.bind, own_command()),
    )


def _managed(config: AgentConfig) -> ManagedSettings:
    data_dir = config.identity.data_dir
    is_refused = os.geteuid() == 0 and not config.connect.allow_managed_root
    return ManagedSettings(
        {**inherited(os.environ), **api_environment(config)},
        Path(data_dir, "proxy") if data_dir else None,
        MANAGED_ROOT_REFUSAL if is_refused else "",
    )


def _definitions(config: AgentConfig) -> ConfiguredDefinitions:
    policy = _policy(config)
    return read_definitions(
        config.local.services, config.local.checks, proxies=policy.proxies, scripts=policy.scripts
    )
