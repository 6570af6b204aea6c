"""py-consul: keys, sessions, locks and transactions."""

from __future__ import annotations

import threading
from typing import Any

import consul
import pytest
from consul.exceptions import BadRequest, ClientError, ConsulException

from tests.support.py_consul import UNKNOWN

# Keys


def test_a_key_is_put_read_and_deleted(client: consul.Consul, name: str) -> None:
    assert client.kv.get(name)[1] is None
    assert client.kv.put(name, "h\xe9llo", flags=42) is True
    index, entry = client.kv.get(name)
    assert (entry["Key"], entry["Value"], entry["Flags"]) == (name, "h\xe9llo".encode(), 42)
    assert int(index) >= entry["ModifyIndex"] >= entry["CreateIndex"] > 0
    assert entry["LockIndex"] == 0
    assert "Session" not in entry
    assert client.kv.delete(name) is True
    assert client.kv.get(name)[1] is None


def test_bytes_and_an_empty_value_survive(client: consul.Consul, name: str) -> None:
    every = bytes(range(256))
    assert client.kv.put(name, every)
    assert client.kv.get(name)[1]["Value"] == every
    assert client.kv.put(name, "")
    # Consul has null for no bytes, and the library leaves that alone.
    assert client.kv.get(name)[1]["Value"] is None


def test_a_key_with_odd_characters_is_the_same_key_everywhere(client: consul.Consul, name: str) -> None:
    key = f"{name}/a b/\xe4%25?#&+="
    assert client.kv.put(key, "x")
    assert client.kv.get(key)[1]["Key"] == key
    assert client.kv.get(f"{name}/", keys=True)[1] == [key]
    assert client.kv.delete(key)
    assert client.kv.get(key)[1] is None


def test_a_prefix_is_listed_recursively_by_keys_and_up_to_a_separator(
    client: consul.Consul, name: str
) -> None:
    for key in ("a", "b/1", "b/2"):
        client.kv.put(f"{name}/{key}", key)
    entries = client.kv.get(f"{name}/", recurse=True)[1]
    assert {entry["Key"]: entry["Value"] for entry in entries} == {
        f"{name}/a": b"a",
        f"{name}/b/1": b"b/1",
        f"{name}/b/2": b"b/2",
    }
    assert client.kv.get(f"{name}/", keys=True)[1] == [f"{name}/a", f"{name}/b/1", f"{name}/b/2"]
    assert client.kv.get(f"{name}/", keys=True, separator="/")[1] == [f"{name}/a", f"{name}/b/"]
    assert client.kv.delete(f"{name}/", recurse=True) is True
    assert client.kv.get(f"{name}/", recurse=True)[1] is None


def test_check_and_set_writes_only_over_what_was_read(client: consul.Consul, name: str) -> None:
    assert client.kv.put(name, "1", cas=0) is True
    assert client.kv.put(name, "2", cas=0) is False
    index = client.kv.get(name)[1]["ModifyIndex"]
    assert client.kv.put(name, "2", cas=index) is True
    assert client.kv.delete(name, cas=index) is False
    assert client.kv.delete(name, cas=client.kv.get(name)[1]["ModifyIndex"]) is True


def test_a_blocking_read_ends_when_the_key_changes(
    client: consul.Consul, server: consul.Consul, name: str
) -> None:
    client.kv.put(name, "old")
    index, _ = client.kv.get(name)
    seen: list[Any] = []
    reader = threading.Thread(target=lambda: seen.append(client.kv.get(name, index=index, wait="20s")))
    reader.start()
    server.kv.put(name, "new")
    reader.join(20)
    assert seen
    assert seen[0][1]["Value"] == b"new"
    assert int(seen[0][0]) > int(index)


def test_a_blocking_read_ends_after_its_wait_with_the_same_index(client: consul.Consul, name: str) -> None:
    client.kv.put(name, "x")
    index, entry = client.kv.get(name)
    assert client.kv.get(name, index=index, wait="10ms")[1] == entry


@pytest.mark.parametrize("consistency", ["default", "consistent", "stale"])
def test_a_read_of_each_consistency_sees_the_write_before_it(
    client: consul.Consul, name: str, consistency: str
) -> None:
    client.kv.put(name, "x")
    assert client.kv.get(name, consistency=consistency, dc="dc1")[1]["Value"] == b"x"


