"""The process that cleans up when the test's process dies without doing so, by SIGKILL for example.

Run as a script, on the standard library alone. Its argument is the mesh's directory; lines on its standard input are
the process IDs of agents. The end of its input is the end of the test's process: the agents that still run are killed
and the directory goes. A process is taken for an agent only if its command line names a file in that directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys

__all__ = ["main"]


def main(directory: str) -> None:
    """Wait for the end of the input, then clean up."""
    agents = [int(line) for line in sys.stdin]
    for pid in agents:
        if directory in _command_line(pid):
            # It may have ended by itself just now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


def _command_line(pid: int) -> str:
    asked = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    main(sys.argv[1])
