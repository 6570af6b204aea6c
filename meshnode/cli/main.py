"""``meshnode`` and its alias ``consul``: find the command, import only that, run it.

Exit codes follow Consul's: 0 success, 1 failure, 127 for a command that does not exist; help of a group is 1.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.base.goflags import HelpRequested

__all__ = ["COMMANDS", "main"]

#: Command -> (module with ``run(args) -> int``, one-line synopsis). A group has an empty module name.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "agent": ("meshnode.cli.agent", "Runs a meshnode agent"),
    "event": ("meshnode.cli.event", "Fire a new event"),
    "exec": ("meshnode.cli.exec", "Executes a command on the nodes of a datacenter"),
    "force-leave": ("meshnode.cli.force_leave", "Forces a member of the cluster to enter the \"left\" state"),
    "info": ("meshnode.cli.info", "Provides debugging information for operators"),
    "join": ("meshnode.cli.join", "Tell the agent to join a cluster"),
    "keygen": ("meshnode.cli.keygen", "Generates a new encryption key"),
    "keyring": ("meshnode.cli.keyring", "Manages gossip layer encryption keys"),
    "leave": ("meshnode.cli.leave", "Gracefully leaves the cluster and shuts down"),
    "lock": ("meshnode.cli.lock", "Execute a command holding a lock"),
    "members": ("meshnode.cli.members", "Lists the members of a cluster"),
    "monitor": ("meshnode.cli.monitor", "Stream logs from an agent"),
    "prove": ("meshnode.cli.prove", "Judges captures: which ports were encrypted, and which leaked"),
    "reload": ("meshnode.cli.reload", "Triggers the agent to reload configuration files"),
    "tls": ("", "Builtin helpers for creating CAs and certificates"),
    "tls ca": ("", "Helpers for CAs"),
    "tls ca create": ("meshnode.cli.tls", "Create a new CA"),
    "tls cert": ("", "Helpers for certificates"),
    "tls cert create": ("meshnode.cli.tls", "Create a new certificate"),
    "validate": ("meshnode.cli.validate", "Validate config files/directories"),
    "version": ("meshnode.cli.version", "Prints the version"),
    "watch": ("meshnode.cli.watch", "Watch for changes in Consul"),
}  # fmt: skip

_HELP: Final = frozenset({"-h", "-help", "--help"})
#: Commands of Consul that exist there and not here yet: named, so that nobody takes them for a typing error.
NOT_IN_THIS_RELEASE: Final = frozenset(
    {
        "acl",
        "catalog",
        "config",
        "connect",
        "debug",
        "intention",
        "kv",
        "login",
        "logout",
        "maint",
    }
    | {"operator", "rtt", "services", "snapshot"}
)


#: Set to 1 to see where an internal error comes from.
TRACEBACK_VARIABLE: Final = "MESHNODE_TRACEBACK"
#: Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it.
INTERRUPTED: Final = 130


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv`` (without the program name); returns the exit code, whatever happens."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(args)
        sys.stdout.flush()
        return code
    except HelpRequested as usage:
        print(usage, end="")
        return 0
    except MeshError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Who read us is gone. What Python still holds for it must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            raise
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(f"internal error: {text} (set {TRACEBACK_VARIABLE}=1 for details)", file=sys.stderr)
        return 1


def _dispatch(args: list[str]) -> int:
    if args and args[0] in {"-v", "-version", "--version"}:
        args = ["version"]
    if args in ([word] for word in (*_HELP, "help")):
        print(_help(""))
        return 0
    name, rest = _longest_match(args)
    if not name:
        if args and args[0] in NOT_IN_THIS_RELEASE:
            print(
                f"{args[0]!r} is a command of Consul that this release of meshnode does not have yet.",
                file=sys.stderr,
            )
            return 1
        if args and not args[0].startswith("-"):
            print(_unknown(args[0]), file=sys.stderr)
        print(_help(""), file=sys.stderr)
        return 127
    module = COMMANDS[name][0]
    if not module:
        asked = any(word in _HELP for word in rest)
        print(_help(name), file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 1
    # A module that serves several commands is told which one by the words after the first.
    words = name.split()[1:]
    return int(import_module(module).run([*words, *rest]))


def _longest_match(args: list[str]) -> tuple[str, list[str]]:
    for length in range(min(3, len(args)), 0, -1):
        name = " ".join(args[:length])
        if name in COMMANDS:
            return name, args[length:]
    return "", args


def _unknown(word: str) -> str:
    from meshnode.base.suggest import closest

    near = closest(word, [name for name in COMMANDS if " " not in name])
    return f"There is no command {word!r}." + (f" Did you mean {near!r}?" if near else "") + "\n"


def _help(group: str) -> str:
    depth = len(group.split())
    names = sorted(n for n in COMMANDS if n.startswith(group and group + " ") and len(n.split()) == depth + 1)
    width = max(len(name.split()[-1]) for name in names)
    lines = [f"    {name.split()[-1]:<{width}}    {COMMANDS[name][1]}" for name in names]
    usage = f"Usage: meshnode {group + ' ' if group else ''}[--version] [--help] <command> [<args>]"
    return "\n".join([usage, "", "Available commands are:", *lines])
