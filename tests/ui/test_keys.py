"""Keys and values in the page: any bytes, flags of 64 bits, two people at one key, and names that mean harm."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from playwright.sync_api import expect

from meshnode.testing import Mesh, MeshAgent
from tests.support.accessibility import faults
from tests.support.browser import Visitor


@pytest.fixture
def agent(mesh: Mesh) -> MeshAgent:
    """An agent without keys."""
    server = mesh["server1"]
    server.api("/v1/kv/", method="DELETE", query={"recurse": ""})
    return server


def stored(agent: MeshAgent, key: str) -> tuple[bytes, int]:
    (row,) = agent.api(f"/v1/kv/{key}")
    return base64.b64decode(row["Value"] or ""), row["Flags"]


def test_a_key_is_made_changed_and_deleted(visitor: Visitor, agent: MeshAgent) -> None:
    visitor.go("kv")
    page = visitor.page
    expect(page.get_by_text("There are no keys")).to_be_visible()
    page.get_by_role("button", name="New key").click()
    assert faults(page) == []
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert")).to_contain_text("Write the name of a key")
    page.get_by_label("Key", exact=True).fill("app/colour")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("There is no such key yet")).to_be_visible()
    page.get_by_label("Value", exact=True).fill("grün\n")
    page.get_by_label("Flags").fill("18446744073709551615")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    assert stored(agent, "app/colour") == ("grün\n".encode(), 2**64 - 1)
    expect(page.get_by_label("Flags")).to_have_value("18446744073709551615")
    page.get_by_label("Value", exact=True).fill("rot")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    assert stored(agent, "app/colour") == (b"rot", 2**64 - 1)
    page.get_by_role("button", name="Delete").click()
    assert faults(page) == []
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There is nothing under this prefix.")).to_be_visible()
    assert agent.request("/v1/kv/app/colour").status == 404


def test_folders_are_walked_and_deleted_after_their_name_was_written(
    visitor: Visitor, agent: MeshAgent
) -> None:
    for key in ("a/b/one", "a/b/two", "a/", "other"):
        agent.api(f"/v1/kv/{key}", method="PUT", body=b"x")
    visitor.go("kv")
    page = visitor.page
    page.get_by_role("link", name="a/").click()
    expect(page.get_by_role("link", name="the key of this name itself")).to_be_visible()
    page.get_by_role("link", name="b/").click()
    expect(page.get_by_role("link", name="two")).to_be_visible()
    page.get_by_role("link", name="a", exact=True).click()
    page.get_by_role("button", name="Delete all under it").click()
    page.get_by_role("button", name="Delete all", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Write a/ to confirm")
    page.get_by_label("Write the prefix").fill("a/")
    page.get_by_role("button", name="Delete all", exact=True).click()
    expect(page.get_by_role("link", name="other")).to_be_visible()
    assert agent.api("/v1/kv/", query={"keys": ""}) == ["other"]


def test_somebody_elses_change_shows_by_itself_while_nothing_was_typed(
    visitor: Visitor, agent: MeshAgent
) -> None:
    agent.api("/v1/kv/k", method="PUT", body=b"one")
    visitor.go("key/k")
    expect(visitor.page.get_by_label("Value", exact=True)).to_have_value("one")
    agent.api("/v1/kv/k", method="PUT", body=b"two")
    expect(visitor.page.get_by_label("Value", exact=True)).to_have_value("two")


def test_two_people_at_one_key_lose_nothing(visitor: Visitor, agent: MeshAgent) -> None:
    agent.api("/v1/kv/k", method="PUT", body=b"first")
    visitor.go("key/k")
    page = visitor.page
    value = page.get_by_label("Value", exact=True)
    expect(value).to_have_value("first")
    value.fill("mine")
    agent.api("/v1/kv/k", method="PUT", body=b"theirs")
    expect(page.get_by_text("Somebody changed this key while you did")).to_be_visible()
    expect(value).to_have_value("mine")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Somebody changed this key while you did")).to_be_visible()
    assert stored(agent, "k")[0] == b"theirs"
    page.get_by_text("Their value").click()
    expect(page.get_by_label("Their value")).to_have_text("theirs")
    assert faults(page) == []
    visitor.picture("key-conflict")
    page.get_by_role("button", name="Keep mine").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    assert stored(agent, "k")[0] == b"mine"
    value.fill("mine again")
    agent.api("/v1/kv/k", method="DELETE")
    expect(page.get_by_text("Somebody deleted this key")).to_be_visible()
    page.get_by_role("button", name="Keep mine").click()
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    assert stored(agent, "k")[0] == b"mine again"


def test_a_key_that_was_changed_meanwhile_is_not_deleted(visitor: Visitor, agent: MeshAgent) -> None:
    agent.api("/v1/kv/k", method="PUT", body=b"one")
    visitor.go("key/k")
    page = visitor.page
    expect(page.get_by_label("Value", exact=True)).to_have_value("one")
    page.get_by_role("button", name="Delete").click()
    agent.api("/v1/kv/k", method="PUT", body=b"two")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody changed this key meanwhile")
    assert stored(agent, "k")[0] == b"two"


@pytest.mark.parametrize(
    "value",
    [bytes(range(256)), b"\xff", b"\r\nunix\n", b"a\x00b", b"\xef\xbb\xbfmark", b"\xed\xa0\x80"],
    ids=["all", "no UTF-8", "line ends", "zero", "byte order mark", "half a pair"],
)
def test_a_value_of_any_bytes_comes_back_unchanged(visitor: Visitor, agent: MeshAgent, value: bytes) -> None:
    agent.api("/v1/kv/k", method="PUT", body=value)
    visitor.go("key/k")
    page = visitor.page
    expect(page.get_by_text("Created at index")).to_be_visible()
    page.get_by_label("Flags").fill("7")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    assert stored(agent, "k") == (value, 7)
    assert faults(page) == []


def test_text_becomes_base64_and_text_again(visitor: Visitor, agent: MeshAgent) -> None:
    agent.api("/v1/kv/k", method="PUT", body=b"hello")
    visitor.go("key/k")
    page = visitor.page
    value = page.get_by_label("Value", exact=True)
    page.get_by_label("As base64").check()
    expect(value).to_have_value("aGVsbG8=")
    value.fill("not base64!")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("The value is not base64")
    value.fill("AAE=")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    assert stored(agent, "k")[0] == b"\x00\x01"
    expect(page.get_by_label("The bytes of the value")).to_contain_text("00000000  00 01")


def test_a_value_of_half_a_mebibyte_is_edited_and_a_longer_one_is_not_sent(
    visitor: Visitor, agent: MeshAgent, tmp_path: Path
) -> None:
    agent.api("/v1/kv/k", method="PUT", body=b"x" * (512 * 1024))
    visitor.go("key/k")
    page = visitor.page
    expect(page.get_by_text("512.0 KiB").first).to_be_visible()
    page.get_by_label("Value", exact=True).fill("y" * (512 * 1024))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    assert stored(agent, "k")[0] == b"y" * (512 * 1024)
    long = tmp_path / "long.bin"
    long.write_bytes(bytes(512 * 1024 + 1))
    page.locator("input[type=file]").set_input_files(long)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("at most 512.0 KiB fit")
    with page.expect_download() as loading:
        page.get_by_role("button", name="Download").click()
    assert Path(loading.value.path()).read_bytes() == long.read_bytes()


@pytest.mark.parametrize("flags", ["-1", "1.5", "18446744073709551616", "0x10", "many"])
def test_flags_that_are_none_are_refused(visitor: Visitor, agent: MeshAgent, flags: str) -> None:
    agent.api("/v1/kv/k", method="PUT", body=b"one")
    visitor.go("key/k")
    visitor.page.get_by_label("Flags").fill(flags)
    visitor.page.get_by_role("button", name="Save").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("is no whole number")
    assert stored(agent, "k") == (b"one", 0)


def test_an_empty_value_is_a_value(visitor: Visitor, agent: MeshAgent) -> None:
    agent.api("/v1/kv/k", method="PUT", body=b"")
    visitor.go("key/k")
    expect(visitor.page.get_by_text("Created at index")).to_be_visible()
    expect(visitor.page.get_by_label("Value", exact=True)).to_have_value("")


def test_what_was_typed_is_not_left_without_a_question(visitor: Visitor, agent: MeshAgent) -> None:
    agent.api("/v1/kv/k", method="PUT", body=b"one")
    visitor.go("key/k")
    page = visitor.page
    page.get_by_label("Value", exact=True).fill("mine")
    answers = iter([False, True])
    page.on("dialog", lambda asked: asked.accept() if next(answers) else asked.dismiss())
    page.get_by_role("link", name="Services").click()
    expect(page.get_by_label("Value", exact=True)).to_have_value("mine")
    assert page.url.endswith("#/key/k")
    page.get_by_role("link", name="Services").click()
    expect(page.get_by_role("heading", level=1, name="Services")).to_be_visible()


@pytest.mark.parametrize(
    "key",
    [
        "<script>window.harm = 1</script>",
        '"><img src=x onerror="window.harm = 1">',
        "../../agent/leave",
        "a//b/./../c",
        "right-to-left \u202e mark",
        "percent %2F%00 & question ? hash # plus +",
        "emoji 🦀 and ünïcode",
        "line\nbreak\ttab",
        "javascript:window.harm=1//",
        "n" * 400,
    ],
)  # fmt: skip
def test_a_key_of_any_name_is_shown_and_written_as_it_is(
    visitor: Visitor, agent: MeshAgent, key: str
) -> None:
    entry = {"KV": {"Verb": "set", "Key": key, "Value": base64.b64encode(b"one").decode()}}
    agent.api("/v1/txn", method="PUT", body=[entry])
    visitor.go("kv")
    page = visitor.page
    while not page.url.split("#/")[1].startswith("key"):
        before = page.url
        link = page.locator("tbody a").last
        expect(link).to_be_visible()
        link.click()
        page.wait_for_function("(before) => location.href !== before", arg=before)
        expect(page.locator("[aria-busy]")).to_have_count(0)
    value = page.get_by_label("Value", exact=True)
    expect(value).to_have_value("one")
    value.fill("two")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    read = agent.api("/v1/txn", method="PUT", body=[{"KV": {"Verb": "get", "Key": key}}])
    assert base64.b64decode(read["Results"][0]["KV"]["Value"]) == b"two"
    assert agent.api("/v1/kv/", query={"keys": ""}) == [key]
    assert page.evaluate("() => window.harm") is None
    assert faults(page) == []
