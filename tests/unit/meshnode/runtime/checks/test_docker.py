"""Docker checks against a Unix socket that speaks an engine's recorded answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from meshnode.local.check_status import Result
from meshnode.local.check_type import DockerCheck
from meshnode.runtime.checks.docker import check_docker
from tests.support.rpc_lab import LOOPS, run
from tests.support.waiting import until

loops = pytest.mark.parametrize("loop", LOOPS)
CREATED = (201, b'{"Id":"e1"}\n')
STARTED = (200, b"out\nerr\n")


def inspected(code: Any) -> tuple[int, bytes]:
    return 200, json.dumps({"ID": "e1", "Running": False, "ExitCode": code, "Pid": 7}).encode()


@dataclass
class Engine:
    """Docker 24's manner: JSON with a length; the output of an exec raw, up to the end of the connection."""

    path: str
    create: tuple[int, bytes] = CREATED
    start: tuple[int, bytes] = STARTED
    inspect: tuple[int, bytes] = inspected(0)
    hangs: bool = False
    asked: list[tuple[str, Any]] = field(default_factory=list)
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        length = next((int(x.split(":")[1]) for x in lines if x.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        self.asked.append((lines[0], json.loads(body) if body else None))
        start = lines[0].endswith("/start HTTP/1.1")
        status, content = (
            self.start if start else self.create if lines[0].startswith("POST") else self.inspect
        )
        if start and status == 200:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 %d X\r\nApi-Version: 1.43\r\n" % status)
            writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content))
        writer.write(content)
        with contextlib.suppress(OSError):
            await writer.drain()
            if start and self.hangs:
                await reader.read()
        writer.close()
        self.open -= 1


@contextlib.asynccontextmanager
async def engine(directory: Path, **answers: Any) -> AsyncIterator[Engine]:
    made = Engine(str(directory / "docker.sock"), **answers)
    async with await asyncio.start_unix_server(made.serve, made.path):
        yield made
        await until(lambda: made.open == 0, "every connection is closed", interval=0.001)
        await asyncio.sleep(0)


def ask(
    directory: Path, loop: str = "asyncio", timeout: float = 5.0, size: int = 4096, **answers: Any
) -> Result:
    async def main() -> Result:
        async with engine(directory, **answers) as made:
            check = DockerCheck("web", ("check", "-w"), interval=10, timeout=timeout, output_max_size=size)
            return await check_docker(check, made.path)

    return run(main, loop)


@loops
@pytest.mark.parametrize(
    ("code", "status"), [(0, "passing"), (1, "warning"), (2, "critical"), (137, "critical")]
)
def test_the_exit_code_in_the_container_is_the_status(
    tmp_path: Path, loop: str, code: int, status: str
) -> None:
    assert ask(tmp_path, loop, inspect=inspected(code)) == (status, "out\nerr\n")


def test_the_three_calls_are_the_engines(tmp_path: Path) -> None:
    async def main() -> None:
        async with engine(tmp_path) as made:
            check = DockerCheck("a/b c", ("check", "-w"), interval=10, shell="/bin/bash")
            await check_docker(check, made.path)
            assert made.asked == [
                (
                    "POST /containers/a%2Fb%20c/exec HTTP/1.1",
                    {
                        "AttachStdin": False,
                        "AttachStdout": True,
                        "AttachStderr": True,
                        "Tty": False,
                        "Cmd": ["check", "-w"],
                    },
                ),
                ("POST /exec/e1/start HTTP/1.1", {"Detach": False, "Tty": True}),
                ("GET /exec/e1/json HTTP/1.1", None),
            ]

    run(main)


def test_only_the_end_of_a_long_output_is_kept(tmp_path: Path) -> None:
    output = ask(tmp_path, size=5, start=(200, b"a" * 200_000 + b"end")).output
    assert output == "Captured 5 of 200003 bytes\n...\naaend"


@loops
def test_a_program_that_does_not_end_is_given_up_and_its_output_shown(tmp_path: Path, loop: str) -> None:
    assert ask(tmp_path, loop, timeout=0.3, hangs=True) == (
        "critical",
        "Timed out (300ms) running check\n\nout\nerr\n",
    )


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ({"create": (404, b"{}")}, "create exec failed for unknown container web"),
        ({"create": (409, b"{}")}, "create exec failed since container web is paused or stopped"),
        ({"create": (500, b"oops")}, "create exec failed for container web with status 500: oops"),
        ({"create": (201, b"[]")}, "create exec response for container web cannot be parsed"),
        ({"create": (201, b'{"Id":7}')}, "create exec response for container web cannot be parsed"),
        ({"start": (404, b"{}")}, "start exec failed for container web: invalid exec id e1"),
        ({"start": (409, b"{}")}, "start exec failed since container web is paused or stopped"),
        ({"inspect": (404, b"{}")}, "inspect exec failed for container web: invalid exec id e1"),
        ({"inspect": inspected(None)}, "inspect exec response for container web cannot be parsed"),
        ({"inspect": (200, b"[" * 60_000)}, "inspect exec response for container web cannot be parsed"),
    ],
)
def test_what_the_engine_refuses_is_critical_in_consuls_words(
    tmp_path: Path, answers: dict[str, Any], text: str
) -> None:
    assert ask(tmp_path, **answers) == ("critical", text)


@loops
def test_no_engine_is_critical_and_says_what_to_do(tmp_path: Path, loop: str) -> None:
    check = DockerCheck("web", ("true",), interval=10)
    path = str(tmp_path / "docker.sock")
    result = run(lambda: check_docker(check, path), loop)
    assert result == (
        "critical",
        f"create exec failed for container web: no Docker engine answers on {path} "
        "(no such file or directory): start it, and let this agent's user open the socket",
    )
