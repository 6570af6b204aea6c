"""The services of a node: what is run and written, with a systemd and an agent that follow a script."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _services
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import Layout
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import (
    Places,
    ServicesError,
    packages_in_use,
    services_from,
)
from ansible_collections.meshnode.lab.plugins.module_utils._services import Report, Services

from tests.support.http_stub import StubAgent, stub_agent
from tests.support.programs import excuse

pytestmark = excuse("root", unless=os.getuid() == 0)

WEB: dict[str, Any] = {"name": "web", "port": 80, "command": "run web", "connect": {"sidecar_service": {}}}
PLAIN: dict[str, Any] = {"name": "plain", "port": 81}


class Host:
    """Answers commands as systemd and the agent's command line would, and notes those that change something."""

    def __init__(self, folder: Path, places: Places) -> None:
        self.folder, self.places = folder, places
        self.check_mode = False
        self.no_log_values: set[str] = set()
        self.ran: list[str] = []
        self.active: set[str] = set()
        self.enabled: set[str] = set()
        self.failing: set[str] = set()
        self.refusal = ""

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if "validate" in command:
            return (1 if self.refusal else 0), "", self.refusal
        if command[0] == "journalctl":
            return 0, "last words", ""
        if command[1] == "show":
            return 0, "\n".join(map(self._shown, [name for name in command[2:] if name[0] != "-"])), ""
        words = [word for word in command[1:] if word[0] != "-"]
        self.ran.append(" ".join(words))
        verb, *names = words
        if verb in {"start", "restart"}:
            self.active |= set(names) - self.failing
        if verb == "disable":
            self.active -= set(names)
        if verb == "enable":
            self.enabled |= set(names)
        return 0, "", ""

    def _shown(self, name: str) -> str:
        state = "active" if name in self.active else "failed" if name in self.failing else "inactive"
        enabled = "enabled" if name in self.enabled else ""
        return f"Id={name}\nActiveState={state}\nMainPID={name}\nNRestarts=0\nUnitFileState={enabled}\n"


class Subject(Services):
    """With processes that carry what their unit had when they were started."""

    started: dict[str, str]

    def carried(self, pid: str) -> str:
        return self.started.get(pid, "")

    def change(self, words: str, command: list[str]) -> None:
        super().change(words, command)
        if command[1] in {"start", "restart"} and not self.pretend:
            self.started |= {unit.name: unit.digest for unit in self.units}


class Node:
    """A node that runs follow each other on."""

    def __init__(self, folder: Path, stub: StubAgent) -> None:
        self.folder = folder
        for name in ("consul.d", "units"):
            (folder / name).mkdir()
        program = folder / "meshnode"
        program.write_text("")
        self.stub = stub
        self.places = Places(
            config_dir=str(folder / "consul.d"),
            environment_dir=str(folder / "etc/services"),
            files_dir=str(folder / "lib/services"),
            unit_dir=str(folder / "units"),
            manifest=str(folder / "etc/services.json"),
            program=str(program),
            address=f"http://{stub.address}",
            group="root",
            user="root",
            sidecar_user="root",
        )
        self.host = Host(folder, self.places)
        self.started: dict[str, str] = {}
        self.moment = 0.0

    needed_envoy: bool

    def run(self, *rows: dict[str, Any], check: bool = False, sent_envoy: str = "", **places: Any) -> Report:
        self.host.check_mode = check
        self.host.ran = []
        wanted = services_from(rows, replace(self.places, **places))
        layout = Layout(str(self.folder / "consul.d"), state_file=str(self.folder / "state.json"))
        ids = [one for service in wanted for one in service.registered]
        self.stub.answer("GET /v1/agent/services", {one: {} for one in ids})
        self.stub.answer("GET /v1/agent/checks", {})
        self.stub.answer("GET /v1/agent/self", {"Config": {"NodeName": "n", "NodeID": "new"}})
        entry = {"Node": {"ID": "new"}, "Services": {one: {} for one in ids}}
        self.stub.answer("GET /v1/catalog/node/n", entry)
        self.prepare()
        subject = Subject(
            self.host,
            replace(self.places, **places),
            layout,
            wanted,
            sent_envoy=sent_envoy,
            clock=self.clock,
            sleep=self.sleep,
        )
        subject.started = self.started
        self.needed_envoy = subject.needs_envoy()
        return subject.run()

    def prepare(self) -> None:
        """For one test to answer otherwise."""

    def clock(self) -> float:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.moment += seconds

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()} - {
            "meshnode"
        }


@pytest.fixture
def node(tmp_path: Path) -> Any:
    with stub_agent() as stub:
        yield Node(tmp_path, stub)


