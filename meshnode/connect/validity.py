"""A root that is not valid now, in words for operators. Pure; ``at`` is unix seconds."""

from __future__ import annotations

from meshnode.base.errors import ConfigError
from meshnode.connect.model import CaRoot, time_text

__all__ = ["check_given", "complaint"]


def complaint(root: CaRoot | None, at: float) -> str:
    """What is wrong with the root that signs, and what becomes of it; empty while nothing is, or there is none."""
    if root is None or root.is_valid(at):
        return ""
    if root.is_over(at):
        return (
            f"the Connect root {root.name} ended at {time_text(root.not_after)}: nobody takes a certificate of it, and "
            "nothing is signed with it. Another root takes its place now, and no node is waited for"
        )
    return (
        f"the Connect root {root.name} begins at {time_text(root.not_before)}, which is later than the clock of this "
        "server: nothing is signed with it before. Set the clock right, or if it is, rotate: "
        "meshnode connect ca rotation -start"
    )


def check_given(root: CaRoot, at: float) -> None:
    """Raise :class:`ConfigError` unless the root that somebody gives can sign now."""
    if root.is_over(at):
        raise ConfigError(
            f"RootCert: {root.name} ended at {time_text(root.not_after)}: write one whose time is not over"
        )
    if not root.is_valid(at):
        raise ConfigError(
            f"RootCert: {root.name} begins at {time_text(root.not_before)}, and the leader's clock says "
            f"{time_text(at)}: write it when it has begun, or set the clock right"
        )
