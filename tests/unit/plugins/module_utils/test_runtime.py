"""How a node boots systemd is chosen from what the engine says."""

from __future__ import annotations

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._runtime import (
    TMPFS,
    cgroup_namespace,
    choose_mode,
    host_options,
)


@pytest.mark.parametrize(
    ("wanted", "cgroup", "engine", "mode"),
    [
        ("auto", "1", "20.10.24+dfsg1", "private"),
        ("auto", "1", "28.2.2", "private"),
        ("auto", "2", "20.10.24+dfsg1", "host"),
        ("auto", "2", "27.5.1", "host"),
        ("auto", "2", "28.0.0", "writable"),
        ("auto", "2", "29.1.0-rc.1", "writable"),
        ("auto", "2", "unknown", "host"),
        ("privileged", "1", "20.10.24", "privileged"),
    ],
)
def test_the_mode_follows_the_engine(wanted: str, cgroup: str, engine: str, mode: str) -> None:
    assert choose_mode(wanted, cgroup, engine) == mode


@pytest.mark.parametrize("mode", ["private", "writable", "host", "privileged"])
def test_only_the_mode_that_needs_it_touches_the_hosts_cgroups(mode: str) -> None:
    options = host_options(mode, [])
    assert options["tmpfs"] == TMPFS
    assert ("binds" in options) == (mode == "host")
    assert cgroup_namespace(mode) == ("host" if mode == "host" else "private")
    assert ("writable-cgroups=true" in options["security_opt"]) == (mode == "writable")
    assert options.get("privileged", False) == (mode == "privileged")


def test_apparmor_lets_systemd_mount() -> None:
    assert host_options("private", ["name=apparmor", "name=seccomp,profile=default"])["security_opt"] == [
        "apparmor=unconfined"
    ]
    assert host_options("private", ["name=seccomp,profile=default"])["security_opt"] == []
