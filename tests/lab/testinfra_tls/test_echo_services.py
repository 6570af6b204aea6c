"""The echo services from outside."""

from __future__ import annotations

from typing import Any

testinfra_hosts = ["ansible://tls_services"]


def test_it_runs_as_a_user_that_may_do_nothing_else(host: Any) -> None:
    unit = host.service("tls-echo")
    assert (unit.is_running, unit.is_enabled) == (True, True)
    shown = host.check_output("systemctl show tls-echo -p User -p NoNewPrivileges -p ProtectSystem")
    assert set(shown.split()) == {"User=mesh-tls", "NoNewPrivileges=yes", "ProtectSystem=strict"}


def test_it_listens_on_its_one_port(host: Any, variables: dict[str, Any]) -> None:
    rows = host.check_output("ss -H -ltnu").splitlines()
    ports = {row.split()[4].rpartition(":")[2] for row in rows}
    assert str(variables["tls_proxy_echo_port"]) in ports
    assert ports <= {str(variables["tls_proxy_echo_port"])} | {port for port in ports if int(port) > 1024}
