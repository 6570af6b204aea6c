"""What is remembered of each service and check of this agent, and the small rules about one of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

from meshnode.catalog.model import Check, Service
from meshnode.local.definitions import CheckDefinition, ServiceDefinition

__all__ = ["CheckEntry", "ServiceEntry", "content_hash"]

#: Characters of a content hash, as Consul's has.
HASH_CHARS: Final = 16


@dataclass(slots=True)
class ServiceEntry:
    """``service`` is what the catalog shall have; ``deleted``: a tombstone until the catalog has forgotten it too."""

    definition: ServiceDefinition
    service: Service
    in_sync: bool = False
    deleted: bool = False

    @property
    def token(self) -> str:
        """The token that it was registered with, or empty."""
        return self.definition.token


@dataclass(slots=True)
class CheckEntry:
    """As :class:`ServiceEntry`; moments are monotonic seconds.

    ``critical_since``: since when it has been critical. ``deferred_until``: when a change of its output alone is sent.
    """

    definition: CheckDefinition
    check: Check
    in_sync: bool = False
    deleted: bool = False
    critical_since: float | None = None
    deferred_until: float | None = None

    @property
    def token(self) -> str:
        """The token that it was registered with, or empty."""
        return self.definition.token


def content_hash(service: Service) -> str:
    """Equal for equal services, 16 hexadecimal characters; the indexes don't count."""
    content = {**asdict(service), "create_index": 0, "modify_index": 0}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_CHARS]
