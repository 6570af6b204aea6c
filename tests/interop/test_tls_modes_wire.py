"""What is on the wire of each leg of each TLS mode: readable where the mode says so, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_tls_modes import PLANES
from tests.support.programs import can_capture, excuse, needs
from tests.support.tls_modes import Files, curl, echo, tls_proxy
from tests.support.wire import CANARY, captured

pytestmark = [needs("envoy", "curl", "tcpdump"), excuse("capture", unless=can_capture())]

#: Mode -> whether its outer and its inner leg are readable.
READABLE = {
    "terminate": (False, True),
    "bridge": (False, False),
    "originate": (True, False),
    "passthrough": (False, False),
}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("mode", READABLE)
def test_a_leg_is_readable_where_the_mode_says_so_and_only_there(
    tmp_path: Path, mode: str, plane: str
) -> None:
    files = Files(tmp_path)
    pair = files.pair("service", "service-https")
    with echo(*(() if mode == "terminate" else pair)) as service:
        upstream: dict[str, Any] = {"address": service.address}
        if mode in ("bridge", "originate"):
            upstream |= {"ca_file": files.ca_file, "server_name": "service-https"}
        one: dict[str, Any] = {"mode": mode, "upstream": upstream}
        if mode in ("terminate", "bridge"):
            one["certificate"] = files.certificate()
        with tls_proxy(tmp_path, plane, {"one": one}) as proxy:
            outer, inner = proxy.ports["one"], service.port
            with captured(tmp_path, outer, inner) as wire:
                scheme = "http" if mode == "originate" else "https"
                assert curl("-k", f"{scheme}://localhost:{outer}/{CANARY}").returncode == 0
    found = {verdict.port: verdict for verdict in wire.judge(outer, inner)}
    for port, readable in zip((outer, inner), READABLE[mode], strict=True):
        assert found[port].judgement == ("plaintext" if readable else "encrypted")
        assert bool(found[port].canaries) is readable
