"""Gossip, its encryption, TLS and ACLs."""

from __future__ import annotations

from typing import Final

from meshnode.agent.config.key import Key, Kind, Refused
from meshnode.agent.config.table.reasons import AUTO_CONFIG, ENTERPRISE, LATER

__all__ = ["ACLS", "GOSSIP", "TLS"]

_S, _B, _I, _D = Kind.STRING, Kind.BOOLEAN, Kind.INTEGER, Kind.DURATION


def _profile(pool: str, gossip: float, probe: float, timeout: float, suspicion: int) -> tuple[Key, ...]:
    block = f"gossip_{pool.lower()}"
    return (
        Key(block, Kind.OBJECT, {}, f"Timing of {pool} gossip."),
        Key(f"{block}.gossip_nodes", _I, 3, "Members that each round of gossip goes to."),
        Key(f"{block}.gossip_interval", _D, gossip, "Pause between rounds of gossip."),
        Key(f"{block}.probe_interval", _D, probe, "Pause between probes."),
        Key(f"{block}.probe_timeout", _D, timeout, "Time that a probe waits for its answer."),
        Key(f"{block}.suspicion_mult", _I, suspicion, "Factor of the time that a suspect has to refute."),
        Key(f"{block}.retransmit_mult", _I, 4, "Factor of the number of retransmissions."),
    )


GOSSIP: Final = (
    Key("encrypt", _S, "", "Gossip key: base64 of 16, 24 or 32 bytes, from `keygen`. Used until there is a keyring "
        "file.", flag="encrypt", secret=True),
    Key("encrypt_verify_incoming", _B, True, "`false` accepts plaintext gossip too.", reload=True),
    Key("encrypt_verify_outgoing", _B, True, "`false` sends plaintext although there is a key.", reload=True),
    Key("disable_keyring_file", _B, False, "Keep gossip keys in memory only.", flag="disable-keyring-file"),
    *_profile("LAN", 0.2, 1.0, 0.5, 4),
    *_profile("WAN", 0.5, 5.0, 3.0, 6),
    Key("serf_lan_allowed_cidrs", Kind.STRINGS, (), "Networks that LAN members may come from.", LATER),
    Key("serf_wan_allowed_cidrs", Kind.STRINGS, (), "Networks that WAN members may come from.", LATER),
)  # fmt: skip

TLS: Final = (
    Key("ca_file", _S, "", "PEM file of the CAs that peers are checked against.", reload=True),
    Key("ca_path", _S, "", "Directory of such files; used when `ca_file` is empty.", reload=True),
    Key("cert_file", _S, "", "PEM file of the agent's certificate, chain included.", reload=True),
    Key("key_file", _S, "", "PEM file of its private key; only its owner and group may read it.", reload=True),
    Key("server_name", _S, "", "Name presented and expected.", shown="`node_name`"),
    Key("verify_incoming", _B, False, "RPC and HTTPS require a client certificate of the CA.", reload=True),
    Key("verify_incoming_rpc", _B, False, "The same for RPC only.", reload=True),
    Key("verify_incoming_https", _B, False, "The same for HTTPS only.", reload=True),
    Key("verify_outgoing", _B, False, "Outgoing RPC uses TLS and checks the CA.", reload=True),
    Key("verify_server_hostname", _B, False, "Servers must present `server.<datacenter>.<domain>`; implies "
        "`verify_outgoing`.", reload=True),
    Key("tls_min_version", _S, "tls12", "Lowest TLS version: `tls12` or `tls13`. Consul's `tls10` and `tls11` are "
        "obsolete (RFC 8996) and refused.", reload=True),
    Key("tls_cipher_suites", _S, "", "Comma-separated cipher suites of TLS 1.2, by Go's names.", reload=True,
        shown="OpenSSL's choice"),
    Key("tls_prefer_server_cipher_suites", _B, False, "The server's order of suites decides.", reload=True),
    Key("tls", Kind.OPEN, {}, "TLS settings by interface.", LATER),
    Key("auto_encrypt", Kind.OPEN, {}, "Certificates for clients from their servers.", AUTO_CONFIG),
    Key("auto_config", Kind.OPEN, {}, "Settings for clients from their servers.", AUTO_CONFIG),
)  # fmt: skip