def test_services_are_put_and_started_once(node: Node) -> None:
    promised = node.run(WEB, PLAIN, check=True)
    assert node.files() == set()
    assert node.host.ran == []
    made = node.run(WEB, PLAIN)
    assert promised.changes == made.changes
    assert node.files() == {
        "consul.d/mesh-service-plain.json", "consul.d/mesh-service-web.json", "etc/services.json",
        "etc/services/mesh-app-web.env", "etc/services/mesh-sidecar-web.env",
        "units/mesh-app-web.service", "units/mesh-sidecar-web.service",
    }  # fmt: skip
    assert [word for word in node.host.ran if word.startswith(("daemon", "start", "enable"))] == [
        "daemon-reload",
        "enable mesh-app-web.service",
        "start mesh-app-web.service",
        "enable mesh-sidecar-web.service",
        "start mesh-sidecar-web.service",
    ]
    for check in (True, False):
        assert node.run(WEB, PLAIN, check=check).changes == []
        assert node.host.ran == []


def test_only_what_changed_is_restarted(node: Node) -> None:
    node.run(WEB)
    node.run({**WEB, "environment": {"A": "b"}})
    assert [word for word in node.host.ran if "start" in word] == ["restart mesh-app-web.service"]
    node.run({**WEB, "environment": {"A": "b"}}, package="another")
    assert [word for word in node.host.ran if "start" in word] == ["restart mesh-sidecar-web.service"]
    node.run({**WEB, "environment": {"A": "b"}, "port": 82}, package="another")
    assert [word for word in node.host.ran if "start" in word] == []


def test_a_sidecar_that_may_runs_on_with_its_package_until_that_is_gone_or_all_are_restarted(
    node: Node,
) -> None:
    def starts() -> list[str]:
        return [word for word in node.host.ran if "start" in word]

    sidecar = "mesh-sidecar-web.service"
    node.run(WEB, package="one")
    for package in ("two", "three"):
        assert node.run(WEB, package=package, kept_packages=("one", "two")).kept == {sidecar: "one"}
        assert (starts(), packages_in_use(node.places)) == ([], ["one"])
    assert node.run(WEB, package="three", kept_packages=("two", "three")).kept == {}
    assert (starts(), packages_in_use(node.places)) == ([f"restart {sidecar}"], [])
    node.run(WEB, package="four", kept_packages=("three",))
    assert starts() == []
    node.run(WEB, package="four")
    assert (starts(), packages_in_use(node.places)) == ([f"restart {sidecar}"], [])


def test_a_sidecar_that_may_run_on_is_restarted_when_more_than_its_package_changed(node: Node) -> None:
    node.run(WEB, package="one")
    node.run(WEB, package="two", kept_packages=("one",), token="another")
    assert [word for word in node.host.ran if "start" in word] == ["restart mesh-sidecar-web.service"]


def starts(node: Node) -> list[str]:
    return [word for word in node.host.ran if "start" in word]


def test_envoy_is_put_where_a_sidecar_needs_it_and_a_change_swaps_that_sidecar_alone(node: Node) -> None:
    program = node.folder / "opt" / "envoy"
    arrived = node.folder / "arrived"
    arrived.write_bytes(b"\x7fELF envoy")
    places = {"envoy": str(program), "envoy_digest": hashlib.sha256(b"\x7fELF envoy").hexdigest()}
    rows = [{**WEB, "data_plane": "envoy"}, {**WEB, "name": "shop"}]
    node.run(WEB, rows[1], **places)
    assert not program.exists()
    assert node.run(*rows, check=True, **places).changes
    assert node.needed_envoy
    node.run(*rows, sent_envoy=str(arrived), **places)
    assert program.read_bytes() == b"\x7fELF envoy"
    assert program.stat().st_mode & 0o777 == 0o755
    assert starts(node) == ["restart mesh-sidecar-web.service"]
    assert node.run(*rows, **places).changes == []
    assert not node.needed_envoy
    node.run(WEB, rows[1], **places)
    assert starts(node) == ["restart mesh-sidecar-web.service"]
    program.write_bytes(b"damaged")
    assert node.run(*rows, check=True, **places).changes
    assert node.needed_envoy


def test_an_envoy_that_arrived_damaged_is_not_put(node: Node) -> None:
    program, arrived = node.folder / "envoy", node.folder / "arrived"
    arrived.write_bytes(b"half of it")
    places = {"envoy": str(program), "envoy_digest": hashlib.sha256(b"all of it").hexdigest()}
    with pytest.raises(ServicesError, match="it arrived damaged"):
        node.run({**WEB, "data_plane": "envoy"}, sent_envoy=str(arrived), **places)
    assert not program.exists()
    assert starts(node) == []


