"""What a server does to become a member of etcd's cluster, as a table, and the files that etcd reads."""

from __future__ import annotations

import json

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import (
    SETTINGS_DIGEST,
    Listed,
    MemberError,
    Server,
    initial_of_inventory,
    initial_of_members,
    next_step,
    parse_members,
    render_initial,
    render_settings,
    settings_of,
)


def server(number: int) -> Server:
    return Server(f"s{number}", f"https://10.0.0.{number}:2379", f"https://10.0.0.{number}:2380")


def listed(number: int, *, ran: bool = True) -> Listed:
    one = server(number)
    return Listed(number, one.name if ran else "", (one.peer,), (one.client,) if ran else ())


ME = server(3)
TABLE = [
    # what the others say, whether a cluster may be begun -> what is done
    (None, True, "begin"),
    (None, False, "wait"),
    ([], True, "begin"),
    ([], False, "wait"),
    ([listed(1), listed(2)], True, "add"),
    ([listed(1), listed(2)], False, "add"),
    ([listed(1), listed(3, ran=False)], True, "join"),
    ([listed(1), listed(3, ran=False)], False, "join"),
    ([listed(1), listed(3)], True, "replace"),
    ([listed(1), listed(3)], False, "replace"),
]


@pytest.mark.parametrize(("said", "may_begin", "step"), TABLE)
def test_what_a_server_without_data_does_follows_the_table(
    said: list[Listed] | None, may_begin: bool, step: str
) -> None:
    assert next_step(said, ME, may_begin=may_begin) == step


def test_etcdctls_list_is_read_with_members_that_have_never_run() -> None:
    one, two = server(1), server(2)
    text = json.dumps(
        {
            "header": {"cluster_id": 1},
            "members": [
                {
                    "ID": 14276663870439829000,
                    "name": "s1",
                    "peerURLs": [one.peer],
                    "clientURLs": [one.client],
                },
                {"ID": 7, "peerURLs": [two.peer], "isLearner": True},
            ],
        }
    )
    first, second = parse_members(text)
    assert (first.number, first.started, second.started) == (14276663870439829000, True, False)
    assert second == Listed(7, "", (two.peer,), (), learner=True)
    assert not first.learner


@pytest.mark.parametrize("text", ["", "[]", "{", '{"members": [{}]}', '{"members": 5}'])
def test_an_answer_that_is_no_list_is_an_error_with_the_answer(text: str) -> None:
    with pytest.raises(MemberError, match="which is no list of members"):
        parse_members(text)


def test_a_cluster_begins_with_all_servers_in_one_order() -> None:
    assert initial_of_inventory([server(2), server(1)]) == "s1=https://10.0.0.1:2380,s2=https://10.0.0.2:2380"


def test_who_joins_names_exactly_the_members_and_itself() -> None:
    members = [listed(3, ran=False), listed(1), listed(10, ran=False)]
    assert initial_of_members(members, ME) == (
        "member-a=https://10.0.0.10:2380,s1=https://10.0.0.1:2380,s3=https://10.0.0.3:2380"
    )


def test_settings_are_etcds_flags_as_its_environment() -> None:
    text = render_settings({"quota-backend-bytes": 5, "client-cert-auth": True, "name": "s1"}, "CA")
    assert text.splitlines()[1:4] == [
        "ETCD_CLIENT_CERT_AUTH=true",
        "ETCD_NAME=s1",
        "ETCD_QUOTA_BACKEND_BYTES=5",
    ]
    assert set(settings_of(text)) == {
        "ETCD_CLIENT_CERT_AUTH", "ETCD_NAME", "ETCD_QUOTA_BACKEND_BYTES", SETTINGS_DIGEST,
    }  # fmt: skip


def test_the_digest_tells_other_settings_and_other_authorities_and_nothing_else() -> None:
    def digest(value: str, authorities: str) -> str:
        return settings_of(render_settings({"name": value}, authorities))[SETTINGS_DIGEST]

    assert digest("a", "CA\n") == digest("a", "CA")
    assert len({digest("a", "CA"), digest("b", "CA"), digest("a", "CB")}) == 3


@pytest.mark.parametrize("value", ["a\nETCD_X=1", 'a"', "a\\", "a\0"])
def test_a_value_that_would_be_read_as_something_else_is_refused(value: str) -> None:
    with pytest.raises(MemberError, match="cannot be in a setting"):
        render_settings({"name": value}, "")


def test_how_a_member_begins_is_a_file_of_its_own() -> None:
    assert settings_of(render_initial("s1=u", "existing", "dc1")) == {
        "ETCD_INITIAL_CLUSTER": "s1=u",
        "ETCD_INITIAL_CLUSTER_STATE": "existing",
        "ETCD_INITIAL_CLUSTER_TOKEN": "dc1",
    }
