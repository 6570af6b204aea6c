# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node had before a roll: one record, kept by the roll, and what a rollback may do with it.

The record has the texts of before, and the digests of what the roll put in their place. A part that is neither has been
changed by somebody else since, a rotation for instance: the record is void then, for it would bring an old key or phase
back. So it needs no word from any other procedure, and a node that was left half-way is not void. Authorities are
looked at and not kept: what was issued since counts.

Secrets that the configuration of after has, too, are not in the record: placeholders stand for them, and the text is
made whole from what is on disk. A key that was rotated out is not left in a second place.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import (
    Layout,
    load_json,
    package_digest_on_disk,
)
from ansible_collections.meshnode.lab.plugins.module_utils._files import File, Ownership
from ansible_collections.meshnode.lab.plugins.module_utils._redact import (
    MIN_MASKED_LENGTH,
    placeholder,
    secrets_in,
)

RECORD = "before.json"
FORMAT = 1
MAX_RECORD_BYTES = 4 * 1024 * 1024
PRIVATE = Ownership(mode=0o600)
#: What is put back, in this order; the release is switched last.
TEXTS = ("configuration", "unit", "client environment")
RELEASE = "package"
#: Looked at only.
AUTHORITIES = "authorities"
PARTS = (*TEXTS, RELEASE, AUTHORITIES)
ROLL = re.compile(r"[0-9A-Za-z][0-9A-Za-z:._-]{0,63}")


class BeforeError(Exception):
    """There is no way back by this record; the text names the reason and the fix."""


@dataclass(frozen=True)
class Places:
    """Where the texts are on the node."""

    config: str = ""
    unit: str = ""
    client_environment: str = ""

    @property
    def by_name(self) -> dict[str, str]:
        return dict(zip(TEXTS, (self.config, self.unit, self.client_environment)))


@dataclass(frozen=True)
class Found:
    """The parts as they are on the node: texts (C(None) where there is no file) and digests (empty there)."""

    texts: dict[str, str | None] = field(repr=False)
    digests: dict[str, str]
    #: Of the configuration, by their placeholders.
    secrets: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Record:
    """C(before) and C(after) are digests by part; of after there may be several, when a roll was begun anew."""

    roll: str
    before: dict[str, str]
    after: dict[str, list[str]]
    texts: dict[str, str | None] = field(repr=False)
    secrets: dict[str, str] = field(repr=False)


def digest(text: str | None) -> str:
    """SHA-256, and nothing of nothing."""
    return "" if text is None else hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def look(layout: Layout, places: Places) -> Found:
    """The parts of this node as they are."""
    texts = {name: _read(path) for name, path in places.by_name.items()}
    config = load_json(places.config)
    digests = {name: digest(text) for name, text in texts.items()}
    digests[RELEASE] = package_digest_on_disk(layout)
    digests[AUTHORITIES] = digest(_read(str(config.get("ca_file") or "")))
    return Found(texts, digests, secrets_of(config))


def secrets_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Those of a configuration that are long enough to be told from other text, by their placeholders."""
    return {placeholder(one): one for one in secrets_in(config) if len(one) >= MIN_MASKED_LENGTH}


def judge(record: Record, digests: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The parts that a rollback puts back, and those that neither the roll nor the node of before has put there."""
    other = [name for name in PARTS if digests[name] != record.before[name]]
    void = [name for name in other if digests[name] not in record.after[name]]
    return [name for name in other if name not in void and name != AUTHORITIES], void


def next_record(
    record: Record | None, roll: str, found: Found, planned: Mapping[str, str], to_come: Mapping[str, str]
) -> Record | None:
    """What is to be kept before the roll puts ``planned`` (digests by part) in place; C(None) when there is nothing.

    ``to_come`` are the secrets that the new configuration has, by their placeholders. The second touch of the same roll
    leaves what was before as it is, and a void record void.
    """
    if all(planned[name] == found.digests[name] for name in (*TEXTS, RELEASE)):
        return record
    if record is None or record.roll != roll:
        if not found.digests[RELEASE] or found.texts["configuration"] is None:
            return record  # Nothing ran here before.
        texts = {name: _hidden(text, found.secrets) for name, text in found.texts.items()}
        record = Record(roll, dict(found.digests), {name: [] for name in PARTS}, texts, {})
    if judge(record, found.digests)[1]:
        return record
    after = {
        name: list(dict.fromkeys([*record.after[name], found.digests[name], planned[name]])) for name in PARTS
    }
    lost = {
        mark: secret
        for mark, secret in found.secrets.items()
        if mark not in to_come and any(mark in (text or "") for text in record.texts.values())
    }
    return replace(record, after=after, secrets={**record.secrets, **lost})


def whole(record: Record, found: Found) -> dict[str, str | None]:
    """The texts of before, with their secrets; raises :class:`BeforeError` when one is nowhere any more."""
    secrets = {**found.secrets, **record.secrets}
    texts: dict[str, str | None] = {}
    for name, text in record.texts.items():
        for mark, secret in secrets.items():
            text = text if text is None else text.replace(mark, secret)
        if digest(text) != record.before[name]:
            raise BeforeError(
                f"{name}: a secret of the one of before is on the node no more: put the inventory back and run roll.yml"
            )
        texts[name] = text
    return texts


def _hidden(text: str | None, secrets: Mapping[str, str]) -> str | None:
    """Placeholders for secrets, where that can be undone."""
    if text is None:
        return None
    hidden = text
    for mark, secret in sorted(secrets.items(), key=lambda item: -len(item[1])):
        hidden = hidden.replace(secret, mark)
    again = hidden
    for mark, secret in secrets.items():
        again = again.replace(mark, secret)
    return hidden if again == text else text


def parse(text: str, path: str) -> Record:
    """The record in ``text``; raises :class:`BeforeError` for one that is damaged, or of another version."""
    try:
        loaded = json.loads(text)
        if loaded.pop("format") != FORMAT or set(loaded) != {each.name for each in fields(Record)}:
            raise BeforeError(
                f"{path}: was written by another version of meshnode: take it back with that version, "
                "or remove the file, and the node stays as it is"
            )
        record = Record(**loaded)
        sound = (
            ROLL.fullmatch(record.roll)
            and set(record.before) == set(record.after) == set(PARTS)
            and set(record.texts) == set(TEXTS)
            and all(isinstance(one, str) for one in (*record.before.values(), *record.secrets.values()))
            and all(text is None or isinstance(text, str) for text in record.texts.values())
            and all(isinstance(one, str) for each in record.after.values() for one in each)
            and re.fullmatch(r"[0-9a-f]{8,64}", record.before[RELEASE])
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = None
    if not sound:
        raise BeforeError(
            f"{path}: is damaged: it says what the node had before the last roll; remove it, "
            "and the node stays as it is"
        )
    return record


def read(install_dir: str) -> Record | None:
    """The record of this node, if there is one."""
    path = os.path.join(install_dir, RECORD)
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_RECORD_BYTES + 1)
    except FileNotFoundError:
        return None
    return parse(text.decode(errors="replace") if len(text) <= MAX_RECORD_BYTES else "", path)


def write(install_dir: str, record: Record) -> None:
    """Put it in place, for root alone."""
    text = json.dumps({"format": FORMAT, **asdict(record)}, indent=2) + "\n"
    File(os.path.join(install_dir, RECORD), text.encode(), PRIVATE, "digest").put()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_bytes().decode(errors="surrogateescape")
    except (OSError, ValueError):
        return None