def test_a_node_without_an_envoy_of_its_own_is_told_the_ways_to_one(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_services, "PATH", str(node.folder))
    with pytest.raises(
        ServicesError, match="data_plane of web: there is no Envoy on this node: let mesh_serv"
    ):
        node.run({**WEB, "data_plane": "envoy"})
    assert node.files() == set()
    (node.folder / "envoy").write_text("")
    (node.folder / "envoy").chmod(0o755)
    node.run({**WEB, "data_plane": "envoy"})
    assert "start mesh-sidecar-web.service" in starts(node)


def test_what_is_no_longer_wanted_goes_with_all_its_files(node: Node) -> None:
    node.run({**WEB, "files": {"a.txt": "x"}}, PLAIN)
    assert "lib/services/web/a.txt" in node.files()
    assert node.run(PLAIN, check=True).changes
    gone = node.run(PLAIN)
    assert {"mesh-app-web.service: stop", "mesh-sidecar-web.service: stop"} <= set(gone.changes)
    assert node.files() == {"consul.d/mesh-service-plain.json", "etc/services.json"}
    assert node.run(PLAIN).changes == []
    node.run()
    assert node.files() == set()
    assert node.run().changes == []


def test_a_service_without_its_command_loses_its_application_and_keeps_its_sidecar(node: Node) -> None:
    node.run(WEB)
    node.run({**WEB, "command": None})
    assert "units/mesh-app-web.service" not in node.files()
    assert node.host.active == {"mesh-sidecar-web.service"}


def test_a_file_that_is_no_longer_wanted_goes(node: Node) -> None:
    node.run({**WEB, "files": {"a": "1", "b": "2"}})
    node.run({**WEB, "files": {"b": "2"}})
    assert {name for name in node.files() if "lib" in name} == {"lib/services/web/b"}


def test_a_run_that_was_killed_leaves_nothing_that_the_next_does_not_know(node: Node) -> None:
    node.run(PLAIN)
    node.host.failing = {"mesh-app-web.service"}
    with pytest.raises(ServicesError, match="does not stay up"):
        node.run(WEB)
    assert json.loads((node.folder / "etc/services.json").read_text()) == {"services": ["web"]}
    node.host.failing = set()
    node.run(PLAIN)
    assert node.files() == {"consul.d/mesh-service-plain.json", "etc/services.json"}


def test_what_the_agent_refuses_replaces_nothing(node: Node) -> None:
    node.run(PLAIN)
    before = node.files()
    node.host.refusal = "bad things"
    with pytest.raises(ServicesError, match="nothing was replaced: bad things"):
        node.run(PLAIN, WEB)
    assert node.files() == before
    assert node.host.ran == []


def test_a_unit_that_does_not_stay_up_is_an_error_with_its_last_words(node: Node) -> None:
    node.host.failing = {"mesh-app-web.service"}
    with pytest.raises(ServicesError, match=r"mesh-app-web\.service does not stay up\nlast words"):
        node.run(WEB)


def test_a_critical_check_is_waited_for_and_named_at_the_end(node: Node) -> None:
    check = {"ServiceID": "web", "Name": "It answers", "Status": "critical", "Output": "refused\nby all"}
    node.prepare = lambda: node.stub.answer("GET /v1/agent/checks", {"c": check})  # type: ignore[method-assign]
    with pytest.raises(
        ServicesError, match="not well after 60 s: web: It answers is critical: refused by all"
    ):
        node.run(WEB)
    assert node.moment >= 60
    node.prepare = lambda: node.stub.answer("GET /v1/agent/checks", {"c": check})  # type: ignore[method-assign]
    assert node.run(WEB, check=True).unhealthy == ["web: It answers is critical: refused by all"]


@pytest.mark.parametrize(("status", "removed"), [("critical", True), ("passing", False)])
def test_a_dead_node_of_the_same_name_makes_room_and_a_living_one_does_not(
    node: Node, status: str, removed: bool
) -> None:
    def answer() -> None:
        node.stub.answer("GET /v1/catalog/node/n", {"Node": {"ID": "old"}, "Services": {}})
        node.stub.answer("GET /v1/health/node/n", [{"CheckID": "serfHealth", "Status": status}])
        node.stub.answer("PUT /v1/catalog/deregister", True)

    node.prepare = answer  # type: ignore[method-assign]
    with pytest.raises(ServicesError, match="plain is not in the catalog yet"):
        node.run(PLAIN)
    puts = [one for one in node.stub.asked if one.method == "PUT"]
    assert bool(puts) is removed


def test_a_token_of_a_definition_is_masked_and_shown_as_a_fingerprint(node: Node) -> None:
    token = "4f0c1f5e-0000-4000-8000-aaaaaaaaaaaa"
    report = node.run({**WEB, "token": token})
    assert token in node.host.no_log_values
    assert token not in json.dumps(report.diff)
    assert (node.folder / "etc/services/mesh-sidecar-web.env").stat().st_mode & 0o777 == 0o600
