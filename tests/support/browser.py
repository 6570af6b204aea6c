"""Debian's Chromium for the tests of the web page: pages that must not complain, and pictures of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

__all__ = ["CHROMIUM", "PICTURES", "TIMEOUT", "Visitor", "visit"]

CHROMIUM: Final = "/usr/bin/chromium"
PICTURES: Final = Path(__file__).parents[2] / "artifacts" / "ui"
#: What Chromium prints about every answer of 400 and up, expected or not.
_NETWORK: Final = "Failed to load resource"
#: Milliseconds that a change may take to be seen, on a busy machine too.
TIMEOUT: Final = 20_000


class Visitor:
    """Somebody who looks at the page of the agent at ``url``; ``page`` is Playwright's."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(TIMEOUT)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and _NETWORK not in message.text:
            self.complaints.append(message.text)

    def go(self, place: str = "") -> None:
        """Open a place such as ``services/web``, without loading the page again where it is open already."""
        address = f"{self.url}/ui/#/{place}"
        if self.page.url.startswith(f"{self.url}/ui/"):
            self.page.evaluate("(hash) => { location.hash = hash; }", f"#/{place}")
        else:
            self.page.goto(address)

    def sign_in(self, token: str) -> None:
        """Give the page a token, as a person does."""
        self.page.get_by_role("button", name="Token", exact=True).click()
        self.page.get_by_label("Secret ID of an ACL token").fill(token)
        self.page.get_by_role("button", name="Use", exact=True).click()

    def picture(self, name: str) -> None:
        """Keep a picture of what is seen."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")


@contextlib.contextmanager
def visit(browser: Browser, url: str, **options: Any) -> Iterator[Visitor]:
    """A visitor with a browser profile of his own; at the end the page must not have complained."""
    context = browser.new_context(**options)
    try:
        visitor = Visitor(context.new_page(), url)
        yield visitor
        assert visitor.complaints == []
    finally:
        context.close()
