from __future__ import annotations

from collections.abc import Callable

import pytest

from meshnode.base.errors import LocalProtocolError
from meshnode.rpc.method import MethodTable, RpcError


def table() -> MethodTable[Callable[[], str]]:
    return MethodTable({"Status.Leader": lambda: "leader", "Status.Peers": lambda: "peers"})


def test_a_method_is_found_by_its_whole_name() -> None:
    assert table().find("Status.Peers")() == "peers"
    assert list(table()) == ["Status.Leader", "Status.Peers"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Status.Nope", "rpc: can't find method Status.Nope"),
        ("Nope.Leader", "rpc: can't find service Nope.Leader"),
        ("status.Leader", "rpc: can't find service status.Leader"),
        ("Leader", "rpc: service/method request ill-formed: Leader"),
        ("", "rpc: service/method request ill-formed: "),
    ],
)
def test_what_is_missing_is_said_in_the_words_of_go(name: str, words: str) -> None:
    with pytest.raises(RpcError) as caught:
        table().find(name)
    assert str(caught.value) == words


def test_a_name_that_is_long_is_cut_in_the_answer() -> None:
    with pytest.raises(RpcError) as caught:
        table().find("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["Status.Leader", "NoDot", ".X", "X.", ""])
def test_a_method_is_entered_once_and_under_a_full_name(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        table().add({name: lambda: ""})
