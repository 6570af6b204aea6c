from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.sdk.hosts import MeshHost, parse_host


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("socat.mesh", MeshHost("socat")),
        ("Socat.MESH.", MeshHost("socat")),
        ("socat.service.consul", MeshHost("socat")),
        ("socat.connect.consul", MeshHost("socat")),
        ("socat.service.dc2.consul", MeshHost("socat", "dc2")),
        ("nearest.query.consul", MeshHost("nearest", "", True)),
        ("nearest.query.dc2.consul", MeshHost("nearest", "dc2", True)),
    ],
)
def test_names_of_the_mesh(host: str, found: MeshHost) -> None:
    assert parse_host(host) == found


@pytest.mark.parametrize(
    "host",
    [
        *("", "mesh", ".mesh", "a.b.mesh", "socat", "socat.consul", "socat.service.com", "127.0.0.1"),
        *(
            "socat.node.consul",
            ".service.consul",
            "socat.service..consul",
            "a.b.service.consul",
            "socat.mesh..",
            "::1",
        ),
    ],
)
def test_names_of_anything_else_are_not(host: str) -> None:
    assert parse_host(host) is None


@given(st.text(max_size=60))
def test_any_name_is_read_or_not_and_never_gives_an_empty_service(host: str) -> None:
    found = parse_host(host)
    assert found is None or found.name
