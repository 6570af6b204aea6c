"""Agents with the web page, and a browser to look at it with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from meshnode.testing import Mesh
from tests.support.browser import CHROMIUM, TIMEOUT, Visitor, visit
from tests.support.programs import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    require("chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A server and a client that let everybody do everything, with Connect."""
    with Mesh(servers=1, clients=1, config={"ui": True, "connect": {"enabled": True}}) as running:
        yield running


@pytest.fixture(scope="session")
def guarded() -> Iterator[Mesh]:
    """A server whose ACLs deny by default, with Connect; one for all tests, which name what they make differently."""
    with Mesh(servers=1, acl=True, config={"ui": True, "connect": {"enabled": True}}) as running:
        yield running


@pytest.fixture
def visitor(browser: Browser, mesh: Mesh) -> Iterator[Visitor]:
    with visit(browser, mesh["server1"].http, viewport={"width": 1280, "height": 900}) as found:
        yield found


@pytest.fixture
def stranger(browser: Browser, guarded: Mesh) -> Iterator[Visitor]:
    """Somebody without a token."""
    with visit(browser, guarded["server1"].http) as found:
        yield found
