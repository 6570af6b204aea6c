"""Docker checks: a program run inside a container, through the engine's API on its socket.

Three calls: create an exec, start it and read its output, inspect it for the exit code (Docker Engine API, "Exec").
The engine has no call that ends an exec: after a time-out the check is critical, and what runs in the container goes
on until it ends.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any, Final
from urllib.parse import quote

from meshnode.base.errors import MeshError
from meshnode.local.check_status import CRITICAL, OutputTail, Result, status_of_exit, timeout_output
from meshnode.local.check_type import DockerCheck, effective_timeout
from meshnode.runtime.checks.dial import error_words
from meshnode.runtime.checks.http_client import CheckAnswer, close, request_bytes

__all__ = ["check_docker"]

#: Of an answer in JSON, or of an error; the output of the program has its own bound.
MAX_ANSWER_BYTES: Final = 64 * 1024
_CREATED, _OK, _NOT_FOUND, _CONFLICT = 201, 200, 404, 409


async def check_docker(check: DockerCheck, socket_path: str) -> Result:
    """Run ``check`` once; its definition has no fault."""
    engine = _Engine(check.container, socket_path)
    output = OutputTail(check.output_max_size)
    timeout = effective_timeout(check)
    try:
        async with asyncio.timeout(timeout):
            exec_id = await engine.create(check.args)
            await engine.start(exec_id, output)
            code = await engine.exit_code(exec_id)
    except TimeoutError:
        return Result(CRITICAL, timeout_output(timeout, output.text()))
    except MeshError as error:
        return Result(CRITICAL, str(error))
    return Result(status_of_exit(code), output.text())


class _Engine:
    """Calls about one container, each on a connection of its own. All raise :class:`MeshError`."""

    def __init__(self, container: str, socket_path: str) -> None:
        self._container = container
        self._socket_path = socket_path

    async def create(self, args: tuple[str, ...]) -> str:
        """Prepare to run ``args``; returns the id of the exec."""
        path = f"/containers/{quote(self._container, safe='')}/exec"
        body = {"AttachStdin": False, "AttachStdout": True, "AttachStderr": True, "Tty": False, "Cmd": args}
        status, answer = await self._call("create", "POST", path, body)
        if status == _NOT_FOUND:
            raise MeshError(f"create exec failed for unknown container {self._container}")
        self._require(status, _CREATED, "create", answer)
        exec_id = self._field(answer, "create", "Id")
        if not isinstance(exec_id, str) or not exec_id:
            raise self._unreadable("create")
        return exec_id

    async def start(self, exec_id: str, output: OutputTail) -> None:
        """Run it until it ends; what it writes goes to ``output``."""
        # A terminal is asked for at the start only: the engine then sends the bytes as they are, without frames.
        status, answer = await self._call(
            "start", "POST", f"/exec/{quote(exec_id, safe='')}/start", {"Detach": False, "Tty": True}, output
        )
        if status == _NOT_FOUND:
            raise MeshError(f"start exec failed for container {self._container}: invalid exec id {exec_id}")
        self._require(status, _OK, "start", answer)

    async def exit_code(self, exec_id: str) -> int:
        """How it ended."""
        status, answer = await self._call("inspect", "GET", f"/exec/{quote(exec_id, safe='')}/json")
        if status == _NOT_FOUND:
            raise MeshError(f"inspect exec failed for container {self._container}: invalid exec id {exec_id}")
        self._require(status, _OK, "inspect", answer)
        code = self._field(answer, "inspect", "ExitCode")
        if not isinstance(code, int):
            raise self._unreadable("inspect")
        return code

    async def _call(
        self, what: str, method: str, path: str, body: Any = None, output: OutputTail | None = None
    ) -> tuple[int, str]:
        answer = output or OutputTail(MAX_ANSWER_BYTES)
        data = b"" if body is None else json.dumps(body).encode()
        headers = [("Host", "docker"), *([("Content-Type", "application/json")] if data else [])]
        try:
            stream, writer = await asyncio.open_unix_connection(self._socket_path)
        except OSError as error:
            raise MeshError(
                f"{what} exec failed for container {self._container}: no Docker engine answers on "
                f"{self._socket_path} ({error_words(error)}): start it, and let this agent's user open the socket"
            ) from None
        reader = CheckAnswer(answer)
        try:
            writer.write(request_bytes(method, path, headers, data))
            await reader.read(stream)
            await close(writer)
        except (OSError, ssl.SSLError, MeshError) as error:
            # Engines reset the connection of an exec that has ended; the answer is whole then.
            if isinstance(error, TimeoutError) or reader.head is None:
                words = error_words(error) if isinstance(error, OSError) else str(error)
                raise MeshError(f"{what} exec failed for container {self._container}: {words}") from None
        finally:
            writer.transport.abort()
        assert reader.head is not None, "reading has ended without an error"
        return reader.head.status, answer.raw_text()

    def _require(self, status: int, wanted: int, what: str, answer: str) -> None:
        if status == _CONFLICT:
            raise MeshError(f"{what} exec failed since container {self._container} is paused or stopped")
        if status != wanted:
            raise MeshError(
                f"{what} exec failed for container {self._container} with status {status}: {answer[-1000:]}"
            )

    def _field(self, answer: str, what: str, name: str) -> Any:
        try:
            return json.loads(answer)[name]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._unreadable(what) from None

    def _unreadable(self, what: str) -> MeshError:
        return MeshError(f"{what} exec response for container {self._container} cannot be parsed")
