"""The built-in data plane of the four TLS modes: each listener is an HTTP listener of the proxy, or a passthrough."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from meshnode.base.errors import ConfigError, MeshError
from meshnode.l7.timeouts import Timeouts
from meshnode.proxy.config import Endpoint
from meshnode.runtime.proxy.deadlines import DRAIN_TIMEOUT
from meshnode.runtime.proxy.http_listener import HttpListener, HttpServer, serve_http
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.runtime.tls_modes.material import Material
from meshnode.runtime.tls_modes.passthrough import Passthrough
from meshnode.tls_modes.model import REQUEST_TIMEOUT, CertificateSecret, Mode, TlsListener, TlsProxyConfig

__all__ = ["BuiltinPlane", "check_builtin"]


def check_builtin(config: TlsProxyConfig) -> None:
    """Raise :class:`ConfigError` for what only Envoy can do."""
    for one in config.listeners:
        if isinstance(one.certificate, CertificateSecret):
            raise ConfigError(
                f"listener.{one.name}.certificate.sds_file: only Envoy reads secrets of this form: write cert_file "
                "and key_file, or use -data-plane envoy"
            )


class BuiltinPlane:
    """As ``DataPlane``. Raises :class:`ConfigError` for what only Envoy can do."""

    def __init__(self, config: TlsProxyConfig, materials: Mapping[str, Material]) -> None:
        check_builtin(config)
        self._config = config
        self._materials = dict(materials)
        self._running: dict[str, HttpServer | Passthrough] = {}
        self._hurry = asyncio.Event()

    @property
    def addresses(self) -> Mapping[str, Endpoint]:
        """Where each listener listens, by its name."""
        return {name: one.address for name, one in self._running.items()}

    async def start(self) -> None:
        """As ``DataPlane``."""
        try:
            for one in self._config.listeners:
                if one.mode is Mode.PASSTHROUGH:
                    passing = Passthrough(one)
                    await passing.start()
                    self._running[one.name] = passing
                else:
                    self._running[one.name] = await serve_http(self._http(one))
        except MeshError:
            await self.stop(drain_timeout=0)
            raise

    def _http(self, one: TlsListener) -> HttpListener:
        material, to = self._materials[one.name], one.upstream
        return HttpListener(
            name=one.name,
            bind=one.bind,
            upstream=to.address,
            server_tls=material.server,
            upstream_tls=material.client,
            upstream_sni=to.sni,
            upstream_name=to.verified_name if to.authorities is not None else "",
            timeouts=Timeouts(
                handshake=one.handshake_timeout, connect=to.connect_timeout, request=REQUEST_TIMEOUT
            ),
        )

    async def failed(self) -> None:
        """As ``DataPlane``: it never ends by itself."""
        await asyncio.Event().wait()

    def replace(self, materials: Mapping[str, Material]) -> None:
        """As ``DataPlane``."""
        self._materials.update(materials)
        for one in self._config.listeners:
            running = self._running.get(one.name)
            if isinstance(running, HttpServer):
                running.update(self._http(one))

    async def stop(self, *, drain_timeout: float = DRAIN_TIMEOUT) -> None:
        """As ``DataPlane``."""
        running, self._running = self._running, {}
        draining = [
            spawn(one.stop(drain_timeout=drain_timeout), name=f"end of {name}")
            for name, one in running.items()
        ]
        hurried = spawn(self._hurry.wait(), name="end without waiting")
        everything = asyncio.gather(*draining, return_exceptions=True)
        await asyncio.wait([everything, hurried], return_when=asyncio.FIRST_COMPLETED)
        cut = hurried.done() and not everything.done()
        await cancel_and_wait(*draining, hurried)
        if cut:
            await asyncio.gather(*(one.stop(drain_timeout=0) for one in running.values()))

    def hurry(self) -> None:
        """As ``DataPlane``."""
        self._hurry.set()