_REPLICATION = Refused("ACLs are not copied between data centres: give each its own tokens")

ACLS: Final = (
    Key("acl_datacenter", _S, "", "Data centre in charge of ACLs, which has to be this one: turns ACLs on."),
    Key("acl_default_policy", _S, "allow", "What no rule mentions: `allow` or `deny`.", choices=("allow", "deny")),
    Key("acl_down_policy", _S, "extend-cache", "What a client does with tokens while no server answers.",
        choices=("allow", "deny", "extend-cache", "async-cache")),
    Key("acl_ttl", _D, 30.0, "How long a client keeps what a token may do."),
    Key("acl_master_token", _S, "", "Token with every right, made when the servers start.", secret=True, reload=True),
    Key("acl_agent_master_token", _S, "", "Token for this agent's API while servers are away.", secret=True,
        reload=True),
    Key("acl_agent_token", _S, "", "Token of the agent's own work.", secret=True, reload=True),
    Key("acl_token", _S, "", "Token of requests that bring none.", secret=True, reload=True),
    Key("acl_replication_token", _S, "", "Token for the primary data centre, from which a server of another one gets "
        "intentions, config entries and its certificate authority.", secret=True, reload=True),
    Key("enable_acl_replication", _B, False, "Copy ACLs from the data centre in charge.", _REPLICATION),
    Key("acl_enforce_version_8", _B, True, "Enforce node, service and event rules.",
        Refused("node, service and event rules are always enforced")),
    Key("acl_enable_key_list_policy", _B, False, "Listing keys needs its own right."),
    Key("acl", Kind.OBJECT, {}, "ACLs, as later releases write them; wins over `acl_...`."),
    Key("acl.enabled", _B, False, "Whether there are ACLs."),
    Key("acl.default_policy", _S, "", "What no rule mentions.", shown="`acl_default_policy`",
        choices=("", "allow", "deny")),
    Key("acl.down_policy", _S, "", "What a client does with tokens while no server answers.",
        shown="`acl_down_policy`", choices=("", "allow", "deny", "extend-cache", "async-cache")),
    Key("acl.policy_ttl", _D, 30.0, "How long a policy is kept.", Refused("tokens are kept whole: set acl.token_ttl")),
    Key("acl.role_ttl", _D, 0.0, "How long a role is kept.", Refused("tokens are kept whole: set acl.token_ttl")),
    Key("acl.token_ttl", _D, 0.0, "How long a client keeps what a token may do.", shown="`acl_ttl`"),
    Key("acl.enable_key_list_policy", _B, False, "Listing keys needs its own right."),
    Key("acl.enable_token_persistence", _B, False, "Keep tokens that the API set, in `<data_dir>/acl-tokens.json`."),
    Key("acl.enable_token_replication", _B, False, "Copy tokens from the primary data centre.", _REPLICATION),
    Key("acl.tokens", Kind.OBJECT, {}, "Tokens of the agent; win over `acl_..._token`."),
    Key("acl.tokens.initial_management", _S, "", "The same as `acl_master_token`.", secret=True, reload=True),
    Key("acl.tokens.master", _S, "", "Its older name.", secret=True, reload=True),
    Key("acl.tokens.agent_recovery", _S, "", "The same as `acl_agent_master_token`.", secret=True, reload=True),
    Key("acl.tokens.agent_master", _S, "", "Its older name.", secret=True, reload=True),
    Key("acl.tokens.agent", _S, "", "The same as `acl_agent_token`.", secret=True, reload=True),
    Key("acl.tokens.default", _S, "", "The same as `acl_token`.", secret=True, reload=True),
    Key("acl.tokens.replication", _S, "", "The same as `acl_replication_token`.", secret=True, reload=True),
    Key("acl.tokens.config_file_service_registration", _S, "", "Token of configured services and checks.",
        LATER, secret=True),
    Key("acl.tokens.managed_service_provider", Kind.OBJECTS, (), "Tokens of a cloud provider.", ENTERPRISE),
    Key("default_intention_policy", _S, "", "What no intention mentions: `allow` or `deny`.", shown="ACLs decide",
        choices=("", "allow", "deny")),
)  # fmt: skip
