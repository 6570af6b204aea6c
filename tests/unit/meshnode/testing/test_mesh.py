from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.testing import Mesh


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"servers": 0}, "servers: 0 is too few"),
        ({"clients": -1}, "clients: -1 is not a number of agents"),
        ({"datacenters": "dc1"}, r"write \('dc1', 'dc2'\)"),
        ({"datacenters": ()}, "datacenters"),
        ({"datacenters": ("dc1", "dc1")}, "different names"),
    ],
)
def test_what_can_not_be_asked_for_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Mesh(**options)


def test_outside_of_its_with_block_a_mesh_says_how_to_use_it() -> None:
    mesh = Mesh()
    assert list(mesh) == []
    with pytest.raises(MeshError, match="with block"):
        _ = mesh.directory
    with pytest.raises(MeshError, match=r"Mesh\(secure=True\)"):
        _ = mesh.ca_file
    with pytest.raises(KeyError, match="not started"):
        _ = mesh["server1"]
    mesh.close()


def test_only_a_mesh_with_access_control_has_a_token() -> None:
    assert Mesh().token == ""
    assert len(Mesh(acl=True).token) == 36
