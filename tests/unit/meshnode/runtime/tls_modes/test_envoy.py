"""What is told of an Envoy that doesn't live: a script says what one said."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.base.errors import MeshError
from meshnode.runtime.tls_modes.envoy import EnvoyPlane
from meshnode.tls_modes.model import Mode, TlsListener, TlsProxyConfig, TlsUpstream
from tests.support.asynchronous import asynchronous
from tests.support.proxy import local

CRASH = """
[2026-11-21 19:59:48.000][1][critical][assert] [source/common/x.cc:25] assert failure: {reason}
[2026-11-21 19:59:48.000][1][error][envoy_bug] [./source/common/common/assert.h:38] stacktrace for envoy bug
[2026-11-21 19:59:48.000][1][error][envoy_bug] [./source/common/common/assert.h:43] #0 UNKNOWN [0x556ab374822c]
[2026-11-21 19:59:48.000][1][critical][backtrace] [./source/server/b.h:127] Caught Aborted, suspect faulting address 0xf
[2026-11-21 19:59:48.000][1][critical][backtrace] [./source/server/b.h:111] Backtrace (use tools/stack_decode.py):
[2026-11-21 19:59:48.000][1][critical][backtrace] [./source/server/b.h:114] Envoy version: 9e/1.40.0/Clean
[2026-11-21 19:59:48.000][1][critical][backtrace] [./source/server/b.h:120] Address mapping: 556ab0026000-556ab418c000
[2026-11-21 19:59:48.000][1][critical][backtrace] [./source/server/b.h:121] #0: [0x7feaf67fb050]
"""


async def told(folder: Path, reason: str) -> str:
    """The error of a plane whose Envoy crashes for ``reason``."""
    program = folder / "envoy"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{CRASH.format(reason=reason)}\nEND\nkill -ABRT $$\n")
    program.chmod(0o755)
    config = TlsProxyConfig((TlsListener("x", local(1), Mode.PASSTHROUGH, TlsUpstream(local(1))),))
    plane = EnvoyPlane(config, str(program), lambda *_: {}, lambda _: {})
    with pytest.raises(MeshError) as caught:
        await plane.start()
    return str(caught.value)


@asynchronous
async def test_of_a_crash_the_reason_is_told_and_not_the_backtrace(tmp_path: Path) -> None:
    assert await told(tmp_path, "it is full") == "Envoy has ended with signal 6: assert failure: it is full"


@asynchronous
async def test_a_kernel_that_lets_nobody_watch_more_files_is_named_with_the_setting(tmp_path: Path) -> None:
    found = await told(tmp_path, "inotify_fd_ >= 0. Details: Consider increasing value of it")
    assert found.startswith("Envoy has ended with signal 6: this user's programs watch as many files as")
    assert "sysctl fs.inotify.max_user_instances=1024" in found
    assert found.endswith("inotify_fd_ >= 0. Details: Consider increasing value of it")
