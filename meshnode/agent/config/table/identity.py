"""Who this node is, where it keeps its state, how it leaves."""

from __future__ import annotations

from typing import Final

from meshnode.agent.config.key import Key, Kind, Noted, Refused
from meshnode.agent.config.table.reasons import ENTERPRISE

__all__ = ["IDENTITY"]

_NEVER_PHONES = "meshnode never phones home, so there is nothing to turn off or on"
_S, _B, _I, _D = Kind.STRING, Kind.BOOLEAN, Kind.INTEGER, Kind.DURATION

IDENTITY: Final = (
    Key("node_name", _S, "", "Name of this node; unique in the pool.", flag="node", shown="the host name"),
    Key("node_id", _S, "", "UUID of this node.", flag="node-id", shown="generated, kept in `<data_dir>/node-id`"),
    Key("disable_host_node_id", _B, True, "`false` derives the node's ID from the host.",
        Refused("not in this release: a node's ID is kept in its data directory; containers on one host would collide"),
        flag="disable-host-node-id"),
    Key("node_meta", Kind.STRING_MAP, {}, "Free pairs about the node: at most 64; key 1 to 128 of `A-Za-z0-9_-`, not "
        "beginning with `consul-`; value at most 512 characters.", flag="node-meta", reload=True),
    Key("datacenter", _S, "dc1", "Data centre; lower-cased, of `a-z0-9_-`.", flag="datacenter"),
    Key("data_dir", _S, "", "Directory of the node's state; required unless `-dev`.", flag="data-dir", shown="none"),
    Key("server", _B, False, "Server, or client.", flag="server"),
    Key("bootstrap", _B, False, "This server elects itself; one for each data centre.", flag="bootstrap"),
    Key("bootstrap_expect", _I, 0, "Servers to wait for before the first election.", flag="bootstrap-expect"),
    Key("protocol", _I, 2, "Protocol version: 2 or 3.", flag="protocol", choices=("2", "3")),
    Key("pid_file", _S, "", "File for the process ID.", flag="pid-file"),
    Key("leave_on_terminate", _B, None, "SIGTERM leaves the cluster.", shown="client `true`, server `false`"),
    Key("skip_leave_on_interrupt", _B, None, "SIGINT stops without leaving.", shown="client `false`, server `true`"),
    Key("rejoin_after_leave", _B, False, "Rejoin the known members although the node left before.", flag="rejoin"),
    Key("disable_remote_exec", _B, True, "`false` lets `exec` run commands here."),
    Key("disable_update_check", _B, True, "Whether to ask for new releases.", Noted(_NEVER_PHONES, True)),
    Key("disable_anonymous_signature", _B, True, "Whether that question is signed.", Noted(_NEVER_PHONES, True)),
    Key("enable_debug", _B, False, "Profiles under `/debug/pprof`.",
        Refused("there is no Go runtime to profile: use py-spy on the process")),
    Key("disable_coordinates", _B, False, "Whether nodes measure the distance to each other.",
        Refused("network coordinates are part of every probe and can't be turned off")),
    Key("snapshot_agent", Kind.OPEN, {}, "Settings of the Enterprise snapshot agent, which shares the file.",
        Noted("meshnode has no snapshot agent: the block is skipped, as Consul does", {})),
    Key("tagged_addresses", Kind.STRING_MAP, {}, "Further addresses of the node in the catalog."),
    Key("translate_wan_addrs", _B, False, "Answer with WAN addresses for other data centres."),
    Key("discovery_max_stale", _D, 0.0, "Staleness that catalog and health queries accept unasked.", reload=True),
    Key("session_ttl_min", _D, 10.0, "Shortest TTL of a session."),
    Key("non_voting_server", _B, False, "Server without a vote.", ENTERPRISE, flag="non-voting-server"),
    Key("segment", _S, "", "Network segment of a client.", ENTERPRISE, flag="segment"),
    Key("segments", Kind.OBJECTS, (), "Network segments of a server.", ENTERPRISE, shape="segment"),
)  # fmt: skip
