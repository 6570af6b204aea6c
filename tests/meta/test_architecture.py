"""Imports flow one way, and the cores do no I/O: read from the source, not from promises."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "meshnode"

#: Who may import whom. A new edge needs a line here; every arrow points downwards.
ALLOWED: dict[str, frozenset[str]] = {
    "base": frozenset(),
    "pki": frozenset({"base"}),
    "hcl": frozenset({"base"}),
    "acl": frozenset({"base", "hcl"}),
    "dns": frozenset({"base", "catalog"}),
    "gossip": frozenset({"base"}),
    "rpc": frozenset({"base"}),
    "proxy": frozenset({"base"}),
    "catalog": frozenset({"base"}),
    "kv": frozenset({"base"}),
    "watch": frozenset({"base"}),
    "lock": frozenset({"base"}),
    "connect": frozenset({"base"}),
    "control": frozenset({"base", "rpc", "catalog", "kv", "acl", "config_entries", "connect", "intentions"}),
    "http": frozenset({"base", "acl", "catalog", "config_entries", "control", "connect", "intentions"}),
    "prove": frozenset({"base", "gossip"}),
    "intentions": frozenset({"base"}),
    "config_entries": frozenset({"base", "intentions"}),
    "local": frozenset({"base", "catalog"}),
    "tls_modes": frozenset({"base", "hcl", "proxy"}),
    "xds": frozenset({"base", "proxy", "intentions", "config_entries", "tls_modes"}),
    # Requests are decided about by intentions, for a source that the proxy knows.
    "l7": frozenset({"base", "intentions", "proxy"}),
    "ui": frozenset(),
    "runtime": frozenset(
        {"base", "pki", "acl", "gossip", "rpc", "control", "http", "dns", "local", "proxy", "prove", "xds"}
        | {"l7", "tls_modes"}
    ),
    "agent": frozenset(
        {
            *(
                "base",
                "pki",
                "hcl",
                "acl",
                "gossip",
                "rpc",
                "catalog",
                "config_entries",
                "connect",
                "intentions",
                "control",
            ),
            *("http", "dns", "local", "runtime", "ui", "watch"),
            *("proxy", "xds"),
        }
    ),
    # Beside the agent, not in it: it knows the agent by its API.
    # Intentions about requests come as the API has them, and are read as config entries are.
    "client": frozenset({"base", "config_entries", "intentions", "l7", "proxy", "runtime"}),
    "sdk": frozenset({"base", "proxy", "runtime", "client"}),
    # It starts agents as processes and talks to them over HTTP; pki makes certificates, prove judges histories.
    "testing": frozenset({"base", "pki", "prove"}),
    "cli": frozenset(
        {"base", "pki", "hcl", "catalog", "gossip", "control", "prove", "runtime", "agent", "watch", "lock"}
        | {"client", "proxy", "tls_modes", "xds"}
        # The exposure matrix starts agents on loopback, as tests do.
        | {"testing"}
        # `services register` refuses what an agent would, before it has registered half of a file.
        | {"local"}
    ),
}
CORES = (
    "base",
    "pki",
    "hcl",
    "acl",
    "dns",
    "local",
    "gossip",
    "proxy",
    "rpc",
    "catalog",
    "kv",
    "connect",
    "watch",
    "lock",
    "intentions",
    "l7",
    "tls_modes",
    "xds",
    "config_entries",
    "control",
    "http",
    "prove",
)
FORBIDDEN_IN_CORES = {
    "asyncio",
    "logging",
    "multiprocessing",
    "os",
    "secrets",
    "select",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}
#: Calls that read a clock; cores get it as an argument, and of random the class Random alone.
FORBIDDEN_CALLS = {
    *(("datetime", name) for name in ("now", "utcnow", "today")),
    *(("uuid", name) for name in ("uuid1", "uuid4")),
}


def modules(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((PACKAGE / package).rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def imported(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", list(modules(*ALLOWED)), ids=name)
def test_imports_of_ours_follow_the_table_of_allowed_edges(path: Path) -> None:
    own = package_of(path)
    wrong = [
        f"line {line}: {module}"
        for module, line in imported(path)
        if module.startswith("meshnode.") and module.split(".")[1] not in ALLOWED[own] | {own}
    ]
    assert not wrong, f"{own} may import only {sorted(ALLOWED[own])}: {wrong}"


@pytest.mark.parametrize("path", list(modules(*CORES)), ids=name)
def test_cores_import_nothing_that_does_io_or_reads_a_clock(path: Path) -> None:
    wrong = [
        f"line {line}: {module}"
        for module, line in imported(path)
        if module.split(".")[0] in FORBIDDEN_IN_CORES
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("path", list(modules(*CORES)), ids=name)
def test_cores_call_no_clock_and_no_global_generator(path: Path) -> None:
    wrong = [
        f"line {node.lineno}: {node.func.value.id}.{node.func.attr}()"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and is_forbidden(node.func.value.id, node.func.attr)
    ]
    assert not wrong, wrong


def is_forbidden(module: str, called: str) -> bool:
    return (module, called) in FORBIDDEN_CALLS or (module == "random" and called != "Random")


@pytest.mark.parametrize("path", list(modules(*CORES)), ids=name)
def test_cores_open_no_file_and_print_nothing(path: Path) -> None:
    wrong = [
        f"line {node.lineno}: {node.func.id}()"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"open", "print", "input"}
    ]
    assert not wrong, wrong


def test_tasks_start_in_one_place() -> None:
    """Or in a task group, which waits for them."""
    found = [
        f"{name(path)}:{node.lineno}"
        for path in modules(*ALLOWED)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in {"create_task", "ensure_future", "run_coroutine_threadsafe"}
        and not (isinstance(node.value, ast.Name) and node.value.id == "group")
    ]
    assert {place.partition(":")[0] for place in found} == {"meshnode/runtime/tasks.py"}, found


def test_no_edge_is_allowed_that_nobody_uses() -> None:
    used = {
        own: {
            module.split(".")[1]
            for path in modules(own)
            for module, _ in imported(path)
            if module.startswith("meshnode.")
        }
        for own in ALLOWED
    }
    assert {own: sorted(edges - used[own]) for own, edges in ALLOWED.items() if edges - used[own]} == {}


def test_every_folder_of_python_has_its_row_in_the_document() -> None:
    table = [line for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines() if line.startswith("| `")]
    told = {name.strip().strip("`") for line in table for name in line.split("|")[1].split(",")}
    folders = {str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("__init__.py")}
    assert folders - told == {".", "gossip"}  # what is in gossip is in the folders below it


def test_every_package_is_in_the_table() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages == set(ALLOWED)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=name)
def test_every_package_opens_with_a_map_and_holds_no_logic(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "say what lives here, what comes in and what goes out"
    assert any(
        isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in ast.unparse(node) for node in tree.body
    )
    assert not any(
        isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) for node in tree.body
    )


def test_no_file_is_named_after_nothing() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}
    assert not [name(path) for path in PACKAGE.rglob("*.py") if path.name in vague]
