"""A cluster of agents on loopback, for the length of a ``with`` block."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.testing import guard
from meshnode.testing.addresses import Listen, Reservation
from meshnode.testing.agent import MeshAgent
from meshnode.testing.waiting import wait_until

if TYPE_CHECKING:
    from meshnode.pki.leaf import Role
    from meshnode.testing.credentials import Credentials

__all__ = ["FAST_GOSSIP", "HEALTHY_TIMEOUT", "Mesh"]

#: Seconds that a mesh may take to become healthy; it takes about one on an idle machine.
HEALTHY_TIMEOUT: Final = 60.0
_ALIVE: Final = 1
#: ``gossip_lan`` and ``gossip_wan``: a failure is noticed within seconds, on a busy machine too. A message is sent
#: twice as often as on a LAN: four times is too few for a small pool with members that died just now, which gossip
#: still goes to.
FAST_GOSSIP: Final[Mapping[str, Any]] = {
    "retransmit_mult": 8,
    "gossip_interval": "50ms",
    "probe_interval": "500ms",
    "probe_timeout": "300ms",
    "suspicion_mult": 2,
}


class Mesh:
    """``with Mesh(servers=1, clients=1) as mesh:`` starts the agents, waits until they are healthy, and ends them.

    ``servers`` and ``clients`` are numbers for each of ``datacenters``, which are joined over the WAN. ``secure``:
    gossip is encrypted, servers' RPC is mutual TLS, and HTTPS is open beside HTTP. ``acl``: access control denies by
    default; ``token`` is a management token of each datacenter, which ``api`` sends. ``config`` is merged into every
    agent's configuration, objects key by key. Raises :class:`~meshnode.base.errors.ConfigError` for what can't be asked
    for, and :class:`~meshnode.testing.agent.AgentError` when an agent doesn't start.

    With several servers the first to be elected keeps the log and the others forward to it; while it is down there is
    no leader. Everything is in ``directory``, mode 0700, which is removed at the end.
    """

    def __init__(
        self,
        servers: int = 1,
        clients: int = 0,
        *,
        secure: bool = False,
        acl: bool = False,
        datacenters: Sequence[str] = ("dc1",),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        _check(servers, clients, datacenters)
        self.datacenters = tuple(datacenters)
        self._sizes = (servers, clients)
        self._secure = secure
        self._config = dict(config or {})
        self.token = str(uuid.uuid4()) if acl else ""
        self.agents: tuple[MeshAgent, ...] = ()
        self._credentials: Credentials | None = None
        self._directory: Path | None = None
        self._reservation: Reservation | None = None
        self._guard: subprocess.Popen[str] | None = None

    # What is in it

    @property
    def directory(self) -> Path:
        """Where configurations, data and logs are; raises :class:`MeshError` when the mesh isn't running."""
        if self._directory is None:
            raise MeshError("the mesh is not running: use it inside its with block")
        return self._directory

    @property
    def servers(self) -> list[MeshAgent]:
        """Its servers, in the order of the datacenters."""
        return [agent for agent in self.agents if agent.server]

    @property
    def clients(self) -> list[MeshAgent]:
        """Its clients, in the order of the datacenters."""
        return [agent for agent in self.agents if not agent.server]

    def __getitem__(self, name: str) -> MeshAgent:
        """The agent of that name: ``server1``, ``client1``; ``dc2-server1`` with several datacenters."""
        for agent in self.agents:
            if agent.name == name:
                return agent
        raise KeyError(
            f"{name}: the agents are {', '.join(agent.name for agent in self.agents) or 'not started'}"
        )

    def __iter__(self) -> Iterator[MeshAgent]:
        """Its agents, servers first."""
        return iter(self.agents)

    @property
    def ca_file(self) -> Path:
        """The CA that HTTPS is checked against; only with ``secure=True``."""
        return self._sealed().ca_file

    def client_certificate(self, name: str = "cli") -> tuple[Path, Path]:
        """Files of a new certificate and its key, for a client of HTTPS; only with ``secure=True``."""
        return self._sealed().issue(name, "cli", self.datacenters[0])

    def _sealed(self) -> Credentials:
        if self._credentials is None:
            raise MeshError("there is no CA: write Mesh(secure=True), and use it inside its with block")
        return self._credentials

    # Life

    def __enter__(self) -> Mesh:
        """Start it; see :meth:`start`."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; see :meth:`close`."""
        self.close()

    def start(self) -> None:
        """Start every agent and wait until all are healthy; on any error nothing is left behind. Only once."""
        if self._directory is not None:
            raise MeshError("the mesh is running already")
        try:
            self._reservation = Reservation()
            self._directory = Path(tempfile.mkdtemp(prefix="meshnode-testing-"))
            self._guard = _start_guard(self._directory)
            self._credentials = _credentials(self._directory) if self._secure else None
            self.agents = tuple(self._make_agents(self._reservation))
            for agent in self.agents:
                agent.launch()
            for agent in self.agents:
                agent.wait_running()
            self.wait_healthy()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill every agent and remove the directory. Safe to call again."""
        for agent in self.agents:
            agent.kill()
        if self._directory is not None:
            guard.end_proxies(str(self._directory))
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
        if self._guard is not None:
            # No agent is left: the end of its input ends the guard too.
            self._guard.communicate()
            self._guard = None
        if self._reservation is not None:
            self._reservation.close()

    def wait_healthy(self, timeout: float = HEALTHY_TIMEOUT) -> None:
        """Wait until the agents that run are one healthy cluster in each datacenter.

        That is: each answers, sees exactly them alive, knows the leader, and each is in the catalog and passing;
        servers see the servers of all datacenters. Raises :class:`~meshnode.testing.agent.AgentError` about the agent
        that is the last obstacle, or that ran before and exited by itself.
        """
        for agent in self.agents:
            found = [""]

            def healthy(agent: MeshAgent = agent, found: list[str] = found) -> bool:
                if not agent.running:
                    return True
                found[0] = self._obstacle(agent)
                return not found[0]

            before = agent.running
            try:
                wait_until(healthy, timeout)
            except TimeoutError:
                raise agent.error(f"is not healthy after {timeout:g} s: {found[0]}") from None
            if before and not agent.running:
                raise agent.error("exited while it was waited for")

    def _obstacle(self, agent: MeshAgent) -> str:
        """What is not healthy yet as ``agent`` sees it; empty when all is well."""
        own = {a.name for a in self.agents if a.running and a.datacenter == agent.datacenter}
        everywhere = {f"{a.name}.{a.datacenter}" for a in self.servers if a.running}
        try:
            alive = _alive(agent.api("/v1/agent/members"))
            if alive != own:
                return f"it sees {sorted(alive)} alive, not {sorted(own)}"
            if agent.server and len(self.datacenters) > 1:
                alive = _alive(agent.api("/v1/agent/members?wan=1"))
                if alive != everywhere:
                    return f"it sees the servers {sorted(alive)} alive, not {sorted(everywhere)}"
            if not agent.api("/v1/status/leader"):
                return "there is no leader"
            checks = agent.api("/v1/health/state/any")
        except (MeshError, OSError) as error:
            return str(error).partition("\n")[0]
        passing = {c["Node"] for c in checks if c["CheckID"] == "serfHealth" and c["Status"] == "passing"}
        missing = own - passing
        return f"{sorted(missing)} are not passing in the catalog" if missing else ""

    # Making

    def _make_agents(self, reservation: Reservation) -> Iterator[MeshAgent]:
        servers, clients = self._sizes
        wanted = [(dc, "server", n) for dc in self.datacenters for n in range(1, servers + 1)]
        wanted += [(dc, "client", n) for dc in self.datacenters for n in range(1, clients + 1)]
        placed = [(*one, reservation.take()) for one in wanted]
        wan = [place.wan for _dc, role, _n, place in placed if role == "server"]
        for dc, role, number, place in placed:
            name = f"{dc}-{role}{number}" if len(self.datacenters) > 1 else f"{role}{number}"
            lan = [p.lan for d, r, _n, p in placed if r == "server" and d == dc and p is not place]
            yield self._make_agent(
                name, dc, place, lan, [address for address in wan if address != place.wan], role
            )

    def _make_agent(
        self, name: str, datacenter: str, place: Listen, lan: list[str], wan: list[str], role: str
    ) -> MeshAgent:
        server = role == "server"
        config: dict[str, Any] = {
            "node_name": name,
            "datacenter": datacenter,
            "server": server,
            "bind_addr": place.host,
            "client_addr": place.host,
            "ports": {
                "http": place.http,
                "dns": place.dns,
                "server": place.server,
                "serf_lan": place.serf_lan,
                "serf_wan": place.serf_wan,
            },
            "retry_join": lan,
            "retry_interval": "200ms",
            "gossip_lan": FAST_GOSSIP,
            "gossip_wan": FAST_GOSSIP,
            "performance": {"leave_drain_time": "100ms"},
            "log_level": "DEBUG",
        }
        if server:
            config["bootstrap_expect"] = self._sizes[0]
            if len(self.datacenters) > 1:
                config |= {"retry_join_wan": wan, "retry_interval_wan": "200ms"}
        if self._credentials is not None:
            config |= self._seal(self._credentials, name, datacenter, place, server=server)
            config["ports"]["https"] = place.https
        if self.token:
            config |= _access_control(self.token, datacenter)
        return MeshAgent(
            name,
            place,
            self.directory,
            _merged(config, self._config),
            datacenter=datacenter,
            server=server,
            token=self.token,
            on_launch=self._watch,
        )

    @staticmethod
    def _seal(
        credentials: Credentials, name: str, datacenter: str, place: Listen, *, server: bool
    ) -> dict[str, Any]:
        role: Role = "server" if server else "client"
        certificate, key = credentials.issue(name, role, datacenter, place.host)
        return {
            "encrypt": credentials.gossip_key,
            "ca_file": str(credentials.ca_file),
            "cert_file": str(certificate),
            "key_file": str(key),
            "verify_incoming": True,
            "verify_outgoing": True,
            "verify_server_hostname": True,
        }

    def _watch(self, pid: int) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(f"{pid}\n")
            self._guard.stdin.flush()


def _check(servers: int, clients: int, datacenters: Sequence[str]) -> None:
    if servers < 1:
        raise ConfigError(f"servers: {servers} is too few: a mesh needs 1", key="servers")
    if clients < 0:
        raise ConfigError(f"clients: {clients} is not a number of agents: write 0 or more", key="clients")
    if isinstance(datacenters, str) or not datacenters or len(set(datacenters)) != len(datacenters):
        raise ConfigError(
            f"datacenters: {datacenters!r} is not a sequence of different names: write ('dc1', 'dc2')",
            key="datacenters",
        )


def _credentials(directory: Path) -> Credentials:
    # Imported here: the plugin is in every pytest of the environment, and certificates take a while to load.
    from meshnode.testing.credentials import Credentials

    return Credentials(directory)


def _access_control(token: str, datacenter: str) -> dict[str, Any]:
    return {
        "acl_datacenter": datacenter,
        "acl_default_policy": "deny",
        "acl_down_policy": "deny",
        "acl_master_token": token,
        "acl_agent_token": token,
    }


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: {**below[key], **above[key]}
        for key in below.keys() & above.keys()
        if _objects(below[key], above[key])
    }
    return {**below, **above, **both}


def _objects(*values: Any) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def _alive(members: list[dict[str, Any]]) -> set[str]:
    return {member["Name"] for member in members if member["Status"] == _ALIVE}


def _start_guard(directory: Path) -> subprocess.Popen[str]:
    # Isolated and without site-packages: it needs neither, and starts in a few hundredths of a second.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
