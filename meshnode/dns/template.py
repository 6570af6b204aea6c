"""A finished answer that is used many times: records as bytes, put in another order each time.

Names are compressed against the question only, never against each other, so a record's bytes are good at any place
of the message. Whether an answer fits is decided by its uncompressed length, as Consul does: whoever unpacks it on the
way still has a message of the right size.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from struct import Struct
from typing import Final

from meshnode.dns.message import HEADER_BYTES
from meshnode.dns.records import FLAG_TC

__all__ = ["NO_LIMIT", "Choice", "Encoded", "Template"]

NO_LIMIT: Final = 1 << 30
_HEADER: Final = Struct("!HHHHH")


@dataclass(frozen=True, slots=True)
class Encoded:
    """``count`` records as bytes, and their length without compression."""

    data: bytes = b""
    size: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers, and what is added for it in the additional section; those are shared, and sent once."""

    answer: Encoded
    extras: tuple[Encoded, ...] = ()


class Template:
    """An answer without its id. ``flags`` has no TC bit; ``aliases`` are answers that stand alone (CNAME)."""

    __slots__ = (
        "_aliases",
        "_authority",
        "_budget",
        "_choices",
        "_flags",
        "_limit",
        "_opt",
        "_question",
        "_ready",
        "_sampled",
        "_shuffle",
        "_sizes_vary",
        "_truncate",
        "_wire_budget",
    )

    def __init__(
        self,
        flags: int,
        question: bytes,
        choices: Sequence[Choice] = (),
        *,
        aliases: Sequence[Choice] = (),
        authority: Encoded = Encoded(),
        opt: bytes = b"",
        max_bytes: int = 512,
        record_limit: int = NO_LIMIT,
        udp_limit: int = NO_LIMIT,
        shuffle: bool = True,
        truncate: bool = False,
    ) -> None:
        """``record_limit`` leaves answers out silently, ``udp_limit`` and ``max_bytes`` truncate.

        ``opt`` is the OPT record. ``truncate`` sets TC when something was left out; it is set in any case when
        nothing fits.
        """
        self._flags = flags
        self._question = question
        self._choices = choices
        self._aliases = aliases
        self._authority = authority
        self._opt = opt
        self._shuffle = shuffle
        self._truncate = truncate
        overhead = HEADER_BYTES + len(question) + len(opt)
        self._budget = max_bytes - overhead - authority.size
        self._wire_budget = max_bytes - overhead - len(authority.data)
        smallest = min((choice.answer.size for choice in choices), default=1)
        after_records = min(len(self._choices), record_limit)
        #: More answers than this can't be in a message, so no more are drawn.
        self._sampled = min(after_records, udp_limit, max(1, self._budget // max(1, smallest)))
        self._limit = after_records
        biggest = sorted((_whole(choice) for choice in self._choices), reverse=True)[: self._sampled]
        self._sizes_vary = (
            sum(biggest) > self._budget or any(c.extras for c in self._choices) or bool(aliases)
        )
        truncated = FLAG_TC if truncate and self._sampled < after_records else 0
        self._ready = self._head(flags | truncated, self._sampled, 0) + question

    def render(self, ident: bytes, rng: Random) -> bytes:
        """The message for a query with the two bytes ``ident``."""
        choices: Sequence[Choice] = self._choices
        if self._shuffle and len(choices) > 1:
            choices = rng.sample(choices, self._sampled)
        elif len(choices) > self._sampled:
            choices = choices[: self._sampled]
        if self._sizes_vary:
            return ident + self._measured(choices, rng)
        parts = [ident, self._ready]
        parts += [choice.answer.data for choice in choices]
        parts += (self._authority.data, self._opt)
        return b"".join(parts)

    def _measured(self, choices: Sequence[Choice], rng: Random) -> bytes:
        limit = self._limit
        if self._aliases and rng.randrange(len(self._aliases) + len(self._choices)) >= len(self._choices):
            # A name has one CNAME and nothing else (RFC 2181 10.1): the draw decides between it and the addresses.
            choices, limit = [rng.choice(self._aliases)], 1
        extras: dict[Encoded, None] = {}
        sizes = []
        for choice in choices:
            new = [extra for extra in choice.extras if extra not in extras]
            extras.update(dict.fromkeys(new))
            sizes.append(choice.answer.size + sum(extra.size for extra in new))
        kept = choices[: bisect_right(list(accumulate(sizes)), self._budget)]
        bare = [] if kept else [c for c in choices[:1] if len(c.answer.data) <= self._wire_budget]
        extras = dict.fromkeys(extra for choice in kept for extra in choice.extras)
        kept = kept or bare
        flags = self._flags
        if len(kept) < limit and (self._truncate or not kept):
            flags |= FLAG_TC
        answers = sum(choice.answer.count for choice in kept)
        head = self._head(flags, answers, sum(extra.count for extra in extras))
        parts = [head, self._question, *(choice.answer.data for choice in kept), self._authority.data]
        return b"".join([*parts, *(extra.data for extra in extras), self._opt])

    def _head(self, flags: int, answers: int, extras: int) -> bytes:
        additional = extras + bool(self._opt)
        return _HEADER.pack(flags, bool(self._question), answers, self._authority.count, additional)


def _whole(choice: Choice) -> int:
    return choice.answer.size + sum(extra.size for extra in choice.extras)
