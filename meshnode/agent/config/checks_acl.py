"""Both spellings of access control, ``acl_...`` of Consul 1.2 and ``acl {}`` of later ones, settled into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meshnode.agent.config.checks import Findings

__all__ = ["SAME", "settle_acls"]

#: The setting that counts -> others that say the same, in the order in which they are asked.
SAME: Final = {
    "acl.default_policy": ("acl_default_policy",),
    "acl.down_policy": ("acl_down_policy",),
    "acl.token_ttl": ("acl_ttl",),
    "acl.enable_key_list_policy": ("acl_enable_key_list_policy",),
    "acl.tokens.initial_management": ("acl.tokens.master", "acl_master_token"),
    "acl.tokens.agent_recovery": ("acl.tokens.agent_master", "acl_agent_master_token"),
    "acl.tokens.agent": ("acl_agent_token",),
    "acl.tokens.default": ("acl_token",),
    "acl.tokens.replication": ("acl_replication_token",),
}
_TOKENS: Final = tuple(path for path in SAME if path.startswith("acl.tokens."))


def settle_acls(found: Findings) -> None:
    """Fold the spellings, and refuse what would only look safe."""
    settings, values = found.settings, found.values
    for path, others in SAME.items():
        # What is written counts, "0s" and false too; an empty text is as if it were not there.
        written = [p for p in (path, *others) if settings.is_set(p) and settings[p] != ""]
        usual = next((p for p in (path, *others) if settings[p]), path)
        values[path] = settings[written[0] if written else usual]
    datacenter = settings["acl_datacenter"].lower()
    own = settings["datacenter"].lower()
    if datacenter and datacenter != own:
        found.problem(
            "acl_datacenter",
            f'acl_datacenter: "{datacenter}" is another data centre than this one, "{own}": tokens are not copied '
            f'between data centres, write "{own}"',
        )
    enabled = settings["acl.enabled"] or bool(datacenter)
    values["acl_datacenter"] = datacenter or (own if enabled else "")
    values["acl.enabled"] = enabled
    if not enabled and values["acl.default_policy"] == "deny":
        key = "acl.default_policy" if settings["acl.default_policy"] else "acl_default_policy"
        found.problem(key, f"{key}: ACLs are off, so nothing is denied: set acl.enabled or acl_datacenter")
    if not enabled and values["acl.tokens.initial_management"]:
        found.warnings.append("a management token is configured, and ACLs are off: everything is allowed")
    if settings["acl.enable_token_persistence"] and not settings["data_dir"]:
        found.problem(
            "acl.enable_token_persistence",
            "acl.enable_token_persistence needs data_dir, where tokens are kept",
        )
    for path in _TOKENS:
        if not values[path].isprintable() or " " in values[path]:
            found.problem(path, f"{path}: a token has no spaces and no control characters")
