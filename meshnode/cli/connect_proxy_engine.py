"""The sidecars of ``connect proxy``: in this process, or in workers, each with connections of its own to the agent."""

from __future__ import annotations

import contextlib
import functools
import resource
from dataclasses import dataclass, field
from typing import Final

from meshnode.client.agent import AgentClient
from meshnode.client.mesh import AgentAuthorizer, AgentCertificates, AgentDiscovery
from meshnode.client.settings import ApiSettings
from meshnode.proxy.config import ProxyConfig
from meshnode.runtime.logs import LogHub
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.process import Engine, OneProcess
from meshnode.runtime.proxy.sidecar import Sidecar
from meshnode.runtime.proxy.static import AllowAll, StaticCertificates
from meshnode.runtime.proxy.workers import Workers

__all__ = ["MAX_DESCRIPTORS", "SidecarMaker", "make_engine", "raise_descriptor_limit", "start_logging"]

#: Open files of one process: two for each of its connections, with room for several listeners that are full.
MAX_DESCRIPTORS: Final = 262_144


@dataclass(frozen=True, slots=True)
class SidecarMaker:
    """How a sidecar of ``service`` is made; it can be pickled for the process of a worker.

    ``static`` is the certificate of ``-dev-config``: nobody is asked who may connect then.
    """

    settings: ApiSettings = field(repr=False)
    service: str
    datacenter: str
    log_level: int
    static: TlsMaterial | None = None

    def make(
        self, *, shared: bool = False, announce: bool = True, first_id: int = 1, id_step: int = 1
    ) -> Sidecar:
        """A sidecar that is not started; to be called where its event loop runs."""
        client = AgentClient(self.settings)
        certificates = (
            StaticCertificates(self.static) if self.static else AgentCertificates(client, self.service)
        )
        authorizer = AllowAll() if self.static else AgentAuthorizer(client, self.service)
        discovery = AgentDiscovery(client, self.datacenter)
        return Sidecar(
            certificates, authorizer, discovery,
            shared=shared, announce=announce, first_id=first_id, id_step=id_step,
        )  # fmt: skip

    def in_worker(self, first_id: int, id_step: int) -> Sidecar:
        """The same in the process of a worker, whose log has to be set up first."""
        start_logging(self.log_level)
        return self.make(shared=True, announce=first_id == 1, first_id=first_id, id_step=id_step)


def start_logging(level: int) -> LogHub:
    """Lines as Consul's proxy writes them, to standard output."""
    logs = LogHub(level, with_source=False)
    logs.install()
    return logs


def raise_descriptor_limit() -> None:
    """Open files up to what this process may have: a connection takes two, and shells give programs 1024 at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def make_engine(maker: SidecarMaker, config: ProxyConfig, workers: int) -> Engine:
    """One process, or ``workers`` of them."""
    if workers == 1:
        return OneProcess(maker.make(), config)
    return Workers(functools.partial(SidecarMaker.in_worker, maker), config, workers)
