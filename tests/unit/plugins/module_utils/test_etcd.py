"""Etcd on one server: what is run and written, with a systemd and an etcdctl that follow a script."""

from __future__ import annotations

import grp
import json
import os
import pwd
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._etcd import Etcd, Plan
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import MemberError, Server

from tests.support.programs import excuse

SERVERS = tuple(Server(f"s{n}", f"https://10.0.0.{n}:2379", f"https://10.0.0.{n}:2380") for n in (1, 2, 3))
ME = SERVERS[2]
#: The tests need not be root: whoever runs them owns the files.
USER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
pytestmark = excuse("root", unless=os.getuid() == 0)


class Host:
    """Answers commands as a host and the other members would, and notes those that change something."""

    def __init__(self, *, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.ran: list[str] = []
        self.active, self.enabled, self.restarts = "inactive", "disabled", 0
        #: name -> (client URLs) of the members; None when nobody answers.
        self.members: dict[str, bool] | None = None
        #: Whether s3 has no vote, and how often etcd refuses it one.
        self.learner, self.lacks_data, self.knows_learners = False, 0, True
        self.healthy = True
        self.refuses = ""

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if "list" in command:
            return self._list(command)
        if "health" in command:
            return (0 if self.healthy and not self.learner else 1), "", ""
        if command[1] == "show":
            shown = {"ActiveState": self.active, "UnitFileState": self.enabled, "NRestarts": self.restarts}
            return 0, "".join(f"{name}={value}\n" for name, value in {**shown, "MainPID": 0}.items()), ""
        words = " ".join(word for word in command if not word.startswith("--") and "/" not in word)
        self.ran.append(words)
        return self._change(command, words)

    def _list(self, command: list[str]) -> tuple[int, str, str]:
        alive = self.members is not None and (
            self.active == "active" or f"--endpoints={ME.client}" not in command
        )
        if not alive or self.members is None:
            return 1, "", "Error: context deadline exceeded"
        entries = [
            {"ID": number, "name": one.name, "peerURLs": [one.peer]}
            | ({"clientURLs": [one.client]} if self.members[one.name] else {})
            | ({"isLearner": True} if self.learner and one == ME else {})
            for number, one in enumerate(SERVERS, 1)
            if one.name in self.members
        ]
        return 0, json.dumps({"members": entries}), ""

    def _change(self, command: list[str], words: str) -> tuple[int, str, str]:
        if words.startswith("member"):
            if self.refuses:
                return 1, "", f"Error: {self.refuses}"
            assert self.members is not None
            if words == "member remove 3":
                del self.members["s3"]
            elif words == "member promote 3":
                self.lacks_data -= 1
                if self.lacks_data >= 0:
                    return (
                        1,
                        "",
                        "Error: etcdserver: can only promote a learner member which is in sync with leader",
                    )
                self.learner = False
            elif "--learner" in command and not self.knows_learners:
                return 1, "", "Error: unknown flag: --learner"
            else:
                self.members["s3"], self.learner = False, "--learner" in command
        if command[:2] == ["systemctl", "enable"]:
            self.enabled = "enabled"
        if command[:2] in (["systemctl", "start"], ["systemctl", "restart"]) and self.active != "failed":
            self.active = "active"
            self.members = {**(self.members or {"s1": True, "s2": True}), "s3": True}
        return 0, "", ""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    programs = tuple(str(tmp_path / name) for name in ("etcd", "etcdctl"))
    for program in programs:
        Path(program).touch()
    return Plan(
        ME, SERVERS, {"name": "s3"}, "[Service]\n", {},
        config_dir=str(tmp_path / "etc"), data_dir=str(tmp_path / "data"), unit_folder=str(tmp_path),
        user=USER, group=GROUP, programs=programs, timeout=3,
    )  # fmt: skip


def bring(host: Host, plan: Plan) -> Etcd:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Etcd(host, plan, lambda: now[0], sleep, lambda url: url.partition(":")[0])


def initial(plan: Plan) -> str:
    return Path(plan.initial_file).read_text()


def with_data(plan: Plan) -> None:
    log = Path(plan.data_dir, "member", "wal", "0.wal")
    log.parent.mkdir(parents=True)
    log.touch()


def test_the_first_servers_begin_a_cluster_of_all(plan: Plan) -> None:
    host = Host()
    report = bring(host, replace(plan, may_begin=True)).run()
    assert "ETCD_INITIAL_CLUSTER_STATE=new" in initial(plan)
    assert all(f"{one.name}={one.peer}" in initial(plan) for one in SERVERS)
    assert report.healthy
    assert report.members == ["s1", "s2", "s3"]
    assert host.ran[-3:] == [
        "systemctl enable etcd.service",
        "systemctl reset-failed etcd.service",
        "systemctl start etcd.service",
    ]
    assert Path(plan.joined_file).is_file()


def test_a_second_run_changes_nothing(plan: Plan) -> None:
    host = Host()
    bring(host, replace(plan, may_begin=True)).run()
    with_data(plan)
    host.ran.clear()
    settings = {line.split("=")[0]: line for line in Path(plan.settings_file).read_text().splitlines()}
    assert settings
    etcd = bring(host, plan)
    etcd.drift = lambda _pid: []  # type: ignore[method-assign]
    assert (etcd.run().changes, host.ran) == ([], [])


def test_a_server_that_is_new_to_the_cluster_is_added_and_joins(plan: Plan) -> None:
    host = Host()
    host.members = {"s1": True, "s2": True}
    report = bring(host, replace(plan, may_begin=True)).run()
    assert "member add s3" in host.ran
    assert "ETCD_INITIAL_CLUSTER_STATE=existing" in initial(plan)
    assert "add this member" in report.changes


def test_one_whose_data_are_gone_is_removed_before_it_is_added_again(plan: Plan) -> None:
    host = Host()
    host.members = {"s1": True, "s2": True, "s3": True}
    bring(host, plan).run()
    assert [words for words in host.ran if words.startswith("member")] == [
        "member remove 3",
        "member add s3",
        "member promote 3",
    ]
    assert "ETCD_INITIAL_CLUSTER_STATE=existing" in initial(plan)


@pytest.mark.parametrize("wait", [True, False])
def test_one_that_joins_gets_its_vote_when_it_has_the_data_of_the_others(plan: Plan, wait: bool) -> None:
    """Also where nobody waits for health: the next one could not join before."""
    host = Host()
    host.members = {"s1": True, "s2": True}
    host.lacks_data = 3
    report = bring(host, replace(plan, wait=wait)).run()
    assert host.ran.count("member promote 3") == 4
    assert report.changes[-1] != "add this member"
    assert "become a voter" in report.changes
    assert report.members == ["s1", "s2", "s3"]


def test_a_learner_whose_run_was_broken_off_gets_its_vote_by_the_next(plan: Plan) -> None:
    host = Host()
    host.members = {"s1": True, "s2": True, "s3": True}
    host.learner = True
    with_data(plan)
    assert "become a voter" in bring(host, plan).run().changes


def test_an_etcd_that_knows_no_learners_gets_a_voter_at_once(plan: Plan) -> None:
    host = Host()
    host.members = {"s1": True, "s2": True}
    host.knows_learners = False
    report = bring(host, plan).run()
    assert host.ran.count("member add s3") == 3  # both others as a learner, one of them as a voter
    assert report.healthy
    assert "become a voter" not in report.changes


def test_one_that_is_expected_just_joins(plan: Plan) -> None:
    host = Host()
    host.members = {"s1": True, "s2": True, "s3": False}
    bring(host, plan).run()
    assert [words for words in host.ran if words.startswith("member")] == []
    assert "ETCD_INITIAL_CLUSTER_STATE=existing" in initial(plan)


@pytest.mark.parametrize("joined", [False, True])
def test_no_cluster_is_begun_where_there_was_one(plan: Plan, joined: bool) -> None:
    """The other servers' record says so, or the own one."""
    Path(plan.config_dir).mkdir()
    if joined:
        Path(plan.joined_file).touch()
    host = Host()
    with pytest.raises(
        MemberError, match=r"s3 has no data and cannot join .* no other server's etcd answers"
    ):
        bring(host, replace(plan, may_begin=joined)).run()
    assert not os.path.exists(plan.initial_file)
    assert "systemctl start etcd.service" not in host.ran


def test_what_the_others_refuse_is_told_in_their_words(plan: Plan) -> None:
    host = Host()
    host.members = {"s1": True, "s2": True, "s3": True}
    host.refuses = "etcdserver: unhealthy cluster"
    with pytest.raises(MemberError, match=r"etcdserver: unhealthy cluster\. See that a majority"):
        bring(host, plan).run()


def test_an_embedded_log_is_not_left_behind_without_being_told_to(plan: Plan, tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    log.touch()
    wanted = replace(plan, may_begin=True, embedded_log=str(log))
    host = Host()
    with pytest.raises(MemberError, match="consul snapshot save"):
        bring(host, wanted).run()
    assert "systemctl start etcd.service" not in host.ran
    assert bring(host, replace(wanted, begin_empty=True)).run().healthy


def test_a_check_promises_and_changes_nothing(plan: Plan) -> None:
    host = Host(check_mode=True)
    report = bring(host, plan).run()
    assert "etcd.service: start" in report.changes
    assert host.ran == []
    assert not os.path.exists(plan.config_dir)


def test_packages_are_installed_with_debians_unit_masked(plan: Plan) -> None:
    host = Host()
    for program in plan.programs:
        os.unlink(program)
    bring(host, replace(plan, may_begin=True)).run()
    assert [words.split()[1] for words in host.ran[:3]] == ["mask", "install", "unmask"]


def test_other_settings_wait_for_their_turn_or_restart(plan: Plan) -> None:
    """The process of the test's systemd has an empty environment: it was started with something else."""
    host = Host()
    bring(host, replace(plan, may_begin=True)).run()
    with_data(plan)
    waiting = bring(host, replace(plan, restart="start")).run()
    assert len(waiting.pending) == 2
    assert waiting.changes == []
    assert bring(host, plan).run().changes == ["etcd.service: restart"]


def test_a_member_that_never_becomes_healthy_is_given_up_with_what_it_needs(plan: Plan) -> None:
    host = Host()
    host.healthy = False
    with pytest.raises(MemberError, match=r"it needs a majority of 3 servers .*given up after 3 s"):
        bring(host, replace(plan, may_begin=True)).run()
    assert not os.path.exists(plan.joined_file)


def test_a_member_that_keeps_dying_is_not_waited_for(plan: Plan) -> None:
    host = Host()
    host.restarts = 9
    with pytest.raises(MemberError, match="does not stay up"):
        bring(host, replace(plan, may_begin=True)).run()
