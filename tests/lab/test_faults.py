"""Each fault of the catalogue is in force on its node, and no longer once it is undone: as seen from beside it.

On the lab of test_chaos.py. The measures are ours and not the fault's: datagrams that are counted and timed, questions
that are answered or not, what a disk says.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._chaos import CATALOGUE

from tests.lab.labs import Lab, until
from tests.lab.under_faults import ad_hoc, under

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

#: The node that has the fault, and one that has none.
ILL, WELL = "client1", "client2"
SENT = 200
SEND = f"""
import contextlib, socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    for number in range({SENT}):
        with contextlib.suppress(PermissionError):  # of a rule for what goes out
            out.sendto(b"%d %d" % (number, time.monotonic_ns()), (sys.argv[1], 7777))
        time.sleep(0.003)
    time.sleep(0.5)
"""
#: One machine, one monotonic clock: what was sent says when.
RECEIVE = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
    heard.bind(("0.0.0.0", 7777))
    heard.settimeout(float(sys.argv[1]))
    print("ready", flush=True)
    try:
        while True:
            number, sent = heard.recv(100).split()
            print(int(number), (time.monotonic_ns() - int(sent)) / 1e9)
    except TimeoutError:
        pass
"""
ASK_DNS = r"""
import socket
question = b"\0\1\1\0\0\1\0\0\0\0\0\0\7client2\4node\6consul\0\0\1\0\1"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    asked.settimeout(2)
    asked.sendto(question, ("127.0.0.1", 8600))
    try:
        print("answer of", len(asked.recv(512)))
    except TimeoutError:
        print("silence")
"""
#: A mebibyte, each part of it written through to the disk; says how long that took.
WRITE = """
import os, sys, time
begun = time.monotonic()
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DSYNC)
for _ in range(16):
    os.write(file, bytes(65536))
os.unlink(sys.argv[1])
print(time.monotonic() - begun)
"""


@dataclass(frozen=True)
class Heard:
    """Numbers of the datagrams that arrived, in their order, and how many seconds each was under way."""

    numbers: list[int]
    took: list[float]


def heard(lab: Lab, source: str, target: str) -> Heard:
    """What arrives of ``SENT`` datagrams; the listener gives up when nothing came for six seconds."""
    listen = ["docker", "exec", f"{lab.name}-{target}", "python3", "-c", RECEIVE, "6"]
    with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout
        assert listener.stdout.readline() == "ready\n"
        lab.on(source, "python3", "-c", SEND, lab.nodes[target])
        rows = [line.split() for line in listener.stdout]
    return Heard([int(number) for number, _ in rows], [float(took) for _, took in rows])


def both_ways(lab: Lab) -> tuple[Heard, Heard]:
    return heard(lab, ILL, WELL), heard(lab, WELL, ILL)


def state_of(lab: Lab, node: str, service: str) -> str:
    """Of the unit's process: a letter of proc(5), or nothing when there is none."""
    process = lab.on(node, "systemctl", "show", service, "-p", "MainPID", "--value").strip()
    return lab.on(node, "sh", "-c", f"cut -d' ' -f3 /proc/{process}/stat").strip() if process != "0" else ""


def answers(lab: Lab, node: str) -> bool:
    ask = (
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-m",
        "3",
        "http://127.0.0.1:8500/v1/status/leader",
    )
    return lab.said(node, *ask) == "200"


def write_seconds(lab: Lab, node: str) -> float:
    return float(lab.on(node, "python3", "-c", WRITE, "/var/lib/consul/written"))


