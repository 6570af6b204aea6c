"""A TLS proxy's node: what is asked for, put, refused and restarted, with a systemd that follows a script."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import ServicesError
from ansible_collections.meshnode.lab.plugins.module_utils._tls_proxy import TlsProxy
from ansible_collections.meshnode.lab.plugins.module_utils._units import Report

from tests.support.programs import excuse

pytestmark = excuse("root", unless=os.getuid() == 0)

ENVOY = b"\x7fELF envoy"
DIGEST = hashlib.sha256(ENVOY).hexdigest()


class Host:
    """Answers as systemd and ``meshnode tls-proxy -validate`` would, and notes what was asked to change."""

    def __init__(self) -> None:
        self.check_mode = False
        self.ran: list[str] = []
        self.carried: dict[str, str] = {}
        self.refusal = ""
        self.judged: list[str] = []

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if "-validate" in command:
            self.judged.append(Path(command[-2]).read_text())
            return (1 if self.refusal else 0), "", self.refusal and f"{command[-2]}: {self.refusal}"
        if command[1] == "show":
            return 0, "\n".join(map(self._shown, [name for name in command[2:] if name[0] != "-"])), ""
        self.ran.append(" ".join(word for word in command[1:] if word[0] != "-"))
        return 0, "", ""

    def _shown(self, name: str) -> str:
        state = "active" if name in self.carried else "inactive"
        enabled = "enabled" if name in self.carried else ""
        return f"Id={name}\nActiveState={state}\nMainPID={name}\nNRestarts=0\nUnitFileState={enabled}\n"


class Subject(TlsProxy):
    """With processes that carry what their unit had when they were started."""

    def carried(self, pid: str) -> str:
        return str(self.module.carried.get(pid, ""))

    def change(self, words: str, command: list[str]) -> None:
        super().change(words, command)
        if command[1] in {"start", "restart"} and not self.pretend:
            self.module.carried |= {unit.name: unit.digest for unit in self.units if unit.name in words}


class Node:
    """A node that runs follow each other on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = Host()
        (folder / "units").mkdir()
        self.sent = folder / "sent"
        self.sent.write_bytes(ENVOY)

    def subject(
        self, check: bool = False, port: int = 1, certificate: str = "one", send: bool = True
    ) -> Subject:
        self.host.check_mode, self.host.ran, self.host.judged = check, [], []
        path = {name: str(self.folder / "etc" / name) for name in ("proxy.json", "tls.cert", "envoy")}
        empty = {"content": None, "digest": None, "source": None, "group": "root", "mode": "0644"}
        pem = f"-----BEGIN CERTIFICATE-----\n{certificate}\n"
        options = {
            "package": None,
            "install_dir": str(self.folder / "opt"),
            "files": [
                {**empty, "path": path["tls.cert"], "content": pem, "mode": "0640"},
                {**empty, "path": path["envoy"], "digest": DIGEST, "mode": "0755"},
                {**empty, "path": path["proxy.json"], "content": json.dumps({"port": port})},
            ],
            "units": [
                {"name": "proxy.service", "text": "[Service]\nExecStart=a\n", "restarted_by": [path["proxy.json"]]},
                {"name": "echo.service", "text": "[Service]\nExecStart=b\n", "restarted_by": [path["tls.cert"]]},
            ],
            "validate": ["meshnode", path["proxy.json"], "-validate"],
            "validated": path["proxy.json"],
            "timeout": 5.0,
            "_sent": {path["envoy"]: str(self.sent)} if send else None,
        }  # fmt: skip
        return Subject(self.host, options, unit_dir=str(self.folder / "units"))

    def run(self, **settings: Any) -> Report:
        return self.subject(**settings).run()

    def read(self, name: str) -> str:
        return (self.folder / "etc" / name).read_text()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_program_is_asked_for_until_it_is_there_as_it_should_be(node: Node) -> None:
    envoy = node.folder / "etc" / "envoy"
    assert node.subject(send=False).needed() == [str(envoy)]
    node.run()
    assert node.subject(send=False).needed() == []
    assert envoy.stat().st_mode & 0o777 == 0o755
    envoy.write_bytes(b"another")
    assert node.subject(send=False).needed() == [str(envoy)]
    node.run()
    assert envoy.read_bytes() == ENVOY


def test_a_program_that_arrived_damaged_does_not_replace_the_old_one(node: Node) -> None:
    node.sent.write_bytes(b"half")
    with pytest.raises(ServicesError, match="envoy: it arrived damaged: run the playbook again"):
        node.run()
    assert os.listdir(node.folder / "etc") == ["tls.cert"]


def test_everything_is_put_and_started_and_a_second_run_does_nothing(node: Node) -> None:
    node.run()
    assert node.host.ran == [
        *("daemon-reload", "enable proxy.service", "reset-failed proxy.service", "start proxy.service"),
        *("enable echo.service", "reset-failed echo.service", "start echo.service"),
    ]
    assert node.run().changes == []
    assert node.host.ran == []


def test_what_changed_restarts_who_named_it_and_nobody_else(node: Node) -> None:
    node.run()
    assert [change for change in node.run(port=2).changes if change.endswith("start")] == [
        "proxy.service: restart"
    ]
    assert [change for change in node.run(port=2, certificate="two").changes if change.endswith("start")] == [
        "echo.service: restart"
    ]


def test_listeners_are_judged_before_they_are_put_and_left_alone_when_refused(node: Node) -> None:
    node.run()
    node.host.refusal = "listener.a.mode: 'b' is none"
    with pytest.raises(
        ServicesError, match=r"refused, and not put in place: .*etc/proxy.json: listener.a.mode"
    ):
        node.run(port=2)
    assert node.host.judged == ['{"port": 2}']
    assert node.read("proxy.json") == '{"port": 1}'
    assert not any("restart" in words for words in node.host.ran)


def test_a_check_tells_what_would_be_done_and_does_nothing(node: Node) -> None:
    first = node.run(check=True, send=False)
    assert {"proxy.service: start", "echo.service: start"} <= set(first.changes)
    assert os.listdir(node.folder / "units") == []
    assert not (node.folder / "etc").exists()
    node.run()
    assert node.run(check=True).changes == []
    shown = node.run(check=True, certificate="two")
    assert "two" not in json.dumps(shown.diff)
    assert "one" in node.read("tls.cert")


def test_a_unit_that_names_what_is_not_there_is_refused(node: Node) -> None:
    subject = node.subject()
    subject.options["units"][0]["restarted_by"] = ["/nowhere"]
    with pytest.raises(ServicesError, match=r"proxy\.service: restarted_by: /nowhere is neither in files"):
        Subject(node.host, subject.options)
