"""Who may leave etcd's cluster, as a table and as a property, and what is asked of the servers that stay."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_control import Control
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_departure import (
    Departure,
    Leaver,
    leader_of,
    majority,
    refusal,
)
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import (
    Listed,
    MemberError,
    Server,
    server_named,
)
from hypothesis import given
from hypothesis import strategies as st


def server(number: int) -> Server:
    return Server(f"s{number}", f"https://10.0.0.{number}:2379", f"https://10.0.0.{number}:2380")


def listed(number: int, *, learner: bool = False) -> Listed:
    one = server(number)
    return Listed(number, one.name, (one.peer,), (one.client,), learner)


SERVERS = tuple(server(number) for number in (1, 2, 3))
THREE = [listed(1), listed(2), listed(3)]
TABLE = [
    # members, healthy, who leaves -> what the refusal says
    (THREE, "s1 s2 s3", 3, ""),
    (THREE, "s1 s2", 3, ""),
    (THREE, "s1 s3", 3, "of the 2 that would be left 2 have to be healthy, and 1 is (s1): bring s2 back"),
    (THREE, "s1", 3, "no majority now: of 3 members 2 have to be healthy, and 1 is (s1)"),
    (THREE, "", 3, "and 0 are (none)"),
    (THREE[:2], "s1 s2", 2, ""),
    (THREE[:2], "s1", 2, "no majority now: of 2 members 2 have to be healthy"),
    (THREE[:1], "s1", 1, "s1 is the last member of etcd"),
    ([*THREE[:2], listed(3, learner=True)], "s1 s2", 3, ""),
    ([listed(1), listed(3, learner=True)], "s1", 1, "s1 is the last member"),
    ([*THREE, listed(4), listed(5)], "s1 s2 s3", 3, "of the 4 that would be left 3 have to be healthy, and 2 are"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "healthy", "leaver", "said"), TABLE)
def test_a_member_may_go_where_the_rest_has_a_majority(
    members: list[Listed], healthy: str, leaver: int, said: str
) -> None:
    found = refusal(members, healthy.split(), server(leaver))
    assert said in found
    assert bool(found) == bool(said)


@given(st.integers(1, 7), st.sets(st.integers(1, 7)), st.integers(1, 7))
def test_whoever_is_let_go_leaves_a_majority_that_is_healthy(size: int, well: set[int], leaver: int) -> None:
    members = [listed(number) for number in range(1, size + 1)]
    healthy = {f"s{number}" for number in well if number <= size}
    rest = {entry.name for entry in members} - {f"s{leaver}"}
    allowed = not refusal(members, healthy, server(leaver))
    assert allowed == (
        len(healthy) >= majority(size) and len(healthy & rest) >= majority(len(rest)) and bool(rest)
    )


class Cluster:
    """Three members that etcdctl speaks to; C(refuses) are complaints of the next removals."""

    check_mode = False

    def __init__(self, *, dead: str = "", leader: int = 1, refuses: tuple[str, ...] = ()) -> None:
        self.names = ["s1", "s2", "s3"]
        self.dead = dead.split()
        self.leader = leader
        self.refuses = list(refuses)
        self.ran: list[str] = []

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        name = f"s{command[1].partition('10.0.0.')[2][0]}"
        words = [word for word in command[1:] if not word.startswith("--")]
        if name in self.dead or name not in self.names:
            return 1, "", "Error: context deadline exceeded"
        match words:
            case ["member", "list"]:
                return 0, json.dumps({"members": [self._entry(one) for one in self.names]}), ""
            case ["endpoint", "health"]:
                return 0, "", ""
            case ["endpoint", "status"]:
                return 0, json.dumps([{"Status": {"leader": self.leader}}]), ""
            case ["move-leader", number]:
                self.ran.append(f"{name}: {' '.join(words)}")
                self.leader = int(number, 16)
                return 0, "", ""
        self.ran.append(f"{name}: {' '.join(words)}")
        if self.refuses:
            return 1, "", f"Error: {self.refuses.pop(0)}"
        self.names.remove(f"s{words[2]}")
        return 0, "", ""

    def _entry(self, name: str) -> dict[str, Any]:
        one = server(int(name[1]))
        return {"ID": int(name[1]), "name": name, "peerURLs": [one.peer], "clientURLs": [one.client]}


def leave(cluster: Cluster, name: str, *, pretend: bool = False) -> Departure:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    servers, leaving = server_named([vars(one) for one in SERVERS], name)
    leaver = Leaver(Control(cluster, "etcdctl", {}), servers, leaving, 3, lambda: now[0], sleep)
    return leaver.run(pretend=pretend)


def test_a_member_is_removed_by_one_that_stays() -> None:
    cluster = Cluster()
    assert leave(cluster, "s3") == Departure(["remove the member s3"], ["s1", "s2"], ["s1", "s2"])
    assert cluster.ran == ["s1: member remove 3"]


def test_one_that_leads_hands_over_before() -> None:
    cluster = Cluster(leader=3)
    assert leave(cluster, "s3").changes == ["remove the member s3", "let another member lead"]
    assert cluster.ran == ["s3: move-leader 1", "s1: member remove 3"]


def test_a_dead_one_is_removed_by_whoever_answers() -> None:
    cluster = Cluster(dead="s1", leader=2)
    assert leave(cluster, "s1").members == ["s2", "s3"]
    assert cluster.ran == ["s2: member remove 1"]


def test_one_that_is_no_member_is_left_alone() -> None:
    cluster = Cluster()
    leave(cluster, "s3")
    assert leave(cluster, "s3").changes == []
    assert len(cluster.ran) == 1


def test_a_check_judges_and_removes_nobody() -> None:
    cluster = Cluster()
    assert leave(cluster, "s3", pretend=True).changes == ["remove the member s3"]
    assert cluster.ran == []
    with pytest.raises(MemberError, match="without s3 etcd would have no majority"):
        leave(Cluster(dead="s2"), "s3", pretend=True)


def test_what_etcd_refuses_is_asked_again_and_told_in_its_words() -> None:
    assert leave(Cluster(refuses=("re-configuration failed",)), "s3").members == ["s1", "s2"]
    with pytest.raises(
        MemberError, match=r"etcd does not remove s3: .*unhealthy cluster .*given up after 3 s"
    ):
        leave(Cluster(refuses=("unhealthy cluster",) * 99), "s3")


def test_where_nobody_answers_the_servers_are_named() -> None:
    with pytest.raises(MemberError, match="no etcd of s2, s3 answers"):
        leave(Cluster(dead="s1 s2 s3"), "s1")


def test_a_server_that_is_none_is_named() -> None:
    with pytest.raises(MemberError, match="name: s9 is not one of the servers: s1, s2, s3"):
        leave(Cluster(), "s9")


@pytest.mark.parametrize("text", ["", "[]", "{}", "[{}]", '[{"Status": {"leader": null}}]'])
def test_a_status_that_names_no_leader_names_none(text: str) -> None:
    assert leader_of(text) == 0