def clock_ahead(lab: Lab, node: str) -> float:
    """Seconds that the agent's clock is ahead of ours, as the newest line of its log has it."""
    lab.on(node, "consul", "reload")
    line = lab.on(node, "journalctl", "-u", "consul", "-n", "1", "-o", "cat").split()
    stamp = datetime.strptime(" ".join(line[:2]), "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
    return stamp.timestamp() - time.time()


SERVICES = [(service, node) for service, node in (("consul", ILL), ("etcd", "server2"))]


@pytest.mark.parametrize(("service", "node"), SERVICES)
def test_a_killed_unit_stays_dead_until_it_is_healed(chaos_lab: Lab, service: str, node: str) -> None:
    with under(chaos_lab, "kill", node, service=service):
        assert state_of(chaos_lab, node, service) == ""
        # Neither running nor about to be started again.
        active = chaos_lab.on(node, "systemctl", "show", service, "-p", "ActiveState", "--value").strip()
        assert active in {"inactive", "failed"}
    until(f"{service} runs", lambda: state_of(chaos_lab, node, service) in {"S", "R"})


@pytest.mark.parametrize(("service", "node"), SERVICES)
def test_a_paused_unit_is_stopped_where_it_is(chaos_lab: Lab, service: str, node: str) -> None:
    with under(chaos_lab, "pause", node, service=service):
        assert state_of(chaos_lab, node, service) == "T"
        if service == "consul":
            assert not answers(chaos_lab, node)
    until(f"{service} goes on", lambda: state_of(chaos_lab, node, service) in {"S", "R"})
    until("it answers", lambda: answers(chaos_lab, node))


def test_a_wire_without_a_fault_brings_everything_in_order_both_ways(chaos_lab: Lab) -> None:
    for way in both_ways(chaos_lab):
        assert way.numbers == list(range(SENT))
        assert min(way.took) < 0.05


@pytest.mark.parametrize(("fault", "out", "back"), [("cut", 0, 0), ("cut_in", SENT, 0), ("cut_out", 0, SENT)])
def test_a_cut_is_of_the_direction_that_it_is_named_after(
    chaos_lab: Lab, fault: str, out: int, back: int
) -> None:
    with under(chaos_lab, fault, ILL):
        there, here = both_ways(chaos_lab)
    assert (len(there.numbers), len(here.numbers)) == (out, back)


def test_a_share_of_the_packets_is_lost_each_way(chaos_lab: Lab) -> None:
    with under(chaos_lab, "loss", ILL):
        ways = both_ways(chaos_lab)
    for way in ways:
        assert SENT // 2 < len(way.numbers) < SENT


def test_what_a_delayed_node_sends_is_late_and_what_it_hears_is_not(chaos_lab: Lab) -> None:
    with under(chaos_lab, "delay", ILL):
        there, here = both_ways(chaos_lab)
    assert there.numbers == here.numbers == list(range(SENT))
    assert min(there.took) >= 0.1
    assert min(here.took) < 0.05


def test_a_share_of_what_a_node_sends_comes_twice(chaos_lab: Lab) -> None:
    with under(chaos_lab, "duplicate", ILL):
        there, here = both_ways(chaos_lab)
    assert set(there.numbers) == set(range(SENT))
    assert len(there.numbers) > SENT * 1.1
    assert here.numbers == list(range(SENT))


def test_what_a_node_sends_is_overtaken_and_none_is_lost(chaos_lab: Lab) -> None:
    with under(chaos_lab, "reorder", ILL):
        there, here = both_ways(chaos_lab)
    assert sorted(there.numbers) == list(range(SENT))
    assert there.numbers != sorted(there.numbers)
    assert here.numbers == list(range(SENT))


def test_the_dns_port_is_silent_and_nothing_else_is(chaos_lab: Lab) -> None:
    def said() -> str:
        return chaos_lab.on(ILL, "python3", "-c", ASK_DNS).strip()

    assert said().startswith("answer of")
    with under(chaos_lab, "dns", ILL):
        assert said() == "silence"
        assert answers(chaos_lab, ILL)
    assert said().startswith("answer of")


@pytest.mark.parametrize(
    ("service", "node", "data"),
    [("consul", ILL, "/var/lib/consul"), ("etcd", "server2", "/var/lib/etcd/mesh")],
)
def test_a_full_disk_has_no_byte_left_for_the_unit_and_its_machine_s_has(
    chaos_lab: Lab, service: str, node: str, data: str
) -> None:
    with under(chaos_lab, "disk_full", node, service=service):
        as_it = (
            "setpriv",
            f"--reuid={service}",
            "--clear-groups",
            "sh",
            "-c",
            f"head -c 65536 /dev/zero > {data}/more",
        )
        assert "No space left on device" in chaos_lab.said(node, *as_it)
        chaos_lab.on(
            node, "sh", "-c", "head -c 65536 /dev/zero > /var/lib/elsewhere && rm /var/lib/elsewhere"
        )
        chaos_lab.on(node, "rm", "-f", f"{data}/more")
    until("it answers", lambda: answers(chaos_lab, node))
    assert "mesh-fault" not in chaos_lab.on(node, "mount")


def test_a_slow_disk_holds_up_what_is_written_through_on_that_node_only(chaos_lab: Lab) -> None:
    node, other = "server2", "server3"
    if "slow_disk" in (refused := ad_hoc(chaos_lab, node, state="asked")["refused"]):
        pytest.fail(refused["slow_disk"])
    with under(chaos_lab, "slow_disk", node):
        # Only the lower bound is a matter of the fault: a mebibyte at 256 KiB a second.
        held_up = write_seconds(chaos_lab, node)
        assert held_up > 3
        assert write_seconds(chaos_lab, other) < held_up
    assert write_seconds(chaos_lab, node) < held_up


def test_the_clock_of_one_agent_jumps_and_no_other_one_does(chaos_lab: Lab) -> None:
    with under(chaos_lab, "clock", ILL):
        until("the clock is ahead", lambda: answers(chaos_lab, ILL) and clock_ahead(chaos_lab, ILL) > 3500)
        assert abs(clock_ahead(chaos_lab, WELL)) < 60
        assert abs(float(chaos_lab.on(ILL, "date", "+%s")) - time.time()) < 60
        assert "Success" in chaos_lab.on(ILL, "consul", "kv", "put", "written", "an hour ahead")
    until("the clock is right", lambda: answers(chaos_lab, ILL) and abs(clock_ahead(chaos_lab, ILL)) < 60)


def test_every_fault_of_the_catalogue_is_seen_in_this_file() -> None:
    text = Path(__file__).read_text()
    assert [fault for fault in CATALOGUE if f'"{fault}"' not in text] == []
