"""Fixtures for pytest: ``mesh`` makes meshes for a module, ``mesh_agent`` is one server ready to use.

Installed with the package as the plugin ``meshnode``. When a test fails that used one of them, its report has the end
of every agent's log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from meshnode.testing.agent import MeshAgent
    from meshnode.testing.mesh import Mesh

__all__ = ["MeshFactory", "mesh", "mesh_agent", "pytest_runtest_makereport"]

#: Lines of each agent's log in the report of a failed test.
LOG_LINES = 30
_made: list[Mesh] = []


class MeshFactory(Protocol):
    """What the fixture ``mesh`` is: call it with the arguments of :class:`~meshnode.testing.mesh.Mesh`."""

    def __call__(self, servers: int = 1, clients: int = 0, **options: Any) -> Mesh:
        """A running mesh; the same one for the same arguments within a module."""
        ...


@pytest.fixture(scope="module")
def mesh() -> Iterator[MeshFactory]:
    """``mesh(servers=1, clients=1, ...)`` starts a mesh that lives until the module's last test has ended."""
    # Imported here: the plugin is loaded into every pytest of the environment, and most don't use it.
    from meshnode.testing.mesh import Mesh

    made: dict[str, Mesh] = {}
    with contextlib.ExitStack() as stack:

        def make(servers: int = 1, clients: int = 0, **options: Any) -> Mesh:
            key = repr((servers, clients, sorted(options.items())))
            if key not in made:
                made[key] = stack.enter_context(Mesh(servers, clients, **options))
                _made.append(made[key])
                stack.callback(_made.remove, made[key])
            return made[key]

        yield make


@pytest.fixture(scope="module")
def mesh_agent(mesh: MeshFactory) -> MeshAgent:
    """One healthy server, shared by the tests of a module."""
    return mesh().servers[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the agents' logs to the report of a failed test that uses the fixtures."""
    report = yield
    if report.failed and {"mesh", "mesh_agent"} & set(getattr(item, "fixturenames", ())):
        for agent in (agent for one in _made for agent in one):
            tail = "\n".join(agent.log.splitlines()[-LOG_LINES:])
            report.sections.append((f"log of {agent.name}", tail))
    return report
