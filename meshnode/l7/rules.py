"""Intentions about requests: what the one that decides about a source says of each of its requests.

A source's intention is chosen as for connections; if it has permissions, each request is decided by them, on the path
that is passed on. Consul 1.9, L7 intentions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from meshnode.intentions.decide import DefaultDecision, decide
from meshnode.intentions.model import Intention, ServiceName
from meshnode.intentions.request import HttpRequest
from meshnode.l7.fields import field_text
from meshnode.l7.model import RefusalError, RequestHead
from meshnode.l7.target import normal_path
from meshnode.proxy.decision_cache import Decision

__all__ = ["DENIED", "IntentionRules", "admit"]

#: What a client is told of a denial, as by Envoy; the log says which rule it was.
DENIED: Final = "RBAC: access denied"


@dataclass(frozen=True, slots=True)
class IntentionRules:
    """:class:`~meshnode.proxy.decision_cache.RequestRules` of the intention that decides about ``source``."""

    intention: Intention
    source: ServiceName
    destination: ServiceName
    default: DefaultDecision

    def judge(self, method: str, path: str, headers: Sequence[tuple[str, str]]) -> Decision:
        """Whether the request may be made. ``path`` is as it is passed on, a query included."""
        request = HttpRequest(method, path, tuple(headers))
        found = decide((self.intention,), self.source, self.destination, self.default, request)
        return Decision(found.allowed, found.because, self.intention.id, audited=found.audited)


def admit(decision: Decision, head: RequestHead) -> tuple[RequestHead, Decision]:
    """The request as it may go on, and what decided; without rules about requests that is ``decision`` itself.

    Where there are rules the path is normalised: decided about and passed on is the same. Raises :class:`RefusalError`
    (400) for a path that servers read in different ways.
    """
    if decision.requests is None:
        return head, decision
    try:
        head = replace(head, path=normal_path(head.path))
    except RefusalError as refusal:
        raise RefusalError(400, f"{refusal}; intentions decide about the path here") from None
    headers = [(name.decode("latin-1"), field_text(value)) for name, value in head.fields]
    # The authority is a field of the request for whoever writes rules about it.
    headers.append(("host", head.authority))
    return head, decision.requests.judge(head.method, head.path, headers)
