"""Keyring operations over the whole pool: answering a key request, and tallying the answers to ours."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.gossip.effects import Effect, Level, Log, Notify
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.serf.events import KeyOperationFinished, KeyResult
from meshnode.gossip.serf.payloads import InternalQuery, KeyAnswer, parse_key_answer, parse_key_request

__all__ = ["KeyOperation", "KeyTally", "answer_key_query", "shortened"]


class KeyOperation(StrEnum):
    """What can be done to every keyring of the pool."""

    INSTALL = "install"
    USE = "use"
    REMOVE = "remove"
    LIST = "list"

    @property
    def query(self) -> InternalQuery:
        """The internal query that carries it."""
        return _QUERIES[self]


_QUERIES = {
    KeyOperation.INSTALL: InternalQuery.INSTALL_KEY,
    KeyOperation.USE: InternalQuery.USE_KEY,
    KeyOperation.REMOVE: InternalQuery.REMOVE_KEY,
    KeyOperation.LIST: InternalQuery.LIST_KEYS,
}


def answer_key_query(query: InternalQuery, payload: bytes, keyring: Keyring | None) -> KeyAnswer:
    """Do what a key query asks and say how it went; the caller notices a changed ring by comparing it.

    A ring that already is as asked is a success: Serf's key operations are idempotent.
    """
    if keyring is None:
        verb = "Keyring is empty" if query is InternalQuery.LIST_KEYS else "No keyring to modify"
        return KeyAnswer(False, f"{verb} (encryption not enabled)")
    if query is InternalQuery.LIST_KEYS:
        return KeyAnswer(True, "", tuple(map(_text, keyring.keys)), _text(keyring.primary))
    try:
        key = parse_key_request(payload)
        if query is InternalQuery.INSTALL_KEY:
            keyring.add(key)
        elif query is InternalQuery.USE_KEY:
            keyring.use(key)
        elif key in keyring.keys:
            keyring.remove(key)
    except MeshError as error:
        return KeyAnswer(False, str(error))
    return KeyAnswer(True)


def shortened(answer: KeyAnswer, count: int) -> KeyAnswer:
    """``answer`` with only its first ``count`` keys and a message that says so, in Serf's words."""
    message = f"truncated key list response, showing first {count} of {len(answer.keys)} keys"
    return replace(answer, keys=answer.keys[:count], message=message)


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@dataclass(slots=True)
class KeyTally:
    """Collector of the answers to one keyring operation over ``num_nodes`` nodes."""

    request: int
    num_nodes: int
    errors: int = 0
    responses: int = 0
    messages: dict[str, str] = field(default_factory=dict)
    keys: Counter[str] = field(default_factory=Counter)
    primary_keys: Counter[str] = field(default_factory=Counter)

    def acked(self, node: str) -> list[Effect]:
        """Key requests ask for no acknowledgement."""
        return []

    def responded(self, node: str, payload: bytes) -> list[Effect]:
        """Count one node's answer; one that can't be read is that node's error."""
        self.responses += 1
        try:
            answer = parse_key_answer(payload)
        except RemoteProtocolError as error:
            answer = KeyAnswer(False, f"unreadable key response: {error}")
        if not answer.result:
            self.errors += 1
        if not answer.result or answer.message:
            self.messages[node] = answer.message
        self.keys.update(answer.keys)
        if answer.primary:
            self.primary_keys[answer.primary] += 1
        if answer.result and answer.message:
            return [Log(Level.WARN, f"serf: {node} answered a key request: {answer.message}")]
        return []

    def is_complete(self) -> bool:
        """Whether every node answered."""
        return self.responses >= self.num_nodes

    def finished(self) -> list[Effect]:
        """The result as it stands."""
        result = KeyResult(
            self.num_nodes,
            self.responses,
            self.errors,
            dict(self.messages),
            dict(self.keys),
            dict(self.primary_keys),
        )
        return [Notify(KeyOperationFinished(self.request, result))]
