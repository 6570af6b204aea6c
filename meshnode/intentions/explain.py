"""A decision for people: what was decided, which intention did it, which ones it passed over, and the default."""

from __future__ import annotations

from meshnode.intentions.decide import Decision, DefaultDecision
from meshnode.intentions.model import HeaderMatch, HttpMatch, Intention, Permission, ServiceName
from meshnode.intentions.request import HttpRequest

__all__ = ["condition", "explain"]


def explain(
    decision: Decision,
    source: ServiceName,
    destination: ServiceName,
    default: DefaultDecision,
    request: HttpRequest | None = None,
) -> list[str]:
    """Lines of text; the first says the outcome, the last where the default comes from."""
    word = "audited: denied, but let through" if decision.audited else _word(decision.allowed)
    asked = "" if request is None else f", {request.method.upper()} {request.path}"
    lines = [
        _printable(f"{source} => {destination}{asked}: {word}"),
        _printable(f"Reason: {decision.because}"),
        "",
    ]
    if decision.candidates:
        lines.append("Intentions that fit, in the order they are looked at:")
        for intention in decision.candidates:
            lines += _candidate(intention, decision)
    else:
        lines.append("No intention fits.")
    return [*lines, f"Where none fits: {_word(default.allowed)} ({default.because})"]


def _candidate(intention: Intention, decision: Decision) -> list[str]:
    decides = intention is decision.intention
    audit = ", audit only" if intention.audit else ""
    verdict = "decides" if decides else "not reached"
    mark = "->" if decides else "  "
    head = f"{mark} {intention.precedence}  {intention.title}  {intention.id}  {verdict}{audit}"
    if not decides:
        return [_printable(head)]
    rows = [
        f"      {number}. {permission.action} {condition(permission)}{_outcome(number, decision.permission)}"
        for number, permission in enumerate(intention.permissions)
    ]
    return [_printable(row) for row in (head, *rows)]


def _outcome(number: int, decided: int | None) -> str:
    return "  <- decides" if number == decided else ""


def condition(permission: Permission) -> str:
    """The conditions of a permission: ``GET /v1/*, header x-key is "a"``."""
    http = permission.http
    return ", ".join(
        [f"{'|'.join(http.methods) or 'any method'} {_path(http)}", *map(_header_text, http.header)]
    )


def _path(http: HttpMatch) -> str:
    if http.path_exact:
        return http.path_exact
    if http.path_prefix:
        return f"{http.path_prefix}*"
    return f"path ~ {http.path_regex}" if http.path_regex else "any path"


def _header_text(match: HeaderMatch) -> str:
    words = (
        ("is", match.exact),
        ("begins with", match.prefix),
        ("ends in", match.suffix),
        ("~", match.regex),
    )
    test = next((f'{word} "{value}"' for word, value in words if value), "is there")
    return f"header {match.name} {'not: ' if match.invert else ''}{test}"


def _word(allowed: bool) -> str:
    return "allowed" if allowed else "denied"


def _printable(line: str) -> str:
    """No name or path of a stranger moves the cursor of who reads this."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