def test_a_datacenter_that_nobody_knows_is_an_error(client: consul.Consul, name: str) -> None:
    with pytest.raises(ConsulException, match=r"500 .*No path to datacenter"):
        client.kv.get(name, dc="dc9")


def test_two_conditions_on_one_write_are_refused(client: consul.Consul, name: str) -> None:
    with pytest.raises(BadRequest, match="Conflicting flags"):
        client.kv.put(name, "x", cas=0, acquire=UNKNOWN)


# Sessions and locks


def test_a_session_is_made_read_renewed_and_destroyed(client: consul.Consul, name: str) -> None:
    session = client.session.create(name, lock_delay=0, ttl=60, behavior="delete")
    _, found = client.session.info(session)
    assert found["ID"] == session
    assert found["Node"] == "client1"
    assert found["Checks"] == ["serfHealth"]
    assert (found["Name"], found["TTL"], found["Behavior"], found["LockDelay"]) == (name, "60s", "delete", 0)
    assert session in [entry["ID"] for entry in client.session.list()[1]]
    assert session in [entry["ID"] for entry in client.session.node("client1")[1]]
    assert client.session.node("server1")[1] == []
    assert client.session.renew(session)["ID"] == session
    assert client.session.destroy(session) is True
    assert client.session.info(session)[1] is None
    with pytest.raises(consul.NotFound, match=f"Session id '{session}' not found"):
        client.session.renew(session)


def test_a_session_without_settings_has_those_of_consul(client: consul.Consul) -> None:
    session = client.session.create()
    _, found = client.session.info(session)
    assert (found["Behavior"], found["LockDelay"], found["TTL"]) == ("release", 15_000_000_000, "")
    client.session.destroy(session)


def test_a_session_on_an_unknown_node_or_check_is_refused(client: consul.Consul) -> None:
    with pytest.raises(ConsulException, match="500"):
        client.session.create(node="nobody")
    with pytest.raises(ConsulException, match="500"):
        client.session.create(checks=["serfHealth", "nothing"])


def test_a_lock_has_one_holder_until_it_is_released(client: consul.Consul, name: str) -> None:
    first, second = client.session.create(lock_delay=0), client.session.create(lock_delay=0)
    assert client.kv.put(name, "first", acquire=first) is True
    assert client.kv.put(name, "second", acquire=second) is False
    entry = client.kv.get(name)[1]
    assert (entry["Session"], entry["LockIndex"], entry["Value"]) == (first, 1, b"first")
    assert client.kv.put(name, "x", release=second) is False
    assert client.kv.put(name, "first", release=first) is True
    assert client.kv.put(name, "second", acquire=second) is True
    assert client.kv.get(name)[1]["LockIndex"] == 2
    for session in (first, second):
        client.session.destroy(session)
    assert "Session" not in client.kv.get(name)[1]


def test_a_lock_of_a_session_that_deletes_goes_with_it(client: consul.Consul, name: str) -> None:
    session = client.session.create(behavior="delete")
    assert client.kv.put(name, "x", acquire=session)
    client.session.destroy(session)
    assert client.kv.get(name)[1] is None


def test_a_lock_with_an_unknown_session_is_refused(client: consul.Consul, name: str) -> None:
    with pytest.raises(ConsulException, match=r"500 .*invalid session"):
        client.kv.put(name, "x", acquire=UNKNOWN)


# Transactions


def test_a_transaction_does_all_of_its_operations(client: consul.Consul, name: str) -> None:
    done = client.txn.put(
        [
            {"KV": {"Verb": "set", "Key": f"{name}/1", "Value": "b25l", "Flags": 7}},
            {"KV": {"Verb": "get", "Key": f"{name}/1"}},
        ]
    )
    assert done["Errors"] is None
    assert [result["KV"]["Key"] for result in done["Results"]] == [f"{name}/1"] * 2
    assert done["Results"][1]["KV"]["Value"] == "b25l"
    assert client.kv.get(f"{name}/1")[1]["Flags"] == 7


def test_a_transaction_with_one_failure_does_nothing(client: consul.Consul, name: str) -> None:
    with pytest.raises(ClientError, match=f'409 .*key \\\\?"{name}/2\\\\?" doesn\'t exist'):
        client.txn.put(
            [
                {"KV": {"Verb": "set", "Key": f"{name}/1", "Value": "b25l"}},
                {"KV": {"Verb": "get", "Key": f"{name}/2"}},
            ]
        )
    assert client.kv.get(f"{name}/1")[1] is None
