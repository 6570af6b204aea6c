"""Fields as a part without HTTP sees them; what they read and refuse is in the tests of bodies."""

from __future__ import annotations

import pytest

from meshnode.base.errors import ConfigError
from meshnode.base.json_fields import JsonFields, json_type


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("", "string"),
        (True, "boolean"),
        (1, "number"),
        (1.5, "number"),
        ({}, "object"),
        ([], "list"),
        (None, "null"),
    ],
)
def test_types_have_the_names_that_json_gives_them(value: object, name: str) -> None:
    assert json_type(value) == name


def test_a_mistake_is_a_configuration_error_that_names_the_path() -> None:
    with pytest.raises(ConfigError, match=r"^services\[1\]\.Port: expected number, got string$"):
        JsonFields({"port": "80"}, "services[1]").integer("Port")
