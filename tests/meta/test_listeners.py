"""asyncio listens again on the socket that it is given, with a queue of 100 unless it is told otherwise."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "meshnode"
LISTENING = {"create_server", "create_unix_server", "start_server", "start_unix_server"}


def test_a_server_on_a_socket_of_ours_keeps_the_length_of_its_queue() -> None:
    seen, wrong = 0, []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            names = {keyword.arg for keyword in node.keywords}
            if node.func.attr in LISTENING and "sock" in names:
                seen += 1
                if "backlog" not in names:
                    wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert seen >= 7
    assert wrong == []
