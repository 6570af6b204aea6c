"""Measures the corpus through both data planes: ``python -m tests.support.conformance_run``, from the root.

It writes what came of each case into ``conformance.json`` and the page from it. The reasons for differences are written
there by people, and kept; a difference without one fails the build.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from meshnode.l7.model import RefusalError
from meshnode.l7.target import normal_path, split_target
from meshnode.proxy.config import Endpoint
from meshnode.xds.managers import http_manager
from meshnode.xds.schema import json_document
from tests.support.conformance import PATHS, SECTIONS
from tests.support.conformance_client import ask_http2
from tests.support.conformance_document import BOTH, DATA, PATH_SECTION, PLANES, write
from tests.support.conformance_http2 import HTTP2_SECTIONS
from tests.support.conformance_planes import ask_http1, echo_application
from tests.support.envoy import running
from tests.support.envoy_http import http_cluster, http_command, http_filter
from tests.support.tls_modes import Files, tls_proxy
from tests.support.wire import free_port

__all__ = ["Outcomes", "observe"]

#: Section -> case -> what came of it.
Outcomes = dict[str, dict[str, str]]
#: Connections at once.
_AT_ONCE: Final = 8


async def observe(folder: Path, plane: str) -> Outcomes:
    """Everything through one data plane of :data:`PLANES`: ``meshnode tls-proxy`` in mode ``terminate``."""
    files = Files(folder)
    async with echo_application() as application:
        listener = {
            "mode": "terminate",
            "certificate": files.certificate(),
            "upstream": {"address": f"127.0.0.1:{application.port}"},
        }
        with contextlib.ExitStack() as stack:
            proxy = await asyncio.to_thread(stack.enter_context, tls_proxy(folder, plane, {"one": listener}))
            to = Endpoint("127.0.0.1", proxy.ports["one"])
            found = await _ask_all(SECTIONS, lambda data: ask_http1(to, data, plane))
            found |= await _ask_all(HTTP2_SECTIONS, lambda data: ask_http2(to, data, plane))
        found[PATH_SECTION] = await _paths(folder, plane, application, files)
    return found


async def _ask_all(
    sections: Mapping[str, Mapping[str, bytes]], ask: Callable[[bytes], Awaitable[str]]
) -> Outcomes:
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(data: bytes) -> str:
        async with room:
            return await ask(data)

    return {
        section: dict(zip(cases, await asyncio.gather(*map(one, cases.values())), strict=True))
        for section, cases in sections.items()
    }


async def _paths(folder: Path, plane: str, application: Endpoint, files: Files) -> dict[str, str]:
    """What becomes of paths where permissions look at them."""
    if plane == "builtin":
        return {path: _ours(path) for path in PATHS}
    cases = {path: b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode() for path in PATHS}
    async with _guarded_envoy(folder, application, files) as to:
        return (await _ask_all({PATH_SECTION: cases}, lambda data: ask_http1(to, data)))[PATH_SECTION]


def _ours(path: str) -> str:
    try:
        _, _, passed = split_target(path, "a", scheme="https")
        return f"200 GET {normal_path(passed)} host=a; next"
    except RefusalError as refusal:
        return f"{refusal.status}; closed"


@contextlib.asynccontextmanager
async def _guarded_envoy(folder: Path, application: Endpoint, files: Files) -> AsyncIterator[Endpoint]:
    """Envoy with the settings of a sidecar's public listener, and one route."""
    plain = http_filter("AUTO", {"route": {"cluster": "to"}})
    guarded = json_document(http_manager("http", "all", http2=False, guarded=True))
    settings: dict[str, Any] = guarded["typed_config"]
    del settings["rds"]
    settings["route_config"] = plain["typed_config"]["route_config"]
    port, pem = free_port(), folder / "guarded.pem"
    pem.touch(mode=0o600)
    pem.write_text("".join(Path(file).read_text() for file in files.pair("guarded", "localhost")))
    cluster = http_cluster((application.host, application.port))
    async with running(http_command(folder, port, guarded, cluster, pem=str(pem)), port):
        yield Endpoint("127.0.0.1", port)


async def _measure(folder: Path) -> dict[str, Outcomes]:
    return {plane: await observe(folder, plane) for plane in PLANES}


def main() -> None:
    """Measure, and write both files."""
    known = json.loads(DATA.read_text())
    with tempfile.TemporaryDirectory() as name:
        seen = asyncio.run(_measure(Path(name)))
    ours, theirs = (seen[plane] for plane in PLANES)
    outcomes: dict[str, dict[str, list[str]]] = {}
    for section, cases in ours.items():
        for case, outcome in cases.items():
            other = theirs[section][case]
            before = known["outcomes"].get(section, {}).get(case, [])
            reason = before[2] if len(before) > BOTH else ""
            row = [outcome] if outcome == other else [outcome, other, reason]
            outcomes.setdefault(section, {})[case] = row
    DATA.write_text(json.dumps({"reasons": known["reasons"], "outcomes": outcomes}, indent=1) + "\n")
    write()


if __name__ == "__main__":
    main()
