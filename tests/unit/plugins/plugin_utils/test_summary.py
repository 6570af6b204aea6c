"""The final table: complete, aligned, and without a secret."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.meshnode.lab.plugins.plugin_utils._summary import (
    HIDDEN,
    MAX_CELL_CHARS,
    Run,
    cell,
    collect,
    lines_of,
    table,
)

ROW = {"role": "server", "state": "alive", "address": "172.28.77.11", "gossip_key": "7f83b165"}


def test_rows_come_from_both_ways_of_setting_stats_and_the_later_wins() -> None:
    rows, commands = collect(
        {
            "_run": {
                "mesh_summary": {"s1": {"role": "server", "state": "container created"}},
                "mesh_next": ["make down"],
            },
            "s1": {"mesh_summary": {"state": "alive"}},
            "c1": {"mesh_summary": {"role": "client"}},
            "other": {"something": "else"},
        }
    )
    assert rows == {"s1": {"role": "server", "state": "alive"}, "c1": {"role": "client"}}
    assert commands == ["make down"]


def test_lines_are_shown_once_and_on_one_line_each() -> None:
    assert lines_of({"_run": {"mesh_flows": ["web => db (allow)", "a\nb", "a\nb"]}}, "mesh_flows") == [
        "web => db (allow)",
        "a b",
    ]
    assert lines_of({}, "mesh_flows") == []


def test_fields_that_the_table_does_not_know_are_left_out() -> None:
    rows, _commands = collect({"s1": {"mesh_summary": {"role": "server", "token": "abc"}}})
    assert rows == {"s1": {"role": "server"}}


def test_the_table_is_aligned_and_has_servers_first_in_natural_order() -> None:
    rows = {"client1": {**ROW, "role": "client"}, "server10": ROW, "server2": ROW}
    lines = table(rows, {"server2": Run(changed=3, seconds=1.25), "client1": Run(trouble="FAILED")})
    assert lines == [
        "node      role    state   address       gossip key  changed  time",
        "server2   server  alive   172.28.77.11  7f83b165    3        1.2 s",
        "server10  server  alive   172.28.77.11  7f83b165    no       -",
        "client1   client  FAILED  172.28.77.11  7f83b165    no       -",
    ]


def test_the_datacenter_is_shown_where_there_are_several() -> None:
    rows = {"a": {**ROW, "datacenter": "dc1"}, "b": {**ROW, "datacenter": "dc2"}}
    assert [line.split()[2] for line in table(rows, {})] == ["datacenter", "dc1", "dc2"]
    assert "datacenter" not in table({"a": {**ROW, "datacenter": "-"}}, {})[0]


def test_no_rows_make_no_table() -> None:
    assert table({}, {}) == []


@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("form", ["{}", "key={}", "key: {}", "AES {} primary"])
def test_a_gossip_key_is_hidden_wherever_it_stands(size: int, form: str) -> None:
    key = base64.b64encode(bytes(range(size))).decode()
    assert cell(form.format(key)) == HIDDEN


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN EC PRIVATE KEY-----\nMHc",
        "3b5c1f0e-6f36-4d7a-9a5e-0a2f6a1f7c11",
        "token 3b5c1f0e-6f36-4d7a-9a5e-0a2f6a1f7c11",
    ],
)
def test_pem_blocks_and_tokens_are_hidden(secret: str) -> None:
    assert cell(secret) == HIDDEN


@pytest.mark.parametrize(
    "shown", ["7f83b165", "sha256:7f83b165", "2027-01-31T00:00:00Z", "container unchanged", "172.28.77.11"]
)
def test_fingerprints_dates_and_states_are_shown(shown: str) -> None:
    assert cell(shown) == shown


def test_a_cell_is_one_short_printable_line() -> None:
    assert cell("a\x1b[31mb\nc") == "a [31mb c"
    assert cell("") == "-"
    assert cell("x y " * 10) == ("x y " * 10).strip()
    assert len(cell("x y " * 11)) == MAX_CELL_CHARS
