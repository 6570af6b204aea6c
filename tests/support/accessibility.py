"""Rules of WCAG 2.2 AA that a program can judge, applied to what a browser shows.

Names of controls, labels, landmarks, order of headings, contrast, sizes: ``accessibility.js``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["faults"]

_RULES: Final = Path(__file__).with_suffix(".js").read_text().partition("\n")[2]


def faults(page: Page) -> list[str]:
    """What is wrong with the page as it is shown now, a sentence each."""
    found: list[str] = page.evaluate(_RULES)
    return found
