"""A proxy of each mode from outside: its unit, its files, where it listens, and what it believes."""

from __future__ import annotations

import json
from typing import Any

testinfra_hosts = ["ansible://tls_proxies"]

FOLDER = "/etc/meshnode/tls"


def test_it_runs_as_a_user_that_may_do_nothing_else(host: Any) -> None:
    unit = host.service("tls-proxy")
    assert (unit.is_running, unit.is_enabled) == (True, True)
    # A proxy that died once and was started again by systemd is in order: NRestarts would keep that for ever.
    shown = host.check_output("systemctl show tls-proxy -p User -p NoNewPrivileges -p ProtectSystem")
    assert set(shown.split()) == {"User=mesh-tls", "NoNewPrivileges=yes", "ProtectSystem=strict"}


def test_it_listens_where_clients_come_in_and_nowhere_else(host: Any) -> None:
    uid = host.check_output("id -u mesh-tls")
    rows = [row.split() for row in host.check_output("ss -H -ltnue").splitlines()]
    assert {row[4] for row in rows if f"uid:{uid}" in row} == {"0.0.0.0:10000"}


def test_the_key_is_for_the_proxy_alone(host: Any) -> None:
    key = host.file(f"{FOLDER}/tls.key")
    assert (key.user, oct(key.mode)) == ("mesh-tls", "0o600")
    for name in ("tls.cert", "ca.cert", "proxy.json"):
        file = host.file(f"{FOLDER}/{name}")
        assert (file.user, file.group, oct(file.mode)) == ("root", "mesh-tls", "0o640")


def test_the_mode_is_the_inventory_s_and_upstreams_are_checked(host: Any, variables: dict[str, Any]) -> None:
    mode = variables["tls_mode"]
    (one,) = json.loads(host.file(f"{FOLDER}/proxy.json").content_string)["listener"].values()
    assert one["mode"] == mode
    assert ("certificate" in one) == (mode in ("terminate", "bridge"))
    assert ("ca_file" in one["upstream"]) == (mode in ("bridge", "originate"))
    assert "insecure_skip_verify" not in one["upstream"]


def test_no_secret_is_in_a_command_line(host: Any) -> None:
    line = host.check_output(f"sed -n 2p {FOLDER}/tls.key")
    words = host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert line
    assert line not in words
