"""What etcdctl is run with, and what its answers come to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_control import Control, last_line
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import MemberError, Server

ONE, TWO = (Server(f"s{n}", f"https://10.0.0.{n}:2379", f"https://10.0.0.{n}:2380") for n in (1, 2))
FILES = {"ca_file": "/ca", "cert_file": "/cert", "key_file": "/key"}


class Module:
    """Answers each command with the next of its answers, and notes it."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.ran: list[list[str]] = []
        self.environment: dict[str, str] = {}

    def run_command(
        self, command: list[str], environ_update: dict[str, str], **_: Any
    ) -> tuple[int, str, str]:
        self.ran.append(command)
        self.environment = environ_update
        return self.answers.pop(0)


def test_a_command_goes_to_one_member_with_the_servers_certificate_and_has_an_end() -> None:
    module = Module((0, "", ""))
    Control(module, "etcdctl", FILES).ask(ONE.client, "member", "list")
    (command,) = module.ran
    assert command[:2] == ["etcdctl", f"--endpoints={ONE.client}"]
    assert command[2:4] == ["--command-timeout=3s", "--dial-timeout=3s"]
    assert command[4:] == ["--cacert=/ca", "--cert=/cert", "--key=/key", "member", "list"]
    assert module.environment == {"ETCDCTL_API": "3"}


def test_in_clear_no_certificate_is_named() -> None:
    module = Module((0, "", ""))
    assert Control(module, "etcdctl", {}).healthy(ONE.client)
    assert not [word for word in module.ran[0] if "cert" in word or "key" in word]


def test_the_next_one_is_asked_until_one_does_it() -> None:
    module = Module((1, "", "Error: deadline\n"), (0, "done", ""))
    assert Control(module, "etcdctl", {}).complaint([ONE, TWO], "member", "remove", "7") == ""
    assert len(module.ran) == 2


def test_the_last_complaint_is_kept_and_nobody_to_ask_is_one() -> None:
    module = Module((1, "", "first"), (1, "", "noise\nError: second\n"))
    assert Control(module, "etcdctl", {}).complaint([ONE, TWO], "member", "remove", "7") == "Error: second"
    assert Control(module, "etcdctl", {}).complaint([], "member") == "there is no other server"


def test_members_are_those_of_the_first_that_answers_and_none_when_nobody_does() -> None:
    module = Module((1, "", "dead"), (0, '{"members": []}', ""), (1, "", ""), (1, "", ""), (0, "x", ""))
    control = Control(module, "etcdctl", {})
    assert control.members([ONE, TWO]) == []
    assert control.members([ONE, TWO]) is None
    with pytest.raises(MemberError, match="no list of members"):
        control.members([ONE])


def test_a_command_that_said_nothing_says_so() -> None:
    assert last_line(" \n") == "it said nothing"
