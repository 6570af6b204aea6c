"""The DNS settings of the configuration as the core gets them."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.agent.dns_role import dns_config
from meshnode.base.address import Address
from meshnode.runtime.dns_recursors import Recursors


@pytest.mark.parametrize(("written", "domain"), [("mesh.example", "mesh.example."), ("Corp.", "corp.")])
def test_the_domain_ends_in_a_dot(config: Any, written: str, domain: str) -> None:
    assert dns_config(config(domain=written)).domain == domain


def test_the_port_and_the_addresses_are_those_of_dns(config: Any) -> None:
    settings = config(addresses={"dns": "127.0.0.5 127.0.0.6"}, ports={"dns": 53})
    assert settings.dns_listeners == (Address("127.0.0.5", 53), Address("127.0.0.6", 53))
    assert config(ports={"dns": -1}).dns_listeners == ()


@pytest.mark.parametrize("strategy", ["sequential", "random"])
def test_the_order_of_recursors_is_chosen(config: Any, strategy: str) -> None:
    settings = dns_config(config(recursors=["10.0.0.1"], dns_config={"recursor_strategy": strategy}))
    assert settings.recursors == (Address("10.0.0.1", 53),)
    made = Recursors(settings.recursors, settings.recursor_timeout, settings.recursor_strategy)
    assert made._random is (strategy == "random")
