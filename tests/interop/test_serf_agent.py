"""Our nodes and Debian's ``serf`` agents in one pool: each side sees, hears and answers the other."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.events import (
    KeyringChanged,
    MemberFailed,
    MemberLeft,
    MemberUpdated,
    UserEventReceived,
)
from meshnode.gossip.serf.queries import QueryParams
from meshnode.runtime.keyring_file import load_keyring
from tests.support.programs import needs
from tests.support.serf_agent import OurNode, Pool, SerfAgent, loopback_network, mixed_pool
from tests.support.waiting import until

pytestmark = needs("serf")

KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture
def seed() -> int:
    return int.from_bytes(os.urandom(3), "big")


def in_pool(
    scenario: Callable[[Pool], Coroutine[Any, Any, None]], tmp_path: Path, seed: int, **options: Any
) -> None:
    async def run() -> None:
        async with mixed_pool(tmp_path, seed, options.pop("key", KEY), **options) as pool:
            await scenario(pool)

    asyncio.run(run())


def test_each_side_lists_the_other_alive_with_its_tags(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        for agent in pool.theirs:
            members = await agent.members()
            assert {name: member["status"] for name, member in members.items()} == dict.fromkeys(
                pool.names, "alive"
            )
            assert {name: member["tags"] for name, member in members.items()} == {
                "serf0": {"kind": "theirs0"},
                "serf1": {"kind": "theirs1"},
                "ours0": {"kind": "ours0"},
                "ours1": {"kind": "ours1"},
            }
            assert members["ours0"]["protocol"] == {"min": 2, "max": 5, "version": 5}
        for node in pool.ours:
            member = node.shell.serf.member("serf1")
            assert member is not None
            assert (member.tags, member.address) == ({"kind": "theirs1"}, pool.theirs[1].address)
            assert member.versions[3:] == (2, 5, 5)

    in_pool(scenario, tmp_path, seed)


def test_changed_tags_travel_both_ways(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        pool.ours[0].shell.set_tags({"kind": "changed", "dc": "dc1"})
        status, output = await pool.theirs[0].run("tags", "-set", "color=blue")
        assert status == 0, output

        async def they_see() -> bool:
            return bool((await pool.theirs[1].members())["ours0"]["tags"] == {"kind": "changed", "dc": "dc1"})

        def we_see() -> bool:
            member = pool.ours[1].shell.serf.member("serf0")
            return member is not None and member.tags.get("color") == "blue"

        await until(they_see, "serf1 sees the new tags of ours0")
        await until(we_see, "ours1 sees the new tags of serf0")
        assert any(
            isinstance(event, MemberUpdated) and event.members[0].name == "serf0"
            for event in pool.ours[1].events
        )

    in_pool(scenario, tmp_path, seed)


def test_a_node_that_leaves_is_left_and_not_failed_on_the_other_side(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        assert await pool.ours[1].shell.leave(timeout=15)
        await pool.ours[1].shell.stop()
        await pool.theirs[1].interrupt()

        async def they_see() -> bool:
            return await pool.theirs[0].status_of("ours1") == "left"

        await until(they_see, "serf0 sees that ours1 left")
        await until(lambda: pool.ours[0].status_of("serf1") == "left", "ours0 sees that serf1 left")
        left = {e.members[0].name for e in pool.ours[0].events if isinstance(e, MemberLeft)}
        assert left == {"ours1", "serf1"}
        assert not [event for event in pool.ours[0].events if isinstance(event, MemberFailed)]
        assert not [line for line in pool.theirs[0].handled if line.startswith("member-failed")]

    in_pool(scenario, tmp_path, seed)


def test_a_node_that_is_killed_is_failed_on_the_other_side_and_can_be_forced_out(
    tmp_path: Path, seed: int
) -> None:
    async def scenario(pool: Pool) -> None:
        await pool.ours[1].shell.stop()
        await pool.theirs[1].kill()

        async def they_see(name: str, status: str) -> bool:
            return await pool.theirs[0].status_of(name) == status

        await until(lambda: they_see("ours1", "failed"), "serf0 sees that ours1 failed", timeout=40)
        await until(lambda: pool.ours[0].status_of("serf1") == "failed", "ours0 sees serf1 fail", timeout=40)
        assert any(isinstance(e, MemberFailed) and e.members[0].name == "serf1" for e in pool.ours[0].events)
        await until(lambda: pool.ours[0].status_of("ours1") == "failed", "ours0 sees ours1 fail", timeout=40)
        pool.ours[0].shell.force_leave("ours1")
        await until(lambda: they_see("ours1", "left"), "serf0 forces ours1 out at our word")
        status, output = await pool.theirs[0].run("force-leave", "serf1")
        assert status == 0, output
        await until(lambda: pool.ours[0].status_of("serf1") == "left", "ours0 forces serf1 out at its word")

    in_pool(scenario, tmp_path, seed)


def test_user_events_are_delivered_once_in_both_directions(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        pool.ours[0].shell.user_event("deploy", b"web 1.2", coalesce=False)
        status, output = await pool.theirs[1].run("event", "-coalesce=false", "restart", "db")
        assert status == 0, output
        for agent in pool.theirs:
            await until(partial(agent.has_handled, "user deploy web 1.2"), f"{agent.name} hears deploy")
        for node in pool.ours:

            def heard(node: OurNode = node) -> list[UserEventReceived]:
                return [event for event in node.events if isinstance(event, UserEventReceived)]

            await until(lambda: len(heard()) >= 2, f"{node.name} hears both")
            assert len(heard()) == 2
            assert {(e.name, e.payload, e.coalesce) for e in heard()} == {
                ("deploy", b"web 1.2", False),
                ("restart", b"db", False),
            }
        assert all(agent.handled.count("user deploy web 1.2") == 1 for agent in pool.theirs)

    in_pool(scenario, tmp_path, seed)


def test_queries_are_answered_in_both_directions(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        result = await pool.ours[0].shell.query(
            "uptime", b"hours", QueryParams(request_ack=True, relay_factor=2)
        )
        assert result.responses == {name: f"{name} says hours".encode() for name in pool.names}
        assert set(result.acks) == pool.names
        assert len(result.acks) == len(pool.names), "relayed duplicates are counted once"
        status, output = await pool.theirs[0].run("query", "-timeout=3s", "-relay-factor=2", "load", "now")
        assert status == 0, output
        for name in pool.names:
            assert f"Response from '{name}': {name} says now" in output
            assert f"Ack from '{name}'" in output

    in_pool(scenario, tmp_path, seed)


def test_filters_decide_alike_on_both_sides_who_answers(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        ours = await pool.ours[0].shell.query("q", b"", QueryParams(filter_tags={"kind": "^(ours|theirs)1$"}))
        assert set(ours.responses) == {"ours1", "serf1"}
        ours = await pool.ours[0].shell.query("q", b"", QueryParams(filter_nodes=("serf0", "ours0")))
        assert set(ours.responses) == {"ours0", "serf0"}
        _, output = await pool.theirs[0].run("query", "-timeout=2s", "-tag", "kind=.*s1", "q", "")
        assert {name for name in pool.names if f"Response from '{name}'" in output} == {"ours1", "serf1"}
        _, output = await pool.theirs[0].run("query", "-timeout=2s", "-node", "ours0", "q", "")
        assert {name for name in pool.names if f"Response from '{name}'" in output} == {"ours0"}

    in_pool(scenario, tmp_path, seed)


def test_keys_are_rotated_by_us_and_then_by_them_and_saved(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        node, agent = pool.ours[0], pool.theirs[0]
        for operation, key in (("install", OTHER_KEY), ("use", OTHER_KEY), ("remove", KEY)):
            result = await node.shell.key_operation(operation, key)
            assert result.complete, (operation, result)
            assert result.num_nodes == 4
        status, output = await agent.run("keys", "-list")
        assert (status, f"{text(OTHER_KEY)}  [4/4]" in output, text(KEY) in output) == (0, True, False), (
            output
        )
        for option, key in (("-install", KEY), ("-use", KEY), ("-remove", OTHER_KEY)):
            status, output = await agent.run("keys", f"{option}={text(key)}")
            assert status == 0, output
        listed = await node.shell.key_operation("list")
        assert listed.complete
        assert (listed.keys, listed.primary_keys) == ({text(KEY): 4}, {text(KEY): 4})
        for member in pool.ours:
            assert member.keyring_path is not None
            assert load_keyring(member.keyring_path) == [KEY]
            assert len([e for e in member.events if isinstance(e, KeyringChanged)]) == 6
        await pool.converged()

    config = SerfConfig(memberlist=MemberlistConfig.lan(), persists_keyring=True)
    in_pool(scenario, tmp_path, seed, keyring_files=True, config=config)


def test_the_errors_of_a_key_operation_name_the_nodes_of_both_kinds(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        result = await pool.ours[0].shell.key_operation("use", OTHER_KEY)
        assert (result.num_responses, result.num_errors) == (4, 4)
        assert set(result.messages) == pool.names
        assert gossip_key_fingerprint(OTHER_KEY) in result.messages["ours1"]
        status, output = await pool.theirs[0].run("keys", f"-use={text(OTHER_KEY)}")
        assert status == 1
        assert "ours1" in output
        assert gossip_key_fingerprint(OTHER_KEY) in output

    in_pool(scenario, tmp_path, seed)


def test_round_trips_are_estimated_between_both_kinds(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        for node in pool.ours:
            for name in pool.names - {node.name}:
                known = await until(
                    lambda node=node, name=name: node.shell.serf.coordinate_of(name),  # type: ignore[misc]
                    f"{node.name} has the coordinate of {name}",
                )
                own = node.shell.serf.coordinate()
                assert own is not None
                assert 0 < own.distance_to(known) < 1

        async def estimated() -> bool:
            status, output = await pool.theirs[0].run("rtt", "ours0", "ours1")
            return status == 0 and "Estimated ours0 <-> ours1 rtt" in output

        await until(estimated, "serf0 has coordinates of both of ours")

    in_pool(scenario, tmp_path, seed)


def test_an_agent_without_a_key_is_kept_out_and_the_log_says_so(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        plain = SerfAgent("plain", f"{loopback_network(seed)}.99", tmp_path)
        await plain.start()
        try:
            status, _ = await plain.run("join", str(pool.ours[0].shell.address))
            assert status == 1
            line = await until(
                lambda: next((x for x in pool.ours[0].lines if "WARN" in x and "not encrypted" in x), ""),
                "ours0 logs the refusal",
            )
            assert "set `encrypt` there" in line
            refused = await pool.ours[0].shell.join([str(plain.address)])
            assert refused.joined == 0
            assert "set `encrypt` there" in refused.errors[0]
            assert "plain" not in {m.name for m in pool.ours[0].shell.serf.members()}
            assert set(await plain.members()) == {"plain"}
        finally:
            await plain.kill()

    in_pool(scenario, tmp_path, seed)


def test_an_agent_with_another_key_is_kept_out_and_the_log_shows_our_fingerprints(
    tmp_path: Path, seed: int
) -> None:
    async def scenario(pool: Pool) -> None:
        wrong = SerfAgent("wrong", f"{loopback_network(seed)}.99", tmp_path, (f"-encrypt={text(OTHER_KEY)}",))
        await wrong.start()
        try:
            status, _ = await wrong.run("join", str(pool.ours[0].shell.address))
            assert status == 1
            line = await until(
                lambda: next((x for x in pool.ours[0].lines if "WARN" in x and "decrypted" in x), ""),
                "ours0 logs the refusal",
            )
            assert gossip_key_fingerprint(KEY) in line
            refused = await pool.ours[0].shell.join([str(wrong.address)])
            assert refused.joined == 0
            assert gossip_key_fingerprint(KEY) in refused.errors[0]
            assert text(KEY) not in "\n".join(pool.ours[0].lines)
            assert set(await wrong.members()) == {"wrong"}
            assert pool.ours[0].status_of("wrong") is None
        finally:
            await wrong.kill()

    in_pool(scenario, tmp_path, seed)


def test_an_unencrypted_pool_with_their_compression_works(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        pool.ours[0].shell.user_event("deploy", b"a" * 200)
        await until(lambda: f"user deploy {'a' * 200}" in pool.theirs[0].handled, "serf0 hears the event")
        result = await pool.ours[1].shell.query("uptime", b"hours")
        assert set(result.responses) == pool.names
        assert pool.ours[0].shell.serf.stats()["encrypted"] == "false"
        listed = await pool.ours[0].shell.key_operation("list")
        assert listed.num_errors == 4
        assert "encryption not enabled" in listed.messages["serf0"]

    in_pool(scenario, tmp_path, seed, key=None)


def test_a_restarted_node_finds_the_pool_again_through_its_snapshot(tmp_path: Path, seed: int) -> None:
    async def scenario(pool: Pool) -> None:
        config = SerfConfig(memberlist=MemberlistConfig.lan(), writes_snapshot=True)
        host = f"{loopback_network(seed)}.30"

        def make() -> OurNode:
            return OurNode("again", host, KEY, {}, config, seed, snapshot_path=tmp_path / "local.snapshot")

        first = make()
        await first.shell.start()
        assert (await first.shell.join([str(pool.theirs[0].address)])).joined == 1
        await pool.converged(pool.names | {"again"})
        pool.ours[0].shell.user_event("before", b"")
        await until(lambda: any(isinstance(e, UserEventReceived) for e in first.events), "the event arrives")
        await first.shell.stop()
        second = make()
        await second.shell.start()
        try:
            await until(lambda: second.alive() == pool.names | {"again"}, "it rejoined by itself")
            assert not [event for event in second.events if isinstance(event, UserEventReceived)]
        finally:
            await second.shell.stop()

    in_pool(scenario, tmp_path, seed)
