"""One agent of a mesh: its process, and requests to it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

from meshnode.testing.addresses import Listen
from meshnode.testing.api import FIRST_ERROR, Answer, Options, Query, checked, send
from meshnode.testing.private_file import write_private
from meshnode.testing.process import STOP_TIMEOUT, AgentError, AgentProcess
from meshnode.testing.waiting import wait_until

__all__ = ["AgentError", "MeshAgent"]


class MeshAgent(AgentProcess):
    """An agent that :class:`~meshnode.testing.mesh.Mesh` has made; it keeps its address and data over restarts.

    ``name`` is its node name, ``config_file`` its configuration: edit it before ``start`` or a reload.
    """

    def __init__(
        self,
        name: str,
        listen: Listen,
        directory: Path,
        config: Mapping[str, Any],
        *,
        datacenter: str,
        server: bool,
        token: str,
        on_launch: Callable[[int], None],
    ) -> None:
        super().__init__(name, directory, on_launch=on_launch)
        self.listen = listen
        self.datacenter = datacenter
        self.server = server
        self.token = token
        write_private(self.config_file, json.dumps({**config, "data_dir": str(self.data_dir)}, indent=1))

    def __repr__(self) -> str:
        """Name, address and whether it runs."""
        return f"<MeshAgent {self.name} {self.http} {'running' if self.running else 'stopped'}>"

    # Where it is

    @property
    def host(self) -> str:
        """Its address, of every port."""
        return self.listen.host

    @property
    def http(self) -> str:
        """URL of the HTTP API, without a slash at the end."""
        return f"http://{self.listen.host}:{self.listen.http}"

    @property
    def https(self) -> str:
        """The same over TLS; open only with ``Mesh(secure=True)``."""
        return f"https://{self.listen.host}:{self.listen.https}"

    @property
    def dns(self) -> tuple[str, int]:
        """Address and port of the DNS interface, UDP and TCP."""
        return self.listen.host, self.listen.dns

    # Requests

    def api(self, path: str, **options: Unpack[Options]) -> Any:
        """The answer of ``/v1/...`` as Python values; raises :class:`~meshnode.testing.api.ApiError` for 400 and up.

        ``options`` are those of :class:`~meshnode.testing.api.Options`; ``token``, when left out, is the management
        token of a mesh with ACLs. The value of an empty body is ``None``, and plain text stays text.
        """
        answer = self.request(path, **options)
        return checked(answer, f"{self.name}: {options.get('method', 'GET')} {path}").value

    def request(self, path: str, **options: Unpack[Options]) -> Answer:
        """As :meth:`api`, with status and headers; errors are answers too. Raises :class:`AgentError` if none comes."""
        options.setdefault("token", self.token)
        try:
            return send(self.listen.host, self.listen.http, path, **options)
        except OSError as error:
            method = options.get("method", "GET")
            raise self.error(f"{method} {path} got no answer: {error}") from error

    def wait_for(
        self,
        path: str,
        *,
        query: Query | None = None,
        until: Callable[[Any], object] = bool,
        timeout: float = 30.0,
    ) -> Any:
        """Read ``path`` until ``until`` of its value is true, and return that value. An error is an answer to wait out.

        Raises :class:`AgentError` with the last answer after ``timeout`` seconds.
        """
        last: list[Answer] = []

        def asked() -> bool:
            last[:] = [self.request(path, query=query)]
            return last[0].status < FIRST_ERROR and bool(until(last[0].value))

        try:
            wait_until(asked, timeout)
        except TimeoutError:
            text = f"{last[0].status} {last[0].text.strip()}"
            raise self.error(f"GET {path} was not as wanted within {timeout:g} s: {text}") from None
        return last[0].value

    # Its end

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """End it with SIGTERM, as a service manager does, and return its exit code.

        A client leaves the cluster first; a server doesn't, so its exit code is 1 and others see it fail.
        Raises :class:`AgentError`, and kills it, if it takes longer than ``timeout`` seconds.
        """
        self.signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def leave(self, timeout: float = STOP_TIMEOUT) -> int:
        """Have it leave the cluster and exit; returns its exit code. Raises as :meth:`stop` does."""
        self.api("/v1/agent/leave", method="PUT")
        return self.wait_exit(timeout)
