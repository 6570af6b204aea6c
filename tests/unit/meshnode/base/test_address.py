from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.address import is_ip_address, parse_ip_address
from meshnode.base.errors import ConfigError


@given(st.ip_addresses())
def test_every_ip_address_is_one_and_is_its_own_canonical_form(address: object) -> None:
    assert is_ip_address(str(address))
    assert parse_ip_address(str(address), "-to") == str(address)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "1.2.3.4:80", "[::1]", "1.2.3.4/8", "010.0.0.1"])
def test_what_is_no_ip_address_is_refused_with_its_place(text: str) -> None:
    assert not is_ip_address(text)
    with pytest.raises(ConfigError) as refused:
        parse_ip_address(text, "-to")
    assert str(refused.value) == f"-to: {text!r} is not an IP address"


def test_an_address_is_given_in_its_canonical_form() -> None:
    assert parse_ip_address("FD00:0::01", "-to") == "fd00::1"
