"""What the verdicts of all ports come to: proved, failed, or a run that proves nothing.

Failed wins over void, and void over proved: what leaked has leaked however bad the capture is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from meshnode.prove.verdict import PortVerdict

__all__ = ["Conclusion", "Outcome", "at_sockets", "conclude", "conclude_control", "with_control"]


class Outcome(StrEnum):
    """The last word."""

    PROVED = "proved"
    FAILED = "failed"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The outcome and a sentence for each reason; PROVED has one that says what was proved."""

    outcome: Outcome
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """One line, with the ports in it."""
        return f"{self.outcome.upper()}: {'; '.join(self.reasons)}."


def conclude(
    verdicts: Sequence[PortVerdict],
    canaries: Collection[str],
    readable: Collection[int],
    required: Collection[int],
    problems: Sequence[str],
) -> Conclusion:
    """Was everything encrypted? ``readable`` ports may be read; ``required`` ones must have carried something;
    ``problems`` are those of the captures."""
    strict = [verdict for verdict in verdicts if verdict.port not in readable]
    leaks = [reason for verdict in strict if (reason := _leak(verdict))]
    if leaks:
        return Conclusion(Outcome.FAILED, tuple(leaks))
    voids = [*_silence(verdicts, required), *problems]
    voids += [
        f"port {verdict.port} carries what looks like sealed gossip, and no key was given to open it"
        for verdict in strict
        if verdict.judgement == "unopened"
    ]
    if voids:
        return Conclusion(Outcome.VOID, tuple(voids))
    proved = [str(verdict.port) for verdict in strict if verdict.judgement == "encrypted"]
    if not proved:
        return Conclusion(Outcome.VOID, ("only ports that may be readable carried anything",))
    sealed = {canary for verdict in strict for canary in verdict.sealed_canaries}
    words = f"everything on {_ports(proved)} is encrypted"
    words += f", and {_canaries(len(canaries))} planted can be read nowhere" if canaries else ""
    words += f" ({len(sealed)} travelled inside sealed gossip)" if sealed else ""
    return Conclusion(Outcome.PROVED, (words,))


def conclude_control(
    verdicts: Sequence[PortVerdict],
    canaries: Collection[str],
    required: Collection[int],
    problems: Sequence[str],
) -> Conclusion:
    """Does a mesh in clear show every canary on each ``required`` port (anywhere, when none is)?"""
    voids = [] if canaries else ["a control needs a canary that can be found"]
    voids += _silence(verdicts, required)
    wanted = set(canaries)
    places = [
        (f"on port {verdict.port}", verdict.canaries) for verdict in verdicts if verdict.port in required
    ]
    places = places or [("on any port", {canary for verdict in verdicts for canary in verdict.canaries})]
    voids += [
        f"{_canaries(len(wanted - found))} of {len(wanted)} not found {where}, where all of them are readable"
        for where, found in places
        if wanted - found
    ]
    if voids:
        return Conclusion(Outcome.VOID, (*voids, *problems))
    where = _ports([str(verdict.port) for verdict in verdicts if verdict.canaries])
    return Conclusion(Outcome.PROVED, (f"the control finds every canary in clear, on {where}",))


def with_control(mesh: Conclusion, control: Conclusion | None) -> Conclusion:
    """The word on a mesh, given that on its twin in clear: who can't find a canary there has proved nothing here."""
    if mesh.outcome is Outcome.FAILED:
        return mesh
    if control is None:
        reason = "there is no control: judge captures of the same traffic in a mesh in clear with -control"
    elif control.outcome is not Outcome.PROVED:
        reason = f"the control does not show what it has to: {'; '.join(control.reasons)}"
    elif mesh.outcome is Outcome.PROVED:
        return Conclusion(Outcome.PROVED, (*mesh.reasons, *control.reasons))
    else:
        return mesh
    return Conclusion(Outcome.VOID, (*(mesh.reasons if mesh.outcome is Outcome.VOID else ()), reason))


def at_sockets(conclusion: Conclusion) -> Conclusion:
    """The same, told as what it is: a tap saw what passed through it, and nobody saw the wire."""
    reason = "this was seen at sockets, by a tap, and not on the wire: weaker evidence, what went past it is missing"
    return Conclusion(conclusion.outcome, (*conclusion.reasons, reason))


def _canaries(count: int) -> str:
    return f"{count} canar{'y' if count == 1 else 'ies'}"


def _leak(verdict: PortVerdict) -> str:
    where = f"port {verdict.port}"
    if verdict.canaries:
        return f"{where} shows {_canaries(len(verdict.canaries))} in clear"
    if verdict.judgement == "plaintext":
        return f"{where} can be read ({_worst(verdict, 'plaintext')})"
    if verdict.judgement == "unknown":
        if verdict.missing_bytes:
            return f"{where} is not shown to be encrypted ({verdict.missing_bytes} bytes were not captured)"
        return f"{where} is not shown to be encrypted ({_worst(verdict, 'unknown')})"
    return ""


def _worst(verdict: PortVerdict, kind: str) -> str:
    return next(detail for (found, detail), _ in verdict.findings.most_common() if found == kind)


def _silence(verdicts: Sequence[PortVerdict], required: Collection[int]) -> list[str]:
    if not any(verdict.payload_bytes for verdict in verdicts):
        ports = _ports([str(verdict.port) for verdict in verdicts])
        return [f"no payload was captured on {ports}: is this the interface, and was there traffic?"]
    silent = [str(v.port) for v in verdicts if v.port in required and not v.payload_bytes]
    return [f"{_ports(silent)} carried nothing, so nothing is known about it"] if silent else []


def _ports(numbers: Sequence[str]) -> str:
    return f"port{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
