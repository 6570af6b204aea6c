from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshnode.agent.connect_ca import ConnectCa
from meshnode.agent.connect_off import ConnectOff
from meshnode.control.endpoints.connect_ca import NOT_ENABLED
from meshnode.rpc.method import RpcError


def authority() -> ConnectCa:
    nothing: Any = None
    return ConnectCa(
        nothing, nothing, datacenter="dc1", alive=nothing, wall=nothing, entropy=nothing, new_id=nothing
    )


def test_it_has_the_methods_of_the_authority() -> None:
    assert set(ConnectOff().methods) == set(authority().methods)


@pytest.mark.parametrize("name", sorted(ConnectOff().methods))
def test_each_call_is_refused_in_consuls_words(name: str) -> None:
    with pytest.raises(RpcError, match=f"^{NOT_ENABLED}$"):
        asyncio.run(ConnectOff().methods[name]({}, ""))  # type: ignore[arg-type]


def test_a_term_and_its_end_ask_nothing_of_it() -> None:
    off = ConnectOff()
    off.lead(1)
    off.applied(frozenset())
    asyncio.run(off.stop())
