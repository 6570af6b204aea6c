"""Envoy as a child of ours that carries out the four TLS modes: started with a bootstrap in memory, watched, drained.

Its folder (in ``$RUNTIME_DIRECTORY``, else among the temporary files) is ours alone. It holds the secrets that name the
certificate files, the socket of Envoy's own API unless the configuration has an address for that, and a file that is
moved into it when certificates were replaced: that makes Envoy read them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from meshnode.base.address import MAX_SOCKET_PATH_BYTES
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.base.http_answer import AnswerReader
from meshnode.proxy.config import Endpoint
from meshnode.runtime.checks.http_client import request_bytes
from meshnode.runtime.child import Child, start_program
from meshnode.runtime.json_file import write_record
from meshnode.runtime.private_file import write_private
from meshnode.runtime.proxy.deadlines import DRAIN_TIMEOUT
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.runtime.tls_modes.engine import log
from meshnode.runtime.tls_modes.material import Material
from meshnode.runtime.unnamed_file import unnamed_file
from meshnode.tls_modes.model import TlsProxyConfig

__all__ = ["EnvoyPlane", "check_bootstrap"]

START_TIMEOUT: Final = 30.0
#: Seconds between two questions to Envoy's own API.
_POLL: Final = 0.1
_ADMIN_TIMEOUT: Final = 5.0
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_MAX_LINE_BYTES: Final = 16 * 1024
_LINE: Final = re.compile(r"\[[^\]]*\]\[\d+\]\[(?P<level>\w+)\]\[[^\]]*\] (?:\[[^\]]*\] )?(?P<text>.*)")
_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.ERROR,
}
#: Becomes the program after asking the kernel for SIGTERM when we end, however that happens (prctl(2), PDEATHSIG).
_BECOME: Final = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
#: What an Envoy that crashes says of itself, behind its reason.
_BACKTRACE: Final = re.compile(
    r"#\d+:? |stacktrace for |Caught \w+, suspect|Backtrace \(|Envoy version: |Address mapping: "
)
#: What it runs out of where many programs that watch files belong to one user.
_INOTIFY: Final = "inotify"
_INOTIFY_FIX: Final = (
    "this user's programs watch as many files as the kernel lets them: raise the limit with "
    "'sysctl fs.inotify.max_user_instances=1024' (and fs.inotify.max_user_watches)"
)
#: What it says of a configuration, in order: as it begins to run, and when it only looks at it.
_REFUSED: Final = re.compile(
    r"error `(?P<inside>.*)` initializing config|error initializing config(?:uration)? '[^']*': *(?P<behind>.*)"
)


async def check_bootstrap(binary: str, bootstrap: Mapping[str, Any]) -> None:
    """Let Envoy read ``bootstrap`` and listen nowhere; raises :class:`MeshError` with its words when it refuses it."""
    descriptor = unnamed_file(json.dumps(bootstrap).encode())
    try:
        child = await start_program(
            [binary, "--mode", "validate", "--config-path", f"/dev/fd/{descriptor}", "--log-level", "error"],
            pass_fds=[descriptor],
        )
    finally:
        os.close(descriptor)
    said = deque[str](maxlen=20)
    try:
        async for line in _lines(child):
            said.append(line)
        if await child.wait():
            raise MeshError(f"Envoy refuses the configuration: {_why(said)}")
    finally:
        await child.close()


class EnvoyPlane:
    """As ``DataPlane``. ``bootstrap(secrets_dir, admin)`` and ``secrets(secrets_dir)`` are those of ``xds.tls_modes``.

    They are handed in, so whoever runs the built-in data plane needs no protobuf.
    """

    def __init__(
        self,
        config: TlsProxyConfig,
        binary: str,
        bootstrap: Callable[[str, Endpoint], Mapping[str, Any]],
        secrets: Callable[[str], Mapping[str, Mapping[str, Any]]],
        *,
        log_level: int = logging.INFO,
    ) -> None:
        self._config = config
        self._binary = binary
        self._make_bootstrap = bootstrap
        self._make_secrets = secrets
        self._level = log_level
        #: Ours while Envoy runs.
        self._folder: Path | None = None
        self._admin = Endpoint(path="/unset")
        self._child: Child | None = None
        self._reading: asyncio.Task[None] | None = None
        self._said = deque[str](maxlen=20)
        self._hurry = asyncio.Event()
        self._count = 0

    async def start(self) -> None:
        """As ``DataPlane``: when this returns, Envoy says that it is ready."""
        parent = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or None
        folder = self._folder = Path(tempfile.mkdtemp(prefix="meshnode-tls-", dir=parent))
        try:
            await self._start(folder)
        except BaseException:
            await self._clean()
            raise

    async def _start(self, folder: Path) -> None:
        self._admin = self._config.admin or _admin_socket(folder)
        for name, document in self._make_secrets(str(folder)).items():
            write_record(folder / name, document, durable=False)
        bootstrap = self._make_bootstrap(str(folder), self._admin)
        descriptor = unnamed_file(json.dumps(bootstrap).encode())
        level = "debug" if self._level <= logging.DEBUG else "warning"
        command = [
            sys.executable,
            "-IS",
            "-c",
            _BECOME,
            self._binary,
            "--config-path",
            f"/dev/fd/{descriptor}",
        ]
        command += ["--disable-hot-restart", "--log-level", level]
        try:
            self._child = await start_program(command, pass_fds=[descriptor])
        finally:
            os.close(descriptor)
        self._reading = spawn(self._pass_on(self._child), name="log of Envoy")
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await self._is_ready():
                    if self._reading.done():
                        await self.failed()
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise MeshError(
                f"Envoy is not ready after {START_TIMEOUT:g} s: {_why(self._said) or 'it says nothing'}"
            ) from None

    async def _is_ready(self) -> bool:
        try:
            return await self._ask("GET", "/ready") == b"LIVE\n"
        except (OSError, RemoteProtocolError):
            return False

    async def failed(self) -> None:
        """As ``DataPlane``."""
        assert self._child is not None
        assert self._reading is not None
        await asyncio.shield(self._reading)
        code = await self._child.wait()
        how = f"signal {-code}" if code < 0 else f"code {code}"
        refused = next((why for line in self._said if (why := _refusal(line))), "")
        if refused:
            raise MeshError(f"Envoy refuses the configuration: {refused}")
        raise MeshError(f"Envoy has ended with {how}: {_why(self._said) or 'it says nothing'}")

    def replace(self, materials: Mapping[str, Material]) -> None:
        """As ``DataPlane``: Envoy reads the files itself, when something is moved into the folder."""
        self._count += 1
        if self._folder is not None:
            with contextlib.suppress(OSError):
                write_private(self._folder / "replaced", str(self._count).encode(), durable=False)

    async def stop(self, *, drain_timeout: float = DRAIN_TIMEOUT) -> None:
        """As ``DataPlane``: answers in HTTP say that the connection ends, and Envoy ends when the last one has."""
        if self._child is None:
            return
        try:
            async with asyncio.timeout(drain_timeout):
                await self._drain()
        except (TimeoutError, OSError, RemoteProtocolError) as error:
            log.info("what is open is cut: %s", str(error) or f"it has not ended within {drain_timeout:g} s")
        finally:
            await self._clean()

    def hurry(self) -> None:
        """As ``DataPlane``."""
        self._hurry.set()

    async def _drain(self) -> None:
        await self._ask("POST", "/healthcheck/fail")
        await self._ask("POST", "/drain_listeners")
        while not self._hurry.is_set() and await self._open_connections():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._hurry.wait()

    async def _open_connections(self) -> int:
        names = {f"listener.{one.name}.downstream_cx_active" for one in self._config.listeners}
        found = await self._ask("GET", "/stats?format=json&filter=downstream_cx_active")
        try:
            return sum(int(row["value"]) for row in json.loads(found)["stats"] if row.get("name") in names)
        except (ValueError, KeyError, TypeError, AttributeError):
            return 0

    async def _ask(self, method: str, target: str) -> bytes:
        """The body of an answer of Envoy's own API; raises ``OSError`` and :class:`RemoteProtocolError`."""
        where = self._admin
        async with asyncio.timeout(_ADMIN_TIMEOUT):
            if where.path:
                reader, writer = await asyncio.open_unix_connection(where.path)
            else:
                reader, writer = await asyncio.open_connection(where.host, where.port)
            try:
                writer.write(request_bytes(method, target, [("Host", "envoy")]))
                answer, count = AnswerReader(), 0
                while not answer.complete and count < _MAX_ANSWER_BYTES:
                    piece = await reader.read(65536)
                    if not piece:
                        answer.ended()
                        break
                    answer.feed(piece)
                    count += len(piece)
                return b"".join(answer.pieces)
            finally:
                writer.close()

    async def _clean(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()
            await cancel_and_wait(self._reading)
            await child.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    async def _pass_on(self, child: Child) -> None:
        """Envoy's lines into our log, each with its level."""
        async for line in _lines(child):
            found = _LINE.fullmatch(line)
            if _BACKTRACE.match(found["text"] if found else line):
                log.debug("%s", line)
                continue
            self._said.append(line)
            if found is None:
                log.info("%s", line)
            else:
                log.log(_LEVELS.get(found["level"], logging.INFO), "envoy: %s", found["text"])


async def _lines(child: Child) -> AsyncIterator[str]:
    """Lines of its output; one that is too long is cut."""
    rest = b""
    while piece := await child.read():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line[:_MAX_LINE_BYTES].decode(errors="replace").rstrip()
        rest = rest[:_MAX_LINE_BYTES]
    if rest:
        yield rest.decode(errors="replace")


def _why(said: deque[str]) -> str:
    """The last words that tell something."""
    texts = [found["text"] if (found := _LINE.fullmatch(line)) else line for line in said if line.strip()]
    telling = [text for text in texts if "rror" in text or "annot" in text] or texts
    text = telling[-1] if telling else ""
    if _INOTIFY in text:
        text = f"{_INOTIFY_FIX}; {text}"
    return (_refusal(text) or text)[:1000]


def _refusal(line: str) -> str:
    """Why it refuses the configuration; empty where it says something else."""
    found = _REFUSED.search(line)
    return (found["inside"] or found["behind"]) if found else ""


def _admin_socket(folder: Path) -> Endpoint:
    """Raises :class:`MeshError` when the folder that we were given leaves no room for the name of a socket."""
    path = str(folder / "admin.sock")
    if (size := len(os.fsencode(path))) > MAX_SOCKET_PATH_BYTES:
        raise MeshError(
            f"{folder.parent} is too long a folder for Envoy's admin socket: its path would have {size} bytes "
            f"of at most {MAX_SOCKET_PATH_BYTES}; name a shorter one in $RUNTIME_DIRECTORY or $TMPDIR, "
            "or configure `admin`"
        )
    return Endpoint(path=path)
