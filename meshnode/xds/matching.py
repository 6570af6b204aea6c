"""Conditions on requests in Envoy's words, for rules and for routes alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from meshnode.intentions.model import HeaderMatch

__all__ = ["header_condition", "methods_condition"]


def header_condition(match: HeaderMatch) -> dict[str, Any]:
    """A ``HeaderMatcher``; ``invert`` is left to who asks, since Envoy's own is not met by a header that is missing."""
    matcher: dict[str, Any] = {"name": match.name.strip().lower()}
    kinds = {kind: getattr(match, kind) for kind in ("exact", "prefix", "suffix") if getattr(match, kind)}
    if match.present:
        matcher["present_match"] = True
    else:
        matcher["string_match"] = kinds or {"safe_regex": {"regex": match.regex}}
    return matcher


def methods_condition(methods: Sequence[str]) -> dict[str, Any]:
    """A ``HeaderMatcher`` for one of ``methods``, in any case."""
    either = "|".join(re.escape(method) for method in methods)
    return {"name": ":method", "string_match": {"safe_regex": {"regex": f"(?i:{either})"}}}
