"""The real Vault, or OpenBao, where one is on the path: in development mode, which keeps nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.vault_server import TOKEN
from tests.support.waiting import until

__all__ = ["BINARY", "ask", "real_vault"]

#: The program, if there is one.
BINARY = shutil.which("vault") or shutil.which("bao")


def ask(address: str, method: str, path: str, body: dict[str, Any]) -> Any:
    """What whoever runs Vault does, with the root token: the answer, ``None`` when it is empty."""
    request = urllib.request.Request(
        f"{address}/v1/{path}", json.dumps(body).encode(), {"X-Vault-Token": TOKEN}, method=method
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        content = answer.read()
    return json.loads(content) if content else None


@contextmanager
def real_vault(directory: Path, host: str) -> Iterator[str]:
    """The address of the program in its development mode, whose root token is :data:`TOKEN`."""
    assert BINARY is not None
    address, port = f"http://{host}:8200", "8200"
    command = [BINARY, "server", "-dev", f"-dev-root-token-id={TOKEN}", f"-dev-listen-address={host}:{port}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    with (directory / "vault.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    async def is_up() -> bool:
        assert process.poll() is None, (directory / "vault.log").read_text()
        try:
            with urllib.request.urlopen(f"{address}/v1/sys/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    try:
        asyncio.run(until(is_up, f"{BINARY} runs", 30))
        yield address
    finally:
        process.kill()
        process.wait()
