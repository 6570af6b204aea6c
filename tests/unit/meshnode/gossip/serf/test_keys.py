"""Key requests answered, and answers tallied."""

from __future__ import annotations

import base64

import pytest

from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.gossip.effects import Log, Notify
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.serf.events import KeyOperationFinished, KeyResult
from meshnode.gossip.serf.keys import KeyOperation, KeyTally, answer_key_query, shortened
from meshnode.gossip.serf.payloads import (
    InternalQuery,
    KeyAnswer,
    serialize_key_answer,
    serialize_key_request,
)

ONE, TWO = b"1" * 16, b"2" * 32
INSTALL, USE, REMOVE, LIST = (operation.query for operation in KeyOperation)


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def ask(query: InternalQuery, keyring: Keyring | None, key: bytes | None = None) -> KeyAnswer:
    return answer_key_query(query, serialize_key_request(key), keyring)


def test_a_key_is_installed_used_and_its_predecessor_removed() -> None:
    ring = Keyring([ONE])
    assert ask(INSTALL, ring, TWO) == KeyAnswer(True)
    assert ring.keys == (ONE, TWO)
    assert ask(USE, ring, TWO) == KeyAnswer(True)
    assert ask(LIST, ring) == KeyAnswer(True, "", (text(TWO), text(ONE)), text(TWO))
    assert ask(REMOVE, ring, ONE) == KeyAnswer(True)
    assert list(ring.keys) == [TWO]


@pytest.mark.parametrize(("query", "key"), [(INSTALL, ONE), (USE, ONE), (REMOVE, TWO)])
def test_an_operation_that_is_already_done_succeeds(query: InternalQuery, key: bytes) -> None:
    ring = Keyring([ONE])
    assert ask(query, ring, key) == KeyAnswer(True)
    assert ring.keys == (ONE,)


@pytest.mark.parametrize(
    ("query", "key", "said"),
    [(INSTALL, b"short", "16, 24 or 32"), (USE, TWO, gossip_key_fingerprint(TWO)), (REMOVE, ONE, "primary")],
)
def test_a_refusal_says_why_and_shows_no_key(query: InternalQuery, key: bytes, said: str) -> None:
    ring = Keyring([ONE])
    answer = ask(query, ring, key)
    assert not answer.result
    assert said in answer.message
    assert key.decode() not in answer.message
    assert ring.keys == (ONE,)


@pytest.mark.parametrize("query", [INSTALL, USE, REMOVE, LIST])
def test_a_node_in_clear_has_no_keyring(query: InternalQuery) -> None:
    answer = ask(query, None, ONE)
    assert (answer.result, "encryption not enabled" in answer.message) == (False, True)


def test_a_payload_that_is_no_key_request_is_an_error_and_changes_nothing() -> None:
    ring = Keyring([ONE])
    assert not answer_key_query(INSTALL, b"\x07\xc1", ring).result
    assert ring.keys == (ONE,)


def test_a_shortened_listing_says_so_in_serfs_words() -> None:
    short = shortened(KeyAnswer(True, "", ("a", "b", "c"), "a"), 2)
    assert short == KeyAnswer(True, "truncated key list response, showing first 2 of 3 keys", ("a", "b"), "a")


def test_the_tally_counts_keys_and_primaries_and_keeps_each_nodes_message() -> None:
    tally = KeyTally(9, num_nodes=4)
    assert tally.responded("a", serialize_key_answer(KeyAnswer(True, "", ("x", "y"), "x"))) == []
    (log,) = tally.responded("b", serialize_key_answer(KeyAnswer(True, "truncated", ("x",), "x")))
    assert isinstance(log, Log)
    tally.responded("c", serialize_key_answer(KeyAnswer(False, "no keyring")))
    assert not tally.is_complete()
    tally.responded("d", b"\x08\xc1")
    assert tally.is_complete()
    (effect,) = tally.finished()
    assert effect == Notify(
        KeyOperationFinished(
            9,
            KeyResult(
                4,
                4,
                2,
                {"b": "truncated", "c": "no keyring", "d": tally.messages["d"]},
                {"x": 2, "y": 1},
                {"x": 2},
            ),
        )
    )
    assert "unreadable" in tally.messages["d"]


@pytest.mark.parametrize(
    ("result", "complete"),
    [(KeyResult(2, 2, 0), True), (KeyResult(2, 1, 0), False), (KeyResult(2, 2, 1), False)],
)
def test_an_operation_is_complete_when_all_answered_without_error(result: KeyResult, complete: bool) -> None:
    assert result.complete is complete
