"""``meshnode`` and its alias ``consul``: find the command, import only that, run it.

Exit codes follow Consul's: 0 success, 1 failure, 127 for a command that does not exist; help of a group is 1.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.base.goflags import HelpRequested
from meshnode.base.later import load

__all__ = ["COMMANDS", "main"]

#: Command -> (module with ``run(args) -> int``, one-line synopsis). A group has an empty module name.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "acl": ("", "Interact with Consul's ACLs"),
    "acl bootstrap": ("meshnode.cli.acl_bootstrap", "Bootstrap Consul's ACL system"),
    "acl policy": ("", "Manage Consul's ACL policies"),
    "acl policy create": ("meshnode.cli.acl_policy", "Create an ACL policy"),
    "acl policy delete": ("meshnode.cli.acl_policy", "Delete an ACL policy"),
    "acl policy list": ("meshnode.cli.acl_policy", "List ACL policies"),
    "acl policy read": ("meshnode.cli.acl_policy", "Read an ACL policy"),
    "acl policy update": ("meshnode.cli.acl_policy", "Update an ACL policy"),
    "acl role": ("", "Manage Consul's ACL roles"),
    "acl role create": ("meshnode.cli.acl_role", "Create an ACL role"),
    "acl role delete": ("meshnode.cli.acl_role", "Delete an ACL role"),
    "acl role list": ("meshnode.cli.acl_role", "List ACL roles"),
    "acl role read": ("meshnode.cli.acl_role", "Read an ACL role"),
    "acl role update": ("meshnode.cli.acl_role", "Update an ACL role"),
    "acl set-agent-token": ("meshnode.cli.acl_set_agent_token", "Assign tokens for the agent's use"),
    "acl token": ("", "Manage Consul's ACL tokens"),
    "acl token clone": ("meshnode.cli.acl_token", "Clone an ACL token"),
    "acl token create": ("meshnode.cli.acl_token", "Create an ACL token"),
    "acl token delete": ("meshnode.cli.acl_token", "Delete an ACL token"),
    "acl token list": ("meshnode.cli.acl_token", "List ACL tokens"),
    "acl token read": ("meshnode.cli.acl_token", "Read an ACL token"),
    "acl token update": ("meshnode.cli.acl_token", "Update an ACL token"),
    "acl translate-rules": ("meshnode.cli.acl_translate_rules", "Translate legacy rules into the current syntax"),
    "agent": ("meshnode.cli.agent", "Runs a meshnode agent"),
    "catalog": ("", "Interact with the catalog"),
    "catalog datacenters": ("meshnode.cli.catalog", "Lists all known datacenters"),
    "catalog nodes": ("meshnode.cli.catalog", "Lists all nodes in a datacenter"),
    "catalog services": ("meshnode.cli.catalog", "Lists all registered services in a datacenter"),
    "certs": ("meshnode.cli.certs", "Lists this node's certificates and the days they have left"),
    "config": ("", "Interact with Consul's Centralized Configurations"),
    "config delete": ("meshnode.cli.config_entry", "Delete a centralized config entry"),
    "config list": ("meshnode.cli.config_entry", "List centralized config entries of a given kind"),
    "config read": ("meshnode.cli.config_entry", "Read a centralized config entry"),
    "config write": ("meshnode.cli.config_entry", "Create or update a centralized config entry"),
    "connect": ("", "Interact with Consul Connect"),
    "connect ca": ("", "Interact with the Consul Connect Certificate Authority (CA)"),
    "connect ca get-config": ("meshnode.cli.connect_ca", "Display the current Connect CA configuration"),
    "connect ca rotation": ("meshnode.cli.connect_ca_rotation", "Show or steer a rotation of the CA's root"),
    "connect ca set-config": ("meshnode.cli.connect_ca", "Modify the current Connect CA configuration"),
    "connect connections": ("meshnode.cli.connect_connections", "Lists the connections of this node's proxies"),
    "connect envoy": ("meshnode.cli.connect_envoy", "Runs Envoy as the proxy of a service"),
    "connect proxies": ("meshnode.cli.connect_proxies", "Lists the Envoys of this node and how far each is"),
    "connect proxy": ("meshnode.cli.connect_proxy", "Runs a Consul Connect proxy"),
    "event": ("meshnode.cli.event", "Fire a new event"),
    "exec": ("meshnode.cli.exec", "Executes a command on the nodes of a datacenter"),
    "exposure": ("meshnode.cli.exposure", "Tells which doors of an agent answer whom, as claimed and as it is"),
    "force-leave": ("meshnode.cli.force_leave", "Forces a member of the cluster to enter the \"left\" state"),
    "info": ("meshnode.cli.info", "Provides debugging information for operators"),
    "intention": ("", "Interact with Connect service intentions"),
    "intention check": ("meshnode.cli.intention", "Check whether a connection between two services is allowed"),
    "intention create": ("meshnode.cli.intention_create", "Create intentions for service connections"),
    "intention delete": ("meshnode.cli.intention", "Delete an intention"),
    "intention explain": ("meshnode.cli.intention", "Tell which intention decides, and why"),
    "intention get": ("meshnode.cli.intention", "Show information about an intention"),
    "intention list": ("meshnode.cli.intention", "List intentions"),
    "intention match": ("meshnode.cli.intention", "Show intentions that match a source or destination"),
    "join": ("meshnode.cli.join", "Tell the agent to join a cluster"),
    "keygen": ("meshnode.cli.keygen", "Generates a new encryption key"),
    "keyring": ("meshnode.cli.keyring", "Manages gossip layer encryption keys"),
    "kv": ("", "Interact with the key-value store"),
    "kv delete": ("meshnode.cli.kv_delete", "Removes data from the KV store"),
    "kv export": ("meshnode.cli.kv_export", "Exports a tree from the KV store as JSON"),
    "kv get": ("meshnode.cli.kv_get", "Retrieves or lists data from the KV store"),
    "kv import": ("meshnode.cli.kv_import", "Imports a tree stored as JSON to the KV store"),
    "kv put": ("meshnode.cli.kv_put", "Sets or updates data in the KV store"),
    "leave": ("meshnode.cli.leave", "Gracefully leaves the cluster and shuts down"),
    "lock": ("meshnode.cli.lock", "Execute a command holding a lock"),
    "maint": ("meshnode.cli.maint", "Controls node or service maintenance mode"),
    "members": ("meshnode.cli.members", "Lists the members of a cluster"),
    "monitor": ("meshnode.cli.monitor", "Stream logs from an agent"),
    "operator": ("", "Provides cluster-level tools for operators"),
    "operator autopilot": ("", "Provides tools for modifying Autopilot configuration"),
    "operator autopilot get-config": ("meshnode.cli.operator_autopilot", "Display the Autopilot configuration"),
    "operator autopilot set-config": ("meshnode.cli.operator_autopilot", "Modify the Autopilot configuration"),
    "operator raft": ("", "Provides cluster-level tools for the servers' log"),
    "operator raft list-peers": ("meshnode.cli.operator_raft", "Display the current peers"),
    "operator raft remove-peer": ("meshnode.cli.operator_raft", "Remove a server that is gone for good"),
    "overhead": ("meshnode.cli.overhead", "Measures what encryption costs, in turns at addresses that differ in it"),
    "prove": ("meshnode.cli.prove", "Judges captures: which ports were encrypted, and which leaked"),
    "reload": ("meshnode.cli.reload", "Triggers the agent to reload configuration files"),
    "rtt": ("meshnode.cli.rtt", "Estimates network round trip time between nodes"),
    "services": ("", "Interact with services"),
    "services deregister": ("meshnode.cli.services", "Deregister services with the local agent"),
    "services register": ("meshnode.cli.services", "Register services with the local agent"),
    "snapshot": ("", "Saves, restores and inspects snapshots of Consul server state"),
    "snapshot inspect": ("meshnode.cli.snapshot", "Displays information about a Consul snapshot file"),
    "snapshot restore": ("meshnode.cli.snapshot", "Restores snapshot of Consul server state"),
    "snapshot save": ("meshnode.cli.snapshot", "Saves snapshot of Consul server state"),
    "tap": ("meshnode.cli.tap", "Relays what an agent is told and keeps it, where nobody may capture packets"),
    "tls": ("", "Builtin helpers for creating CAs and certificates"),
    "tls ca": ("", "Helpers for CAs"),
    "tls ca create": ("meshnode.cli.tls", "Create a new CA"),
    "tls cert": ("", "Helpers for certificates"),
    "tls cert create": ("meshnode.cli.tls", "Create a new certificate"),
    "tls-proxy": ("meshnode.cli.tls_proxy", "Ends, begins, bridges or passes on TLS as a file of listeners says"),
    "validate": ("meshnode.cli.validate", "Validate config files/directories"),
    "version": ("meshnode.cli.version", "Prints the version"),
    "watch": ("meshnode.cli.watch", "Watch for changes in Consul"),
}  # fmt: skip

_HELP: Final = frozenset({"-h", "-help", "--help"})
_COMPLETION: Final = frozenset({"-autocomplete-install", "-autocomplete-uninstall"})
#: Commands of Consul that exist there and not here yet: named, so that nobody takes them for a typing error.
NOT_IN_THIS_RELEASE: Final = frozenset({"debug", "login", "logout"})


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
        if isinstance(error.__cause__, KeyboardInterrupt):
            # Ctrl-C in the middle of a class that was being made: Python wraps it.
            return INTERRUPTED
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(f"internal error: {text} (set {TRACEBACK_VARIABLE}=1 for details)", file=sys.stderr)
        return 1


def _dispatch(args: list[str]) -> int:
    if "COMP_LINE" in os.environ:
        # A shell asks what may come next.
        from meshnode.cli.completion_files import answer

        return answer(COMMANDS, os.environ)
    if len(args) == 1 and args[0].replace("--", "-", 1) in _COMPLETION:
        from meshnode.cli.completion_files import install, uninstall

        return (uninstall if args[0].endswith("uninstall") else install)(os.environ, sys.argv[0])
    if args and args[0] in {"-v", "-version", "--version"}:
        args = ["version"]
    if args in ([word] for word in (*_HELP, "help")):
        print(_help(""))
        return 0
    absent = NOT_IN_THIS_RELEASE.intersection((" ".join(args[:1]), " ".join(args[:2])))
    if absent:
        reason = "is a command of Consul that this release of meshnode does not have yet."
        print(f"{min(absent)!r} {reason}", file=sys.stderr)
        return 1
    name, rest = _longest_match(args)
    if not name:
        if args and not args[0].startswith("-"):
            print(_unknown(args[0]), file=sys.stderr)
        print(_help(""), file=sys.stderr)
        return 127
    module = COMMANDS[name][0]
    if not module:
        asked = any(word in _HELP for word in rest)
        if rest and not asked and not rest[0].startswith("-"):
            print(_unknown(rest[0], name), file=sys.stderr)
        print(_help(name), file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 1
    # A module that serves several commands is told which one by the words after the first.
    words = name.split()[1:]
    return int(load(module).run([*words, *rest]))


def _longest_match(args: list[str]) -> tuple[str, list[str]]:
    for length in range(min(3, len(args)), 0, -1):
        name = " ".join(args[:length])
        if name in COMMANDS:
            return name, args[length:]
    return "", args


def _unknown(word: str, group: str = "") -> str:
    from meshnode.base.suggest import closest

    wanted = f"{group} {word}".strip()
    near = closest(word, [name.split()[-1] for name in _below(group)])
    meant = f"{group} {near}".strip()
    return f"There is no command {wanted!r}." + (f" Did you mean {meant!r}?" if near else "") + "\n"


def _below(group: str) -> list[str]:
    depth = len(group.split())
    return sorted(n for n in COMMANDS if n.startswith(group and group + " ") and len(n.split()) == depth + 1)


def _help(group: str) -> str:
    names = _below(group)
    width = max(len(name.split()[-1]) for name in names)
    lines = [f"    {name.split()[-1]:<{width}}    {COMMANDS[name][1]}" for name in names]
    usage = f"Usage: meshnode {group + ' ' if group else ''}[--version] [--help] <command> [<args>]"
    return "\n".join([usage, "", "Available commands are:", *lines])
