from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshnode.agent.log_stream import MAX_WAITING_LINES, log_lines
from meshnode.base.errors import ConfigError
from meshnode.runtime.logs import LogHub

_log = logging.getLogger("meshnode.test")


@pytest.fixture
def hub() -> Any:
    root = logging.getLogger("meshnode")
    before = root.handlers[:], root.level, root.propagate
    made = LogHub(logging.WARNING)
    made.install()
    yield made
    root.handlers, root.propagate = before[0], before[2]
    root.setLevel(before[1])


async def some(lines: AsyncIterator[bytes], count: int) -> list[str]:
    return [(await anext(lines)).decode().split("test: ")[-1] for _ in range(count)]


def test_lines_of_the_level_asked_for_are_streamed_until_it_is_closed(hub: LogHub) -> None:
    async def scenario() -> None:
        _log.warning("kept")
        lines: Any = log_lines(hub, "DEBUG")
        assert await some(lines, 1) == ["kept\n"]
        _log.debug("live")
        assert await some(lines, 1) == ["live\n"]
        assert logging.getLogger("meshnode").level == logging.DEBUG
        await lines.aclose()
        assert logging.getLogger("meshnode").level == logging.WARNING

    asyncio.run(scenario())


@pytest.mark.parametrize("excess", [0, 1, 10])
def test_a_slow_reader_loses_lines_and_is_told_how_many(hub: LogHub, excess: int) -> None:
    async def scenario() -> None:
        lines: Any = log_lines(hub, "INFO")
        _log.warning("first")
        assert await some(lines, 1) == ["first\n"]
        for number in range(MAX_WAITING_LINES + excess):
            _log.info("%d", number)
        read = await some(lines, MAX_WAITING_LINES)
        told = f"0\n[WARN] {excess} lines were dropped: this monitor reads too slowly\n"
        assert read[0] == (told if excess else "0\n")
        assert read[-1] == f"{MAX_WAITING_LINES - 1}\n"
        _log.info("after")
        assert await some(lines, 1) == ["after\n"]
        await lines.aclose()

    asyncio.run(scenario())


def test_an_unknown_level_is_refused(hub: LogHub) -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match="Unknown log level: loud"):
            await anext(log_lines(hub, "loud"))

    asyncio.run(scenario())
