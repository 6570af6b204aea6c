"""A mesh whose agents stand behind taps: the same verdicts as of captures, said to be weaker, without any privilege."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh_agent import CLEAN, MESHNODE, Mesh, run_mesh, wait
from tests.support.programs import excuse, needs

WORD = "canarybehindataptap1"
NODES = ("s1", "c1")
CLEAR: Mapping[str, Any] = {
    **dict.fromkeys(("encrypt", "ca_file", "cert_file", "key_file"), None),
    **dict.fromkeys(("verify_incoming", "verify_outgoing", "verify_server_hostname", "ports"), None),
}
pytestmark = [excuse("loopback", unless=sys.platform == "linux"), needs("curl"), pytest.mark.timeout(180)]


@contextlib.contextmanager
def tap(listen: str, target: str, file: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [MESHNODE, "tap", f"-listen={listen}", f"-to={target}", *flags, str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=CLEAN,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"Relaying {listen} to {target}; end it with Ctrl-C.\n"
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def tapped(folder: Path, **config: Any) -> tuple[list[Path], Path]:
    """Captures of taps in front of a server and a client, through which an event with the canary went."""
    folder.mkdir()
    with Mesh.new(folder) as mesh, contextlib.ExitStack() as stack:
        files = []
        for number, name in enumerate(NODES, 1):
            shown, bound = f"{mesh.network}.{number}", f"{mesh.network}.{100 + number}"
            files.append(folder / f"{name}.pcapng")
            stack.enter_context(tap(shown, bound, files[-1]))
            role = (
                {"server": True, "bootstrap_expect": 1}
                if number == 1
                else {"retry_join": [f"{mesh.network}.1"]}
            )
            agent = mesh.add(name, number, **{**role, "bind_addr": bound, "advertise_addr": shown, **config})
            agent.launch()
        mesh.wait_alive(*NODES)
        wait(lambda: mesh.leader(*NODES), "there is a leader")
        assert mesh["c1"].cli("event", f"-name={WORD}").returncode == 0
        # It went to the server by a call, and comes back by gossip.
        wait(lambda: WORD in mesh["c1"].api("/v1/event/list")[1], "the event is heard")
        (folder / "keys.json").write_text(json.dumps([mesh.key]))
        for agent in mesh.agents.values():
            agent.kill()
    return files, folder / "keys.json"


@pytest.fixture(scope="module")
def taps(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path], Path]:
    folder = tmp_path_factory.mktemp("tap")
    sealed, keys = tapped(folder / "sealed")
    clear, _ = tapped(folder / "clear", **CLEAR)
    return sealed, clear, keys


def judged(mesh: list[Path], control: list[Path], keys: Path, *more: str) -> tuple[int, dict[str, Any]]:
    flags = [f"-control={path}" for path in control]
    done = run_mesh(
        "prove", "-json", "-ports=8300,8301", "-require=8300,8301", f"-canary={WORD}", f"-gossip-keyring={keys}",
        *flags, *more, *map(str, mesh),
    )  # fmt: skip
    assert not done.stderr, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, content


def test_a_mesh_behind_taps_is_proved_and_the_evidence_is_said_to_be_weaker(
    taps: tuple[list[Path], list[Path], Path],
) -> None:
    sealed, clear, keys = taps
    page = sealed[0].with_name("bundle")
    code, content = judged(sealed, clear, keys, f"-bundle={page}")
    assert (code, content["outcome"]) == (0, "proved"), content["reasons"]
    assert content["reasons"][-1].startswith(
        "this was seen at sockets, by a tap, and not on the wire: weaker evidence"
    )
    assert {one["tapped"] for one in content["captures"]} == {True}
    assert {one["port"]: one["judgement"] for one in content["verdicts"]} == {
        8300: "encrypted",
        8301: "encrypted",
    }
    assert "Weaker evidence" in (page / "report.html").read_text()
    assert run_mesh("prove", f"-verify={page}", f"-gossip-keyring={keys}").returncode == 0


def test_the_twin_in_clear_shows_the_canary_at_its_taps(taps: tuple[list[Path], list[Path], Path]) -> None:
    _, clear, keys = taps
    code, content = judged(clear, [], keys, "-no-control")
    assert (code, content["outcome"]) == (2, "failed")
    assert {one["port"]: one["canaries"] for one in content["verdicts"]} == {8300: [WORD], 8301: [WORD]}


def test_a_file_that_was_full_too_early_proves_nothing(tmp_path: Path) -> None:
    with Mesh.new(tmp_path) as mesh:
        shown, bound = f"{mesh.network}.1", f"{mesh.network}.101"
        file = tmp_path / "full.pcapng"
        app = subprocess.Popen(
            [sys.executable, "-m", "http.server", "8300", "--bind", bound, "--directory", str(tmp_path)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        (tmp_path / "large").write_bytes(bytes(2 << 20))
        try:
            with tap(shown, bound, file, "-max-mib=1", "-ports=8300") as process:
                done = [
                    "curl",
                    "-sf",
                    "--retry",
                    "9",
                    "--retry-all-errors",
                    "-o",
                    "/dev/null",
                    f"http://{shown}:8300/large",
                ]
                assert subprocess.run(done, check=False, env=CLEAN).returncode == 0
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 3
        finally:
            app.kill()
            app.wait()
        assert file.stat().st_size <= (1 << 20) + 8
        found = run_mesh("prove", "-no-control", "-ports=9", str(file))
        assert found.returncode == 3
        assert "is cut short after frame" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-listen=127.0.0.1", "-to=127.0.0.2"], "tap: name the one file to write"),
        (["-listen=here", "-to=127.0.0.2", "FILE"], "-listen: 'here' is not an IP address"),
        (["-listen=127.0.0.1", "-to=127.0.0.1", "FILE"], "-to: it is -listen's own address"),
        (
            ["-listen=127.0.0.1", "-to=127.0.0.2", "-ports=x", "FILE"],
            "-ports: 'x' is not a list of port numbers",
        ),
        (["-listen=127.0.0.1", "-to=127.0.0.2", "/nowhere/x"], "can't write /nowhere/x"),
        (["-listen=192.0.2.1", "-to=127.0.0.2", "FILE"], "can't listen at 192.0.2.1:8300"),
    ],
)
def test_wrong_input_is_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_mesh("tap", *[str(tmp_path / "x.pcapng") if one == "FILE" else one for one in arguments])
    assert done.returncode == 1
    assert message in done.stderr
