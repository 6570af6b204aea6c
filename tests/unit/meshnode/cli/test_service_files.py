from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError, MeshError
from meshnode.cli import service_files
from meshnode.cli.service_files import parse_services
from meshnode.local import parse


@pytest.mark.parametrize(
    ("text", "services"),
    [
        ('service { name = "a" }', [{"name": "a"}]),
        ('service { name = "a" }\nservice { name = "b" }', [{"name": "a"}, {"name": "b"}]),
        ('{"services": [{"Name": "a", "EnableTagOverride": true}]}', [{"name": "a", "enabletagoverride": True}]),
        ('service { id = "only" }', [{"id": "only"}]),
        ('service { name = "a", port = 80.5 }', [{"name": "a", "port": 80.5}]),
        ('service { name = "a", connect { native = true } }', [{"name": "a", "connect": {"native": True}}]),
        (
            'service { name = "a", connect { proxy { config { Bind_Port = 1 } } } }',
            [{"name": "a", "connect": {"proxy": {"config": {"Bind_Port": 1}}}}],
        ),
        ('server = true', []),
    ],
)  # fmt: skip
def test_services_come_out_as_the_api_takes_them(text: str, services: list[object]) -> None:
    assert parse_services(text, "a.hcl") == services


def test_a_file_called_json_is_read_as_json() -> None:
    with pytest.raises(ConfigError, match=r"a\.json:1:1"):
        parse_services('service { name = "a" }', "a.json")


def problem_of(text: str, where: str) -> str:
    try:
        return f"none in {json.dumps(parse_services(text, where))}"
    except MeshError as error:
        return str(error)


@given(st.text('{}[]=",:# \nservicnamechk10', max_size=60))
def test_any_text_ends_in_services_or_in_an_error_of_ours(text: str) -> None:
    assert problem_of(text, "a.hcl").startswith(("none", "a.hcl"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text("ab_", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "id", "check", "checks", "meta", "http", "port"]), inner, max_size=4
        )
    ),
)


@given(st.dictionaries(st.sampled_from(["service", "services"]), json_values, max_size=2))
def test_any_shape_ends_in_services_or_in_an_error_of_ours(tree: object) -> None:
    assert problem_of(json.dumps(tree), "a.json").startswith(("none", "a.json"))


def test_the_command_knows_the_fields_that_the_agent_knows() -> None:
    for known, fields in (
        (service_files._CHECK, parse._CHECK_FIELDS),
        (service_files._SERVICE, parse._SERVICE_FIELDS),
    ):
        assert set(known) == {field.lower() for field in fields}
