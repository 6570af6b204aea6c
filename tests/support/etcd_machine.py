"""A host for the collection's modules of etcd, without systemd: its unit is a process of the test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import settings_of

__all__ = ["Machine"]


class Machine:
    """Runs etcdctl, and etcd where systemctl is asked for it, with the files that the module wrote."""

    check_mode = False

    def __init__(self, plan_files: Path) -> None:
        self.files = plan_files
        self.process: subprocess.Popen[bytes] | None = None

    def run_command(self, command: list[str], environ_update: Any = None, **_: Any) -> tuple[int, str, str]:
        if command[0] == "systemctl":
            return 0, self.systemctl(command[1]), ""
        done = subprocess.run(
            command, env={**os.environ, **(environ_update or {})}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def systemctl(self, verb: str) -> str:
        if verb in {"stop", "restart"}:
            self.stop()
        if verb in {"start", "restart"}:
            names = {"PATH": os.environ["PATH"]}
            for name in ("etcd.env", "initial.env"):
                names |= settings_of((self.files / name).read_text())
            names |= settings_of((self.files / "etcd.service").read_text().replace("Environment=", ""))
            with (self.files / "log").open("ab") as log:
                self.process = subprocess.Popen(["etcd"], env=names, stdout=log, stderr=log)
        state = "active" if self.process and self.process.poll() is None else "inactive"
        pid = self.process.pid if self.process else 0
        return f"ActiveState={state}\nUnitFileState=enabled\nNRestarts=0\nMainPID={pid}\n"

    def stop(self) -> None:
        """End it as systemd would, and wait."""
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None
