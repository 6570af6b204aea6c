"""The command around the agent: what it prints, what it refuses. Its life is in ``tests/interop``."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.agent.config import load
from meshnode.cli.agent import banner

ID = "b54fe110-7af5-cafc-d1fb-afc8ba432b1c"


def test_the_banner_is_consuls() -> None:
    arguments = [
        "-server",
        "-bootstrap",
        "-bind=172.17.0.2",
        "-data-dir=/tmp/none",
        "-node=n1",
        "-client=127.0.0.1",
    ]
    config = load(arguments, {}).config
    assert banner(config, ID, encrypted=True) == (
        "==> Consul agent running!\n"
        "           Version: 'v1.2.3'\n"
        f"           Node ID: '{ID}'\n"
        "         Node name: 'n1'\n"
        "        Datacenter: 'dc1' (Segment: '<all>')\n"
        "            Server: true (Bootstrap: true)\n"
        "       Client Addr: [127.0.0.1] (HTTP: 8500, HTTPS: -1, DNS: 8600)\n"
        "      Cluster Addr: 172.17.0.2 (LAN: 8301, WAN: 8302)\n"
        "           Encrypt: Gossip: true, TLS-Outgoing: false, TLS-Incoming: false\n"
        "\n"
        "==> Log data will now stream in as it occurs:\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [["-nonsense"], ["word"], ["-config-file=/nowhere.json"], ["-dev", "-bind=no.address"], ["-dev", "-log-level=loud"],
     ["-dev", "-hcl=enable_syslog = true", "-hcl=syslog_facility = \"LOUD\""]],
)  # fmt: skip
def test_what_cannot_be_started_is_said_and_fails(run: Any, arguments: list[str]) -> None:
    done = run("agent", *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("==> ")
    assert "Traceback" not in done.err
