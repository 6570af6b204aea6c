"""The cost of encryption as a page, as Markdown, and as a paragraph that says no more than the figures do."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from meshnode.prove.cost import METRICS, MIN_REPETITIONS, Interval, Metric, intervals, ratios, tell

__all__ = ["Costs", "html", "markdown", "reading"]

#: The intervals of a report are drawn anew from the samples with this seed: the same samples make the same report.
_SEED: Final = 4
_WIDTH, _LABEL, _ROW = 760, 230, 30
_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #1c1c1c; }
table { border-collapse: collapse; } th, td { border: 1px solid #ccc; padding: .3em .6em; text-align: left; }
td { font-variant-numeric: tabular-nums; } .scroll { overflow-x: auto; } .small { color: #555; font-size: .88em; }
svg text { font: 12px system-ui, sans-serif; fill: #1c1c1c; }
"""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured: a list of repetitions for each mode, and in which terms others are told.

    ``bases``: mode -> the mode that is the same but for what is measured; a mode without one is a base. ``conditions``
    are sentences: machine, load, versions, when.
    """

    samples: Mapping[str, Sequence[Mapping[str, float]]]
    bases: Mapping[str, str]
    conditions: Sequence[str] = ()

    @property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Mode -> metric -> interval."""
        return intervals(self.samples, random.Random(_SEED))

    def ratio(self, mode: str, key: str) -> Interval | None:
        """In terms of its base; ``None`` for a base."""
        base = self.bases.get(mode)
        return ratios(self.samples, mode, base, key, random.Random(_SEED)) if base else None

    def as_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "schema": "meshnode.cost/1",
            "conditions": list(self.conditions),
            "bases": dict(self.bases),
            "samples": {
                mode: [dict(one) for one in repetitions] for mode, repetitions in self.samples.items()
            },
        }


def reading(costs: Costs) -> str:
    """A paragraph: what each protection costs against its base, and where the difference is within the noise."""
    sentences = []
    for mode in costs.samples:
        base = costs.bases.get(mode)
        if base is None:
            continue
        count = max((one.count for one in costs.intervals.get(mode, {}).values()), default=0)
        if count < MIN_REPETITIONS:
            sentences.append(f"{mode} beside {base}: {count} repetitions are too few to tell.")
            continue
        told, unclear = [], []
        for metric in METRICS:
            ratio = costs.ratio(mode, metric.key)
            if ratio is None:
                continue
            if ratio.low <= 1 <= ratio.high:
                unclear.append(metric.title)
            else:
                told.append(f"{_change(ratio)} {metric.title}")
        sentence = (
            f"{mode} beside {base}: {', '.join(told)}"
            if told
            else f"{mode} beside {base}: no difference is shown"
        )
        if unclear:
            sentence += f"; {', '.join(unclear)}: not to be told apart in {count} repetitions"
        sentences.append(sentence + ".")
    return " ".join(sentences) or "Nothing was measured beside a base."


def _change(ratio: Interval) -> str:
    if ratio.median >= 2:
        return f"{tell(ratio.median)} times ({tell(ratio.low)} to {tell(ratio.high)})"
    low, high = sorted((ratio.low - 1, ratio.high - 1))
    word = "more" if ratio.median > 1 else "less"
    low, high = sorted((abs(low), abs(high)))
    return f"{abs(ratio.median - 1):.0%} {word} ({low:.0%} to {high:.0%})"


def markdown(costs: Costs) -> str:
    """A table of medians with their intervals, the paragraph, and the conditions."""
    found = costs.intervals
    used = _used(found)
    lines = ["| mode | " + " | ".join(f"{one.title}, {one.unit}" for one in used) + " |"]
    lines.append("|---" * (len(used) + 1) + "|")
    for mode, row in found.items():
        cells = [str(row[one.key]) if one.key in row else "-" for one in used]
        lines.append(f"| {mode.replace('|', '/')} | " + " | ".join(cells) + " |")
    listed = "\n".join(f"- {sentence}" for sentence in costs.conditions)
    return "\n".join([*lines, "", reading(costs), "", listed]).rstrip() + "\n"


def html(costs: Costs) -> str:
    """One page without a script or an outside address: the paragraph, a plot for each figure, the table."""
    found = costs.intervals
    plots = "\n".join(
        f"<h2>{escape(metric.title)}, {escape(metric.unit)}</h2>"
        f'<p class="small">{"More" if metric.more_is_better else "Less"} is better. A bar is the median, the line on '
        f"it the interval that it is in with 95 % confidence.</p>{_plot(metric, found)}"
        for metric in _used(found)
    )
    listed = "".join(f"<li>{escape(sentence)}</li>" for sentence in costs.conditions)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>What encryption costs</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>What encryption costs</h1>\n<p>{escape(reading(costs))}</p>\n<ul>{listed}</ul>\n{plots}\n"
        f"<h2>All figures</h2>\n{_table(found)}\n</body>\n</html>\n"
    )


def _used(found: Mapping[str, Mapping[str, Interval]]) -> list[Metric]:
    return [metric for metric in METRICS if any(metric.key in row for row in found.values())]


def _table(found: Mapping[str, Mapping[str, Interval]]) -> str:
    used = _used(found)
    head = "".join(f"<th>{escape(one.title)}, {escape(one.unit)}</th>" for one in used)
    rows = "\n".join(
        f"<tr><th>{escape(mode)}</th>"
        + "".join(f"<td>{row.get(one.key, '-')}</td>" for one in used)
        + "</tr>"
        for mode, row in found.items()
    )
    return f'<div class="scroll"><table><thead><tr><th>mode</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _plot(metric: Metric, found: Mapping[str, Mapping[str, Interval]]) -> str:
    rows = [(mode, row[metric.key]) for mode, row in found.items() if metric.key in row]
    most = max((one.high for _, one in rows), default=0) or 1.0
    wide, high = _WIDTH - _LABEL - 110, _ROW * len(rows)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {high}" width="{_WIDTH}" height="{high}" role="img" '
        f'aria-label="{escape(metric.title, quote=True)} of each mode">'
    ]
    for number, (mode, one) in enumerate(rows):
        top, middle = number * _ROW + 5, number * _ROW + 15
        left, right = (_LABEL + wide * value / most for value in (one.low, one.high))
        parts += [
            f'<text x="0" y="{middle + 4}">{escape(mode[:36])}</text>',
            f'<rect x="{_LABEL}" y="{top}" width="{wide * one.median / most:.1f}" height="20" fill="#90b4d8">'
            f"<title>{escape(mode)}: {one}</title></rect>",
            f'<path d="M{left:.1f} {middle}H{right:.1f}M{left:.1f} {middle - 5}v10M{right:.1f} {middle - 5}v10" '
            'stroke="#1c1c1c" stroke-width="1.5"/>',
            f'<text x="{max(right, _LABEL) + 8:.1f}" y="{middle + 4}">{tell(one.median)} {escape(metric.unit)}</text>',
        ]
    return "\n".join([*parts, "</svg>"])
