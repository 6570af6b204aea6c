"""The report says what the figures say: what differs, by how much, and what can't be told apart."""

from __future__ import annotations

import json
import random
from xml.etree import ElementTree

from meshnode.prove.cost import METRICS
from meshnode.prove.cost_report import Costs, html, markdown, reading


def repeated(base: float, noise: float = 0.01, seed: int = 1) -> list[dict[str, float]]:
    rng = random.Random(seed)
    return [{metric.key: base * rng.uniform(1 - noise, 1 + noise) for metric in METRICS} for _ in range(7)]


def costs(factor: float, noise: float = 0.01) -> Costs:
    samples = {"plain": repeated(100, noise), "TLS": repeated(100 * factor, noise, 2)}
    return Costs(samples, {"TLS": "plain"}, ("Two processors & a <load>.",))


def test_what_is_less_and_what_is_more_is_told_with_its_interval() -> None:
    text = reading(costs(0.7))
    assert text.startswith("TLS beside plain: 30% less (")
    assert "requests a second on kept connections" in text
    assert "not to be told apart" not in text
    assert "TLS beside plain: 21% more (" in reading(costs(1.2))


def test_much_more_is_told_as_times() -> None:
    assert "TLS beside plain: 3.0" in reading(costs(3.0))
    assert " times (" in reading(costs(3.0))


def test_a_difference_within_the_noise_is_no_difference() -> None:
    text = reading(costs(1.0, noise=0.3))
    assert text.startswith("TLS beside plain: no difference is shown; ")
    assert "not to be told apart in 7 repetitions" in text
    assert "%" not in text


def test_few_repetitions_tell_nothing() -> None:
    few = {mode: repetitions[:2] for mode, repetitions in costs(3.0).samples.items()}
    assert reading(Costs(few, {"TLS": "plain"})) == "TLS beside plain: 2 repetitions are too few to tell."


def test_a_mode_without_a_base_is_not_compared() -> None:
    assert reading(Costs({"plain": repeated(1)}, {})) == "Nothing was measured beside a base."


def test_the_table_has_a_row_for_each_mode_and_dashes_for_what_was_not_measured() -> None:
    found = costs(0.5)
    some = Costs({**found.samples, "gossip": [{"p50_ms": 1.0}]}, found.bases)
    lines = markdown(some).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["plain", "TLS", "gossip"]
    assert lines[4].count(" - ") == len(METRICS) - 1
    assert all(line.count("|") == len(METRICS) + 2 for line in lines[:5])


def test_the_page_has_a_plot_for_each_figure_and_needs_nothing_from_outside() -> None:
    page = html(costs(0.5))
    tree = ElementTree.fromstring(
        page.replace("<!DOCTYPE html>\n", "").replace('<meta charset="utf-8">', "").partition("<meta http")[0]
        + page.partition("'unsafe-inline'\">\n")[2]
    )
    plots = tree.findall(".//svg")
    assert len(plots) == len(METRICS)
    assert all(len(plot.findall("rect")) == 2 for plot in plots)
    assert "<script" not in page
    assert "://" not in page
    assert "Two processors &amp; a &lt;load&gt;." in page


def test_the_same_samples_make_the_same_report_wherever_it_is_made() -> None:
    again = json.loads(json.dumps(costs(0.8).as_dict()))
    copy = Costs(again["samples"], again["bases"], again["conditions"])
    assert (html(copy), markdown(copy)) == (html(costs(0.8)), markdown(costs(0.8)))
