"""The process that cleans up when the test's process dies without doing so, by SIGKILL for example.

Run as a script, on the standard library alone. Its argument is the mesh's directory; lines on its standard input are
the process IDs of agents. The end of its input is the end of the test's process: the agents that still run are killed
and the directory goes. A process is taken for an agent only if its command line names a file in that directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["end_proxies", "main"]


def main(directory: str) -> None:
    """Wait for the end of the input, then clean up."""
    agents = [int(line) for line in sys.stdin]
    for pid in agents:
        if directory in _command_line(pid):
            # It may have ended by itself just now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    end_proxies(directory)
    shutil.rmtree(directory, ignore_errors=True)


def end_proxies(directory: str) -> None:
    """Kill the managed proxies that the agents of a mesh have left running: they are made to outlive an agent."""
    for snapshot in Path(directory).glob("*/proxy/snapshot.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            for row in json.loads(snapshot.read_text())["Proxies"].values():
                if _started(row["Config"]["Pid"]) == row["Config"]["Started"]:
                    os.killpg(row["Config"]["Pid"], signal.SIGKILL)


def _started(pid: int) -> int:
    """When a process began, in the kernel's ticks (proc(5), stat); 0 when it isn't there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def _command_line(pid: int) -> str:
    # Linux has it in a file, and not everywhere the program; other systems have the program.
    if os.path.exists("/proc/self/cmdline"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as stream:
            return os.fsdecode(stream.read().replace(b"\0", b" "))
        return ""
    asked = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    main(sys.argv[1])
