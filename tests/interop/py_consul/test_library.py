"""py-consul as a whole: its asynchronous client, what came after Consul 1.2.3, and no method left out."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import consul
import pytest
from consul.base import Consul as BaseConsul
from consul.exceptions import ConsulException

from meshnode.testing import Mesh

#: Methods that no test here calls, and why.
NOT_CALLED = {
    "agent.monitor": "it reads a stream without an end to its end: py-consul can only time out",
}
LATER: dict[str, Callable[[consul.Consul], Any]] = {
    "gateways of the catalog": lambda c: c.catalog.gateway_services("g"),
    "usage": lambda c: c.operator.usage(),
    "login": lambda c: c.acl.login("m", "t"),
    "logout": lambda c: c.acl.logout("t"),
    "listing auth methods": lambda c: c.acl.auth_method.list(),
    "reading an auth method": lambda c: c.acl.auth_method.read("m"),
    "making an auth method": lambda c: c.acl.auth_method.create("m", "jwt"),
    "changing an auth method": lambda c: c.acl.auth_method.update("m", "jwt"),
    "deleting an auth method": lambda c: c.acl.auth_method.delete("m"),
    "listing binding rules": lambda c: c.acl.binding_rule.list(),
    "reading a binding rule": lambda c: c.acl.binding_rule.read("r"),
    "making a binding rule": lambda c: c.acl.binding_rule.create("m", "service", "n"),
    "changing a binding rule": lambda c: c.acl.binding_rule.update("r", "m", "service", "n"),
    "deleting a binding rule": lambda c: c.acl.binding_rule.delete("r"),
    "listing templated policies": lambda c: c.acl.templated_policy.list(),
    "reading a templated policy": lambda c: c.acl.templated_policy.read("builtin/service"),
    "previewing a templated policy": lambda c: c.acl.templated_policy.preview("builtin/service"),
}
# What came after Consul 1.2.3


@pytest.mark.parametrize("what", LATER)
def test_what_came_after_consul_1_2_3_is_not_found(client: consul.Consul, what: str) -> None:
    # The library has None or False for 404, and raises for everything else that is no success.
    assert not LATER[what](client)


def test_ingress_gateways_are_not_found(client: consul.Consul) -> None:
    with pytest.raises(ConsulException, match="Missing index header"):
        client.health.ingress("web")


# The library


# py-consul's own way to aiohttp.
@pytest.mark.filterwarnings("ignore:ssl_context is deprecated:DeprecationWarning")
def test_the_asynchronous_client_reads_what_it_wrote(cluster: Mesh, name: str) -> None:
    from consul import aio

    async def run() -> None:
        async with aio.Consul(cluster["client1"].host, 8500) as client:
            assert await client.kv.put(name, "x")
            index, entry = await client.kv.get(name)
            assert entry["Value"] == b"x"
            reader = client.kv.get(name, index=index, wait="20s")
            _, (_, changed) = await asyncio.gather(client.kv.put(name, "y"), reader)
            assert changed["Value"] == b"y"

    asyncio.run(run())


def methods(owner: object, path: str = "") -> Iterator[str]:
    """Dotted names of all public methods of the library, from its own objects."""
    for key, value in vars(owner).items():
        if type(value).__module__.startswith("consul.api"):
            yield from methods(value, f"{path}{key}.")
    if path:
        for key, _method in inspect.getmembers(type(owner), inspect.isfunction):
            if not key.startswith("_"):
                yield f"{path}{key}"


def test_every_method_of_the_library_is_called_here_or_has_a_reason() -> None:
    mentioned = {
        ast.unparse(node).partition(".")[2]
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    # "tokens" is another name of "token", and so on: one of both is enough.
    plural = {"tokens", "policies", "roles", "templated_policies", "auth_methods", "binding_rules"}
    known = {method for method in methods(consul.Consul()) if not plural & set(method.split("."))} | {
        f"Check.{key}" for key, _ in inspect.getmembers(consul.Check, inspect.ismethod) if key[0] != "_"
    }
    assert issubclass(consul.Consul, BaseConsul)
    assert len(known) > 100, "the walk is broken"
    assert known - mentioned - set(NOT_CALLED) == set(), "py-consul has methods that no test calls"
    assert set(NOT_CALLED) <= known - mentioned, "called by now, or gone: take it off the list"
