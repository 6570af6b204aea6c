"""Bodies of registrations: every field of a wrong type is a 400 that names it, and no JSON does any harm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.state_api import StateApi

#: Path of a field -> what it must be.
TYPES = {
    "string": [
        "Datacenter", "ID", "Node", "Address",
        *(f"Service.{name}" for name in ("Kind", "ID", "Service", "Address", "ProxyDestination")),
        *(f"Service.Proxy.{n}" for n in ("DestinationServiceName", "DestinationServiceID", "LocalServiceAddress")),
        "Service.Connect.Proxy.ExecMode",
        *(f"Check.{name}" for name in ("Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID")),
        *(f"Check.Definition.{name}" for name in ("HTTP", "Method", "TCP")),
    ],
    "boolean": [
        "SkipNodeUpdate", "Service.EnableTagOverride", "Service.Connect.Native", "Check.Definition.TLSSkipVerify",
    ],
    "number": [
        "Service.Port", "Service.Weights.Passing", "Service.Weights.Warning", "Service.Proxy.LocalServicePort",
    ],
    "object": [
        "TaggedAddresses", "NodeMeta", "Service", "Check", "Service.Meta", "Service.Weights", "Service.Connect",
        "Service.Connect.Proxy", "Service.Connect.Proxy.Config", "Service.Proxy", "Service.Proxy.Config",
        "Check.Definition", "Check.Definition.Header",
    ],
    "list": ["Checks", "Service.Tags", "Service.Proxy.Upstreams", "Service.Connect.Proxy.Command"],
    "duration": [
        f"Check.Definition.{name}" for name in ("Interval", "Timeout", "DeregisterCriticalServiceAfter")
    ],
}  # fmt: skip
WRONG: dict[str, tuple[Any, ...]] = {
    "string": (1, True, [], {}),
    "boolean": (1, "true", [], {}),
    "number": ("1", True, [], {}, 1.5, 2**70),
    "object": (1, "x", True, []),
    "list": (1, "x", True, {}),
    "duration": (True, [], {}, "5", "soon", 1e300),
}
CASES = [
    (path, wrong) for kind, paths in TYPES.items() for path in paths for wrong in WRONG[kind]
]  # fmt: skip


def nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


@pytest.mark.parametrize(("path", "wrong"), CASES, ids=str)
def test_a_field_of_a_wrong_type_is_named(path: str, wrong: Any) -> None:
    api = StateApi()
    response = api.put("/v1/catalog/register", nested(path, wrong))
    assert (response.status, response.body.decode().startswith(f"Request decode failed: {path}: ")) == (
        400,
        True,
    ), response.body
    assert api.calls == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"NodeMeta": {"a": 1}}, "NodeMeta[a]"),
        ({"Service": {"Tags": ["x", 1]}}, "Service.Tags[1]"),
        ({"Checks": [{}, {"Name": 1}]}, "Checks[1].Name"),
        ({"Checks": [{}, "x"]}, "Checks[1]"),
        ({"Service": {"Proxy": {"Upstreams": [{"LocalBindPort": "1"}]}}}, "Service.Proxy.Upstreams[0].LocalBindPort"),
        ({"Check": {"Definition": {"Header": {"A": "b"}}}}, "Check.Definition.Header.A"),
    ],
)  # fmt: skip
def test_a_place_in_a_list_is_named_too(body: dict[str, Any], named: str) -> None:
    response = StateApi().put("/v1/catalog/register", body)
    assert (response.status, response.body.decode().startswith(f"Request decode failed: {named}: ")) == (
        400,
        True,
    )


@pytest.mark.parametrize("where", ["Proxy", "Connect.Proxy"])
@pytest.mark.parametrize("value", [b"1e400", b"-1e400", b"18446744073709551616", b"[" * 40 + b"]" * 40])
def test_a_configuration_that_could_not_be_shown_again_is_refused(where: str, value: bytes) -> None:
    names = ["Service", *where.split("."), "Config", "x"]
    body = b"".join(b'{"%s":' % name.encode() for name in names) + value + b"}" * len(names)
    response = StateApi().put("/v1/catalog/register", body)
    text = response.body.decode()
    assert (response.status, text.startswith(f"Request decode failed: Service.{where}.Config: ")) == (
        400,
        True,
    ), text


@pytest.mark.parametrize("name", ["Datacenter", "Node", "ServiceID", "CheckID"])
def test_a_field_of_a_deregistration_is_named(name: str) -> None:
    response = StateApi().put("/v1/catalog/deregister", {name: 1})
    assert (response.status, response.body.decode()) == (
        400, f"Request decode failed: {name}: expected string, got number")  # fmt: skip


@pytest.mark.parametrize("path", ["register", "deregister"])
@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"1", b'{"Node":', b"[" * 100_000])
def test_what_is_no_object_is_a_bad_request(path: str, body: bytes) -> None:
    response = StateApi().put(f"/v1/catalog/{path}", body)
    assert (response.status, response.body.startswith(b"Request decode failed: ")) == (400, True)


_names = st.sampled_from(
    sorted({part for paths in TYPES.values() for path in paths for part in path.split(".")})
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_names | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_names, _values, max_size=8))
def test_any_json_is_registered_or_refused_and_then_shown_whole(body: dict[str, Any]) -> None:
    api = StateApi()
    response = api.put("/v1/catalog/register", {"Node": "n1", "Address": "10.0.0.1", **body})
    assert response.status in {200, 400, 500}, response.body
    assert (response.status == 200) == bool(api.machine.catalog.tables.nodes)
    for path in ("catalog/nodes", "catalog/node/n1", "health/state/any", "internal/ui/nodes"):
        assert api.get(f"/v1/{path}").status == 200
