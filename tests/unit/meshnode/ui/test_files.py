"""The files of the web page: all there, of known types, and in keeping with the policy that they are served with."""

from __future__ import annotations

import re

import pytest

from meshnode.http.page import TYPES, Page
from meshnode.ui import page_files

FILES = page_files()
TEXTS = {name: content.decode() for name, content in FILES.items()}
SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))
MAX_LINES = 400


def test_the_page_can_be_served() -> None:
    Page(FILES)
    assert {name.rpartition(".")[2] for name in FILES} == {"css", "html", "js", "svg"} <= set(TYPES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_one_that_another_file_loads(name: str) -> None:
    base = name.rpartition("/")[2]
    assert any(base in text for other, text in TEXTS.items() if other != name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_import_is_of_a_file_that_is_there(name: str) -> None:
    folder = name.rpartition("/")[0]
    for wanted in re.findall(r'^(?:import .*|\} )from "([^"]+)"', TEXTS[name], re.MULTILINE):
        assert wanted.startswith(("./", "../")), wanted
        parts = folder.split("/") if folder else []
        for part in wanted.split("/"):
            if part == "..":
                parts.pop()
            elif part != ".":
                parts.append(part)
        assert "/".join(parts) in FILES, f"{name}: {wanted}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_or_code_of_text(name: str) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|localStorage"
    )
    assert not re.search(forbidden, TEXTS[name])
    assert "document.cookie" not in TEXTS[name]


def test_the_document_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    text = TEXTS["index.html"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|javascript:", text)
    for name, content in TEXTS.items():
        links = set(re.findall(r"https?://[^\s\"')]+", content)) - {"http://www.w3.org/2000/svg"}
        assert not links, f"{name}: {links}"


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_stay_short_enough_to_read_at_once(name: str) -> None:
    assert len(TEXTS[name].splitlines()) <= MAX_LINES
