# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a configuration must not be shown, and what is shown instead."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Any

#: Keys of a configuration whose strings (and the strings of whatever is below them) are secret.
SECRET_KEY = re.compile(
    r"(?:^|_|-)(?:encrypt|tokens?|secret|password|private_key|authorization)$", re.IGNORECASE
)
#: Shorter strings are left alone when output is masked: they would black out half of the text.
MIN_MASKED_LENGTH = 8
FINGERPRINT_DIGITS = 8


def fingerprint(secret: str) -> str:
    """First 8 hex digits of SHA-256 over the key's bytes (base64 undone if it is that), as the agent names keys."""
    try:
        raw = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        raw = secret.encode()
    return hashlib.sha256(raw).hexdigest()[:FINGERPRINT_DIGITS]


def placeholder(secret: str) -> str:
    """What stands where a secret was."""
    return f"(secret {fingerprint(secret)})"


def redact(value: Any, *, secret: bool = False) -> Any:
    """A copy of C(value) with each secret replaced by its placeholder."""
    if isinstance(value, dict):
        return {
            key: redact(below, secret=secret or bool(SECRET_KEY.search(str(key))))
            for key, below in value.items()
        }
    if isinstance(value, list):
        return [redact(below, secret=secret) for below in value]
    return placeholder(value) if secret and isinstance(value, str) and value else value


def restore(value: Any, secrets: dict[str, str]) -> Any:
    """The opposite of C(redact), with the secrets by their placeholders."""
    if isinstance(value, dict):
        return {key: restore(below, secrets) for key, below in value.items()}
    if isinstance(value, list):
        return [restore(below, secrets) for below in value]
    return secrets.get(value, value) if isinstance(value, str) else value


def secrets_in(value: Any, *, secret: bool = False) -> Iterator[str]:
    """Each secret string of C(value)."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from secrets_in(below, secret=secret or bool(SECRET_KEY.search(str(key))))
    elif isinstance(value, list):
        for below in value:
            yield from secrets_in(below, secret=secret)
    elif secret and isinstance(value, str) and value:
        yield value


def masked(value: Any) -> set[str]:
    """The secrets of C(value) that are long enough to be masked wherever they turn up."""
    return {secret for secret in secrets_in(value) if len(secret) >= MIN_MASKED_LENGTH}
