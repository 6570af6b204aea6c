from __future__ import annotations

from typing import Any

from meshnode import __version__


def test_the_release_of_the_interfaces_the_protocol_and_ours(run: Any) -> None:
    assert run("version").out == (
        "Consul v1.2.3\n"
        "Protocol 2 spoken by default, understands 2 to 3 "
        "(agent will automatically use protocol >2 when speaking to compatible agents)\n"
        f"Provided by meshnode v{__version__}\n"
    )


def test_words_and_flags_are_refused(run: Any) -> None:
    assert run("version", "now").err == "version takes no arguments, got 'now'\n"
    assert run("version", "-x").err.startswith("flag provided but not defined: -x")
