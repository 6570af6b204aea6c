"""``python -m meshnode`` is the ``meshnode`` command; so are the programs that ``pip`` installs."""

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process; returns its exit code.

    Ctrl-C while modules are still being loaded ends the process by that signal, silently, as it ends a program
    that has no loading to do; later it is the command's.
    """
    loading = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if loading:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from meshnode.cli.main import main as run

    if loading:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
