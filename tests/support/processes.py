"""Whether a process is still there."""

from __future__ import annotations

from pathlib import Path

__all__ = ["is_gone"]


def is_gone(pid: int) -> bool:
    """Whether it has ended; one that nobody has waited for yet, a zombie, has ended too (proc(5), stat)."""
    try:
        # The name in parentheses may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return True
