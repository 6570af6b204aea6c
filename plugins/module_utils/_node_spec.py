# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller decides about a node: its options, and its files as text."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import LAYOUT_OPTIONS, UNIT_DIGEST
from ansible_collections.meshnode.lab.plugins.module_utils._redact import placeholder, redact, secrets_in

#: A package as M(meshnode.lab.mesh_package) describes it.
PACKAGE_OPTION: dict[str, Any] = {
    "type": "dict",
    "options": {
        "architecture": {"type": "str"},
        "digest": {"type": "str", "required": True},
        "distributions": {"type": "list", "elements": "str"},
        "path": {"type": "path", "required": True},
        "python_version": {"type": "str"},
        "version": {"type": "str"},
    },
}
#: Options of M(meshnode.lab.mesh_node), checked by the action and again by the module.
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **LAYOUT_OPTIONS,
    "client_environment": {"type": "dict", "default": {}},
    "client_environment_file": {"type": "path", "default": "/etc/meshnode/client.env"},
    "config": {"type": "dict"},
    "config_alias": {"type": "str", "default": "/consul/config"},
    "config_file": {"type": "str", "default": "meshnode.json"},
    "data_dir": {"type": "path", "default": "/var/lib/consul"},
    "gossip_cluster": {"type": "str"},
    "gossip_store": {"type": "path"},
    "gossip_wan_cluster": {"type": "str"},
    "group": {"type": "str"},
    "installed": {"type": "str"},
    "name": {"type": "str", "default": "consul"},
    "package": {**PACKAGE_OPTION, "required": True},
    "roll": {"type": "str"},
    "tls": {
        "type": "dict",
        "options": {
            "ca": {"type": "str"},
            "ca_file": {"type": "path", "required": True},
            "cert_file": {"type": "path", "required": True},
            "certificate": {"type": "str"},
            "key_file": {"type": "path", "required": True, "no_log": False},
        },
    },
    "unit": {"type": "str"},
    "user": {"type": "str", "default": "consul"},
}
#: Below the agent's data directory: a server's keys of WAN gossip, where they are not those of the LAN.
WAN_KEYRING = "serf/remote.keyring"
#: What the action adds; not for users. The files are what render_files returns.
PRIVATE_SPEC: dict[str, dict[str, Any]] = {
    "_archive": {"type": "path"},
    "_files": {"type": "raw"},
    "_secrets": {"type": "raw", "no_log": True},
}


def render_config(config: dict[str, Any]) -> str:
    """The configuration as C(to_nice_json) writes it, with a newline at the end."""
    return json.dumps(config, indent=4, sort_keys=True) + "\n"


def separate_secrets(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The configuration with placeholders, which may be seen, and the secrets by their placeholders, which may not."""
    return redact(config), {placeholder(secret): secret for secret in secrets_in(config)}


def render_unit(text: str) -> str:
    """The unit with its own digest in the process's environment, so that a later run knows what it was started from."""
    text = text.rstrip("\n") + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    head, section, rest = text.partition("[Service]\n")
    if not section:
        raise ValueError("the unit has no [Service] section")
    return f"{head}{section}Environment={UNIT_DIGEST}={digest}\n{rest}"


def render_environment(variables: dict[str, Any]) -> str:
    """NAME=value lines, sorted."""
    lines = [f"{name}={value}" for name, value in sorted(variables.items())]
    return "\n".join(["# Managed by Ansible. Where the command line finds the agent's API.", *lines]) + "\n"


def render_files(options: dict[str, Any], wan_keys: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """All files of a node, in the order in which they are written: the certificates before what names them.

    Secrets are placeholders still, see C(separate_secrets). C(wan_keys) are gossip keys of the WAN, the primary first.
    """
    group = options["group"] or options["user"]
    files: list[dict[str, Any]] = []
    tls = options["tls"] or {}
    config, _secrets = separate_secrets(options["config"])
    for path, content in (
        (tls.get("ca_file"), tls.get("ca")),
        (tls.get("cert_file"), tls.get("certificate")),
    ):
        if path and content:
            files.append(_file(path, content.rstrip("\n") + "\n", group=group, show="digest"))
    if wan_keys:
        ring = _file(
            f"{options['data_dir']}/{WAN_KEYRING}", json.dumps([placeholder(key) for key in wan_keys])
        )
        files.append({**ring, "owner": options["user"], "group": group, "mode": "0600", "show": "keyring"})
    path = f"{options['config_dir']}/{options['config_file']}"
    files.append(_file(path, render_config(config), group=group, mode="0640", show="json"))
    variables = options["client_environment"]
    files.append(
        _file(options["client_environment_file"], render_environment(variables) if variables else None)
    )
    if options["unit"]:
        files.append(_file(f"/etc/systemd/system/{options['name']}.service", render_unit(options["unit"])))
    return files


def _file(
    path: str, content: str | None, *, group: str = "root", mode: str = "0644", show: str = "text"
) -> dict[str, Any]:
    """One file as the module takes it; without content it is one that must not be there."""
    return {"path": path, "content": content, "owner": "root", "group": group, "mode": mode, "show": show}
