"""A native service in the agent's catalog, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.client.agent import AgentClient
from meshnode.client.settings import path_segment

__all__ = ["Registration"]

#: Seconds between two looks at the catalog, which the agent tells in its own time.
_LISTED_PAUSES: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)

_log: Final = logging.getLogger("meshnode.sdk")


class Registration:
    """One instance, by its id."""

    def __init__(self, client: AgentClient, service: str, instance_id: str) -> None:
        self._client = client
        self._service = service
        self._id = instance_id

    async def begin(
        self,
        port: int,
        *,
        address: str,
        tags: Sequence[str],
        meta: Mapping[str, str],
        check: Mapping[str, Any] | None,
    ) -> None:
        """Register it, and wait until others can find it; raises :class:`MeshError`."""
        if not 0 < port < 65536:
            raise ConfigError(f"port {port} is not from 1 to 65535")
        host = f"[{address}]" if ":" in address else address or "127.0.0.1"
        body = {
            "Name": self._service,
            "ID": self._id,
            "Address": address,
            "Port": port,
            "Tags": list(tags),
            "Meta": dict(meta),
            "Connect": {"Native": True},
            # It passes until the first run says otherwise: we listen already.
            "Check": dict(check)
            if check is not None
            else {"TCP": f"{host}:{port}", "Interval": "10s", "Status": "passing"},
        }
        try:
            await self._client.put_json("/v1/agent/service/register", body)
            if not await self._is_listed():
                _log.warning(
                    "%s is registered; the catalog does not show it to us yet: is there a leader, "
                    "and may the token read nodes (node:read)?",
                    self._id,
                )
        except MeshError as error:
            raise MeshError(f"the agent does not register {self._id!r}: {error}") from None

    async def _is_listed(self) -> bool:
        """Wait until others can find it, for a few seconds at most."""
        path = f"/v1/health/connect/{path_segment(self._service)}"
        for pause in _LISTED_PAUSES:
            answer = await self._client.call("GET", path)
            rows = answer.json() if answer.status == 200 else None
            if isinstance(rows, list) and any(_instance_id(row) == self._id for row in rows):
                return True
            await asyncio.sleep(pause)
        return False

    async def end(self) -> None:
        """Deregister it; when the agent is away, the log says so."""
        try:
            await self._client.put_json(f"/v1/agent/service/deregister/{path_segment(self._id)}", None)
        except MeshError as error:
            _log.warning("%s stays registered: %s", self._id, error)


def _instance_id(row: Any) -> str:
    service = row.get("Service") if isinstance(row, Mapping) else None
    return str(service.get("ID", "")) if isinstance(service, Mapping) else ""
