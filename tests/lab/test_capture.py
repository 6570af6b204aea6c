"""Captures prove what the mesh claims: an encrypted mesh shows no canary, its twin in clear shows every one.

Two small labs, brought up side by side and judged in the order of this file; each run is ``ansible-playbook``'s.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.labs import MAX_REMOTE_CALLS, Lab, private_copy
from tests.support.programs import skip

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class CaptureLab(Lab):
    """A lab whose traffic is captured."""

    @property
    def artifacts(self) -> Path:
        return self.checkout / "artifacts" / self.name

    @property
    def verdict(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.artifacts / "verdict.json").read_text())
        return loaded

    def judged(self, port: int) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in self.verdict["verdicts"] if one["port"] == port)
        return found

    @property
    def key(self) -> str:
        return str(json.loads((self.store / "gossip.json").read_text())["keys"][0]["key"])

    def start(self, playbook: str, *more: str, **variables: Any) -> subprocess.Popen[str]:
        """Begin to play one playbook, and more in the same run."""
        # A file, for a key would be in the list of processes otherwise.
        given = self.inventory.with_suffix(".json")
        given.write_text(json.dumps({"mesh_capture_artifacts": str(self.artifacts), **variables}))
        others = [str(self.checkout / other) for other in more]
        return subprocess.Popen(
            self.command(*others, "-vvv", f"-e@{given}", playbook=playbook),
            env=self.environment, cwd=self.checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def prove(self, word: str, *, fails: bool = False, **variables: Any) -> str:
        """Capture with canaries of every kind; with a control the evidence is kept in a bundle."""
        given = {"mesh_capture_seconds": 2, "mesh_capture_canary": word, **variables}
        done = self.start("playbooks/prove.yml", **given)
        output = done.communicate(timeout=120)[0]
        assert (done.returncode != 0) is fails, output[-8000:]
        return " ".join(output.replace("\\n", " ").split())

    def levels(self) -> dict[tuple[int, str, str], str]:
        """Port, names of both nodes -> the level of what the first says to the second on the wire."""
        summary = self.summary("client1")
        names = summary["nodes"]
        return {
            (row["port"], names.get(row["source"], ""), names.get(row["destination"], "")): row["level"]
            for row in summary["rows"]
            if row["direction"] == "between"
        }

    def summary(self, node: str) -> dict[str, Any]:
        """What the agent of ``node`` shows as the latest proof."""
        command = ["docker", "exec", f"{self.name}-{node}", "consul", "kv", "get", "meshnode/proof/latest"]
        found: dict[str, Any] = json.loads(
            subprocess.run(command, capture_output=True, check=True, text=True).stdout
        )
        return found

    def capture(self, *, fails: bool = False, **variables: Any) -> str:
        done = self.start("playbooks/capture.yml", **{"mesh_capture_seconds": 2, **variables})
        output = done.communicate(timeout=120)[0]
        assert (done.returncode != 0) is fails, output[-8000:]
        return " ".join(output.replace("\\n", " ").split())


def capture_lab(checkout: Path, inventory: str, name: str, network: str, port: int) -> CaptureLab:
    copied = private_copy(checkout, inventory, name, network, port)
    return CaptureLab(copied.name, copied.checkout)


@pytest.fixture(scope="module")
def labs(checkout: Path) -> Iterator[tuple[CaptureLab, CaptureLab]]:
    """An encrypted mesh, and its twin in clear."""
    found = (
        capture_lab(checkout, "quickstart", "sealtest", "172.28.241", 18448),
        capture_lab(checkout, "plaintext", "cleartest", "172.28.242", 18449),
    )
    try:
        together(found, "playbooks/lab_down.yml", "site.yml")
        yield found
    finally:
        together(found, "playbooks/lab_down.yml")


def together(labs: tuple[CaptureLab, CaptureLab], *playbooks: str) -> None:
    running = [lab.start(*playbooks) for lab in labs]
    outputs = [one.communicate(timeout=250)[0] for one in running]
    for one, output in zip(running, outputs, strict=True):
        assert one.returncode == 0, output[-8000:]


@pytest.fixture
def sealed(labs: tuple[CaptureLab, CaptureLab]) -> CaptureLab:
    return labs[0]


@pytest.fixture
def clear(labs: tuple[CaptureLab, CaptureLab]) -> CaptureLab:
    return labs[1]


def test_an_encrypted_mesh_is_proved_and_every_gossip_frame_is_opened(sealed: CaptureLab) -> None:
    output = sealed.capture()
    # The last two are sidecars': web talks to socat on the other node, and frontend to api.
    assert "PROVED: everything on ports 8300, 8301, 10443, 21000, 21001 is encrypted" in output
    assert "1 travelled inside sealed gossip" in output
    assert sealed.key not in output
    for node in ("server1", "client1", "client2"):
        assert len(re.findall(rf"<sealtest-{node}> (?:EXEC|PUT|FETCH)", output)) <= MAX_REMOTE_CALLS
    assert {one["port"]: one["judgement"] for one in sealed.verdict["verdicts"]} == {
        8300: "encrypted", 8301: "encrypted", 8302: "silent", 8500: "silent", 10443: "encrypted",
        21000: "encrypted", 21001: "encrypted",
    }  # fmt: skip
    assert {kind["kind"] for kind in sealed.judged(8301)["findings"]} == {"sealed"}
    assert [one["canaries"] for one in sealed.verdict["verdicts"]] == [[]] * 7
    assert len(sealed.judged(8301)["sealed_canaries"]) == 1
    assert sealed.judged(10443)["versions"] == ["TLS 1.3"]
    assert "PROVED" in (sealed.artifacts / "verdict.txt").read_text()


def test_the_twin_in_clear_shows_the_canary_on_each_port(clear: CaptureLab) -> None:
    output = clear.capture(mesh_capture_canary="canaryinclear42")
    assert "PROVED: the control finds every canary in clear, on ports 8300, 8301, 8500." in output
    for port in (8300, 8301, 8500):
        assert clear.judged(port)["canaries"] == ["canaryinclear42"]
        dump = "".join(line[9:48].replace(" ", "") for line in clear.judged(port)["excerpt"]["dump"])
        assert b"canaryinclear42".hex() in dump


def test_the_twin_judged_as_an_encrypted_mesh_fails_and_names_the_ports(clear: CaptureLab) -> None:
    files = [str(clear.artifacts / f"{node}.pcap") for node in ("server1", "client1", "client2")]
    command = [sys.executable, "-m", "meshnode", "prove", "-canary", "canaryinclear42", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    last = done.stdout.splitlines()[-1]
    assert last.startswith("FAILED: ")
    assert all(f"port {port} shows 1 canary in clear" in last for port in (8300, 8301, 8500))


def test_the_bridge_of_the_lab_shows_the_same_and_a_leak_fails_the_playbook(clear: CaptureLab) -> None:
    if os.geteuid() != 0:
        skip("bridge")
    output = clear.capture(mesh_capture_where="bridge", mesh_capture_expect="encrypted", fails=True)
    assert "FAILED: port 8300 shows 1 canary in clear; port 8301 shows 1 canary in clear" in output
    assert (clear.artifacts / "bridge.pcap").stat().st_size > 10_000


def test_on_the_bridge_an_encrypted_mesh_is_proved_for_the_ports_that_are_asked_for(
    sealed: CaptureLab,
) -> None:
    if os.geteuid() != 0:
        skip("bridge")
    output = sealed.capture(
        mesh_capture_where="bridge",
        mesh_capture_ports=[8300, 8301],
        mesh_capture_sidecars=False,
        # A key from elsewhere, which goes through a pipe and into no output, however much of it is asked for.
        mesh_capture_gossip_key=sealed.key,
        mesh_capture_gossip_keyring="/nowhere",
    )
    assert sealed.key not in output
    assert "PROVED: everything on ports 8300, 8301 is encrypted" in output
    assert [one["port"] for one in sealed.verdict["verdicts"]] == [8300, 8301]


def on(lab: CaptureLab, node: str, command: str) -> None:
    subprocess.run(["docker", "exec", f"{lab.name}-{node}", "sh", "-c", command], check=True)


WORD = "canaryprovedhere1"


def test_the_lab_is_proved_by_its_twin_and_every_agent_can_show_it(
    sealed: CaptureLab, clear: CaptureLab
) -> None:
    clear.prove(WORD)
    output = sealed.prove(WORD, mesh_prove_control=str(clear.artifacts))
    assert "the control finds every canary in clear" in output
    assert sealed.key not in output
    bundle = sealed.artifacts / "evidence.tar.gz"
    verified = prove("-verify", str(bundle), "-gossip-keyring", str(sealed.store / "gossip.json"))
    assert verified.returncode == 0, verified.stdout
    summary = sealed.summary("client2")
    assert (summary["outcome"], summary["control"]["outcome"]) == ("proved", "proved")
    assert summary["bundle"]["file"] == "evidence.tar.gz"
    assert summary["bundle"]["manifest_sha256"] in verified.stdout
    assert summary["canaries"] == 3
    assert WORD not in json.dumps(summary)
    assert {level for (port, *_), level in sealed.levels().items() if port == 8301} == {
        "encrypted and authenticated"
    }


def test_a_changed_byte_of_the_evidence_is_noticed(sealed: CaptureLab, tmp_path: Path) -> None:
    content = bytearray(gzip.decompress((sealed.artifacts / "evidence.tar.gz").read_bytes()))
    content[len(content) // 2] ^= 1
    (tmp_path / "changed.tar.gz").write_bytes(gzip.compress(bytes(content)))
    keys = str(sealed.store / "gossip.json")
    changed = prove("-verify", str(tmp_path / "changed.tar.gz"), "-gossip-keyring", keys)
    assert changed.returncode == 1
    assert "CHANGED: " in changed.stdout


def test_one_node_that_is_set_up_wrongly_flips_exactly_its_own_rows(
    sealed: CaptureLab, clear: CaptureLab
) -> None:
    wrong = "/etc/consul.d/zz-wrong.json"
    try:
        for node in ("server1", "client1", "client2"):
            # As in the middle of a migration: all take gossip in clear, and one sends it.
            content = {"encrypt_verify_incoming": False, "encrypt_verify_outgoing": node != "client2"}
            on(sealed, node, f"echo '{json.dumps(content)}' >{wrong} && chmod 644 {wrong} && consul reload")
        output = sealed.prove(WORD, fails=True, mesh_prove_control=str(clear.artifacts))
        assert "FAILED: port 8301" in output
        gossip = {pair[1:]: level for pair, level in sealed.levels().items() if pair[0] == 8301}
        assert {pair for pair, level in gossip.items() if level == "plaintext"} == {
            ("client2", "server1"),
            ("client2", "client1"),
        }
        assert {level for pair, level in gossip.items() if pair[0] != "client2"} == {
            "encrypted and authenticated"
        }
        assert sealed.summary("server1")["outcome"] == "failed"
    finally:
        for node in ("server1", "client1", "client2"):
            on(sealed, node, f"rm -f {wrong} && consul reload")


def prove(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meshnode", "prove", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_wrong_interface_is_void_with_the_ones_that_there_are(clear: CaptureLab) -> None:
    output = clear.capture(mesh_capture_interface="eth7", fails=True)
    assert "VOID: this run proves nothing." in output
    assert "client1: there is no interface eth7 here, only: eth0 lo" in output


def test_a_node_without_tcpdump_is_named(clear: CaptureLab) -> None:
    on(clear, "client2", "mv /usr/bin/tcpdump /usr/bin/tcpdump.away")
    try:
        output = clear.capture(fails=True)
    finally:
        on(clear, "client2", "mv /usr/bin/tcpdump.away /usr/bin/tcpdump")
    assert "VOID: this run proves nothing. client2: tcpdump is not installed here" in output


def test_a_full_disk_is_void(clear: CaptureLab) -> None:
    on(clear, "server1", "mkdir -p /srv/tiny && mount -t tmpfs -o size=16k tmpfs /srv/tiny")
    try:
        output = clear.capture(mesh_capture_dir="/srv/tiny", fails=True)
    finally:
        on(clear, "server1", "umount /srv/tiny")
    assert "VOID: this run proves nothing. server1: tcpdump captured " in output
    assert "is the disk full?" in output


def test_ports_without_traffic_are_void(clear: CaptureLab) -> None:
    output = clear.capture(mesh_capture_ports=[9], mesh_capture_seconds=0, fails=True)
    assert "VOID: no payload was captured on port 9" in output


def test_no_tcpdump_is_left_behind(labs: tuple[CaptureLab, CaptureLab]) -> None:
    for lab in labs:
        for node in ("server1", "client1", "client2"):
            on(lab, node, "! pgrep tcpdump")
