"""The page says what the document says, needs nothing from outside, and shows text of peers as text."""

from __future__ import annotations

import json
import ssl
from html.parser import HTMLParser
from typing import Any

import msgpack
import pytest

from meshnode.base.address import Address
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.evidence import Question, document, encode, judge_files
from meshnode.prove.report import MAX_ROWS, render
from tests.support.frames import conversation, pcap, udp
from tests.support.handshake import handshake

A, B, C = (Address(f"10.0.0.{number}", 8301) for number in (1, 2, 3))
RING = Keyring([bytes(range(32))])
CANARY = "canary4f1c9a77b2"
EVENT = b"\x08\x03" + msgpack.packb({"LTime": 1, "Name": "deploy", "Payload": CANARY}, use_bin_type=False)
HOSTILE = '<script src="http://evil.example/x.js"></script>'


class Page(HTMLParser):
    """The elements of a page, its addresses, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def content(frames: list[bytes], control: list[bytes], name: str = "server1") -> dict[str, Any]:
    question = Question((8300, 8301, 8302), canaries=(CANARY,), nodes={"10.0.0.1": name})
    mesh, twin = (judge_files([("x", pcap(some))], question, RING) for some in (frames, control))
    found: dict[str, Any] = json.loads(encode(document(question, mesh, twin, RING)[0]))
    return found


def sealed(one: Address, other: Address) -> bytes:
    return udp(one, other, RING.seal(EVENT, bytes(12), b""))


def test_the_page_is_well_formed_and_needs_nothing_from_outside() -> None:
    page = Page(render(content([sealed(A, B), sealed(B, C), udp(C, A, EVENT)], [udp(A, B, EVENT)])))
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"} & set(page.tags)
    assert not {"src", "href", "xlink:href", "onload", "srcset"} & {name for name, _ in page.attributes}
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert page.tags.count("svg") == 3


def test_levels_are_told_in_words_and_not_by_colour_alone() -> None:
    text = Page(render(content([sealed(A, B), udp(C, A, EVENT)], [udp(A, B, EVENT)]))).text
    assert "FAILED" in text
    assert "port 8301 shows 1 canary in clear" in text
    rows = text.split("Pairs of nodes and ports")[1].split("The bytes")[0]
    assert "encrypted + authenticated" in rows
    assert "PLAINTEXT" in rows
    assert "server1" in rows


def test_the_bytes_of_the_control_and_of_the_mesh_are_side_by_side() -> None:
    text = Page(render(content([sealed(A, B)], [udp(A, B, EVENT)]))).text
    before, after = text.split("In clear (the control)")[1].split("In this mesh")
    assert "anary4f1c9a77b2" in before
    assert "canary" not in after.split("When")[0]
    assert "0x0000:" in after


@pytest.mark.parametrize("place", ["node", "server name"])
def test_text_of_peers_is_shown_as_text(place: str) -> None:
    client, server = handshake(ssl.TLSVersion.TLSv1_2)
    rpc = Address("10.0.0.2", 8300)
    found = content(
        [sealed(A, B), *conversation(Address("10.0.0.1", 40000), rpc, (">", client), ("<", server))],
        [udp(A, B, EVENT)],
        HOSTILE if place == "node" else "server1",
    )
    if place == "server name":
        for verdict in found["verdicts"]:
            verdict["certificate_names"] = [HOSTILE]
            verdict["findings"] = [{"kind": "tls", "detail": f"SNI {HOSTILE}", "count": 1}]
            for flow in verdict["flows"]:
                flow["evidence"] = [HOSTILE]
    page = Page(render(found))
    assert "script" not in page.tags
    assert HOSTILE in page.text


def test_a_bundle_with_keys_is_marked() -> None:
    found = content([sealed(A, B)], [udp(A, B, EVENT)])
    assert "holds the keys of the gossip" in Page(render(found, has_keys=True)).text
    assert "holds the keys of the gossip" not in Page(render(found)).text


def test_a_page_without_payload_and_without_control_is_a_page_too() -> None:
    question = Question((8301,))
    found = json.loads(
        encode(document(question, judge_files([("x", pcap([]))], question, RING), None, RING)[0])
    )
    page = Page(render(found))
    assert page.open == []
    assert "No payload." in page.text
    assert "VOID" in page.text


def test_the_matrix_ends_where_it_would_be_no_help() -> None:
    found = content([sealed(A, B)], [udp(A, B, EVENT)])
    verdict = found["verdicts"][1]
    verdict["flows"] = [{**verdict["flows"][0], "source": f"10.1.0.{n}"} for n in range(MAX_ROWS + 1)]
    page = Page(render(found))
    assert "1 more pairs are in verdict.json." in page.text
    assert f"{MAX_ROWS + 2} nodes: no picture" in page.text
