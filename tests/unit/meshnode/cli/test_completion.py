from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagSet
from meshnode.cli.completion import complete, flag_names, script, with_block, without_block

COMMANDS = ["kv", "kv get", "kv put", "keygen", "keyring", "acl", "acl token", "acl token list", "members"]
FLAGS = {"kv get": "  -recurse\n     text\n\n  -separator=<value>\n     -not-a-flag\n", "members": "  -wan\n"}


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("meshnode ", ["acl", "keygen", "keyring", "kv", "members"]),
        ("meshnode k", ["keygen", "keyring", "kv"]),
        ("meshnode kv", ["kv"]),
        ("meshnode kv ", ["get", "put"]),
        ("meshnode  kv  g", ["get"]),
        ("meshnode acl t", ["token"]),
        ("meshnode acl token ", ["list"]),
        ("meshnode kv get ", []),
        ("meshnode kv get -", ["-recurse", "-separator"]),
        ("meshnode kv get --r", ["--recurse"]),
        ("meshnode kv get -recurse -s", ["-separator"]),
        ("meshnode kv get -x", []),
        ("meshnode kv get -separator=", []),
        ("meshnode kv -", []),
        ("meshnode members -", ["-wan"]),
        ("meshnode -v", ["-version"]),
        ("meshnode --auto", ["--autocomplete-install", "--autocomplete-uninstall"]),
        ("meshnode nonsense ", []),
        ("meshnode nonsense k", []),
        ("meshnode", ["acl", "keygen", "keyring", "kv", "members"]),
        ("", ["acl", "keygen", "keyring", "kv", "members"]),
    ],
)
def test_what_may_come_next(line: str, candidates: list[str]) -> None:
    assert complete(line, COMMANDS, lambda name: FLAGS.get(name, "")) == candidates


def test_help_is_read_only_when_flags_are_wanted() -> None:
    def never(name: str) -> str:
        raise AssertionError(name)

    assert complete("meshnode kv g", COMMANDS, never) == ["get"]


@given(st.text(st.sampled_from("meshnod kvget-=\t'\"\\"), max_size=40))
def test_every_candidate_continues_the_last_word(line: str) -> None:
    current = line.split()[-1] if line[-1:].strip() and len(line.split()) > 1 else ""
    for candidate in complete(line, COMMANDS, lambda name: FLAGS.get(name, "")):
        assert candidate.startswith(current)


def test_the_flags_of_a_usage_text_are_found() -> None:
    flags = FlagSet("x", "Usage: x [options]", "Not a -flag.\n  -nor this")
    flags.boolean("detailed", "Show -wan too.")
    flags.string("http-addr", "An address.", group="HTTP API Options")
    flags.strings("node-meta", "A pair.", placeholder="key=value")
    assert sorted(flag_names(flags.help())) == ["-detailed", "-http-addr", "-node-meta"]


def test_each_shell_has_a_script_that_names_the_program() -> None:
    assert script("bash", "/opt/mesh/bin/meshnode", "meshnode") == (
        "complete -o default -C /opt/mesh/bin/meshnode meshnode\n"
    )
    assert script("zsh", "/opt/consul", "consul").endswith("complete -o nospace -C /opt/consul consul\n")
    assert "    '/opt/my mesh/consul'\n" in script("fish", "/opt/my mesh/consul", "consul")


@pytest.mark.parametrize("text", ["", "alias ll='ls -l'\n", "no line end", "a\r\nb\r\n"])
def test_a_block_is_put_in_once_and_taken_out_without_a_trace(text: str) -> None:
    once = with_block(text, "meshnode", "complete x\n")
    assert once.startswith(text)
    assert with_block(once, "meshnode", "complete x\n") == once
    assert without_block(once, "meshnode") == (text if text.endswith("\n") or not text else text + "\n")


def test_a_block_is_changed_where_it_stands_and_others_stay() -> None:
    text = with_block(with_block("one\n", "meshnode", "old\n"), "consul", "other\n") + "last\n"
    changed = with_block(text, "meshnode", "new\n")
    assert changed == text.replace("old\n", "new\n")
    assert without_block(without_block(changed, "consul"), "meshnode") == "one\nlast\n"


def test_half_a_block_is_an_error() -> None:
    text = with_block("", "meshnode", "x\n").replace("# <<< completion of meshnode <<<\n", "")
    for edit in (lambda: with_block(text, "meshnode", "x\n"), lambda: without_block(text, "meshnode")):
        with pytest.raises(ConfigError, match="delete what is left of that block"):
            edit()
