"""Pictures: a line for each pair that spoke in the colour of the worst, and bars that are well formed."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from meshnode.prove.flow import Level
from meshnode.prove.report_svg import COLOURS, MAX_DRAWN_NODES, timeline, topology, worst

PLAIN, SURE = Level.PLAINTEXT.value, Level.AUTHENTICATED.value


def test_the_worst_of_several_levels_is_shown() -> None:
    order = [level.value for level in Level]
    for at, level in enumerate(order):
        assert worst(order[at:]) == level
    assert worst([]) == "silent"


def test_there_is_a_line_for_each_pair_and_a_circle_for_each_node() -> None:
    drawn = ET.fromstring(topology({("a", "b"): SURE, ("b", "c"): PLAIN}, {"a": "server <1>"}))
    lines = drawn.findall("line")
    assert [line.get("stroke") for line in lines] == [COLOURS[SURE], COLOURS[PLAIN]]
    assert lines[1].get("stroke-dasharray")
    assert lines[0].findtext("title") == "server <1> and b: encrypted and authenticated"
    assert len(drawn.findall("circle")) == 3
    assert {"server <1>", "a", "b", "c"} == {text.text for text in drawn.findall("text")}


def test_as_many_nodes_as_the_limit_are_drawn() -> None:
    pairs = {("hub", f"n{number:02}"): SURE for number in range(MAX_DRAWN_NODES - 1)}
    assert topology(pairs, {}).startswith("<svg")
    assert "no picture" in topology({**pairs, ("hub", "one-more"): SURE}, {})
    assert "0 nodes" in topology({}, {})


def test_the_highest_bar_of_a_port_fills_its_row() -> None:
    drawn = ET.fromstring(timeline({"ports": {"8300": [5, 0, 10], "8301": [1, 1, 1]}}, {"8300": PLAIN}))
    bars = drawn.findall("rect")
    assert len(bars) == 5
    heights = [float(bar.get("height", "0")) for bar in bars]
    assert heights[1] == 2 * heights[0] == heights[2]
    assert bars[0].get("fill") == COLOURS[PLAIN]
    assert timeline({"ports": {}}, {}) == "<p>No payload.</p>"
