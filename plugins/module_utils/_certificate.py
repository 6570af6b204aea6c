# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Issue a node's certificate when it needs one, and write down what was issued. Runs on the controller."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.meshnode.lab.plugins.module_utils import _authorities, _controller
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError

if TYPE_CHECKING:
    from meshnode.pki.authority import Authority
    from meshnode.pki.leaf import Profile

#: Issued certificates remembered per node, the newest first.
MAX_REMEMBERED = 20

ARGUMENT_SPEC: dict[str, Any] = {
    "ca_cert_pem": {"type": "str"},
    "ca_key_pem": {"type": "str", "no_log": True},
    "certificate": {"type": "str"},
    "cluster": {"type": "str", "default": "dc1"},
    "csr": {"type": "str"},
    "datacenter": {"type": "str", "default": "dc1"},
    "days": {"type": "int", "default": 365},
    "domain": {"type": "str", "default": "consul"},
    "node": {"type": "str"},
    "role": {"type": "str", "choices": ["server", "client"], "required": True},
    "sans": {
        "type": "dict",
        "options": {
            "dns": {"type": "list", "elements": "str", "default": []},
            "ip": {"type": "list", "elements": "str", "default": []},
        },
    },
    "store": {"type": "path"},
}
REQUIRED_TOGETHER = [("ca_cert_pem", "ca_key_pem")]


@dataclass(frozen=True)
class Signer:
    """Who signs, and what the nodes are to trust. No authority: it would be made first (check mode)."""

    authority: Authority | None
    bundle: str | None
    generation: int | None
    store: SecretStore


def issue(options: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """The result of the action M(meshnode.lab.mesh_certificate) for checked ``options``."""
    from meshnode.pki.leaf import node_profile
    from meshnode.pki.renewal import needs_reissue
    from meshnode.pki.request import parse_request

    sans = options["sans"] or {}
    profile = node_profile(
        options["role"],
        datacenter=options["datacenter"],
        node=options["node"],
        dns=sans.get("dns") or [],
        ip=sans.get("ip") or [],
        domain=options["domain"],
        days=options["days"],
    )
    at = _controller.now()
    signer = find_signer(options, check_mode=check_mode)
    csr, existing = options["csr"], options["certificate"] or None
    if not csr and not check_mode:
        raise SecretStoreError(
            "csr is empty: run meshnode.lab.mesh_csr on the node first and pass its result"
        )
    if not csr or signer.authority is None:
        why = "the node's key is not made yet" if not csr else "the CA is not made yet"
        return _outcome(None, existing, profile, signer, ("missing", f"{why}, so there is no certificate"))
    reason = needs_reissue(existing, parse_request(csr), profile, signer.authority.certificate, at)
    if reason is None:
        return _outcome(existing, existing, profile, signer, None)
    because = (str(reason.cause), str(reason))
    if check_mode:
        return _outcome(None, existing, profile, signer, because)
    issued = signer.authority.sign(csr, profile, at=at, entropy=_controller.entropy)
    remember(signer.store, options["node"], issued, signer.generation, because[1])
    return _outcome(issued, existing, profile, signer, because)


def find_signer(options: dict[str, Any], *, check_mode: bool) -> Signer:
    """The authority that the options brought, else the store's current one."""
    store = SecretStore(options["store"], options["cluster"])
    if options["ca_key_pem"]:
        authority, bundle = _authorities.given_authority(options["ca_cert_pem"], options["ca_key_pem"])
        return Signer(authority, bundle, None, store)
    generations = _authorities.read_generations(store)
    if generations is None:
        if not check_mode:
            raise SecretStoreError(f"{store.path} holds no CA: run meshnode.lab.mesh_ca first")
        return Signer(None, None, None, store)
    authority = _authorities.load_authority(store, generations.current)
    return Signer(authority, _authorities.read_bundle(store, generations), generations.current, store)


def remember(store: SecretStore, node: str, certificate: str, generation: int | None, reason: str) -> None:
    """Put ``certificate`` at the head of C(issued/<node>.json): what to look for when a node must be shut out."""
    from meshnode.pki.bundle import describe

    name = f"issued/{node}.json"
    with store.lock():
        text = store.read(name)
        try:
            earlier = json.loads(text)["certificates"] if text else []
        except (ValueError, KeyError, TypeError):
            raise SecretStoreError(f"{store.path}/{name} is damaged: move it away and run again") from None
        entry = {**describe(certificate).as_dict(), "generation": generation, "reason": reason}
        index = {"node": node, "certificates": [entry, *earlier][:MAX_REMEMBERED]}
        store.replace(name, json.dumps(index, indent=2) + "\n")


def _outcome(
    certificate: str | None,
    existing: str | None,
    profile: Profile,
    signer: Signer,
    because: tuple[str, str] | None,
) -> dict[str, Any]:
    from meshnode.pki.bundle import describe

    told = describe(certificate).as_dict() if certificate else {}
    result: dict[str, Any] = {
        "changed": because is not None,
        "certificate": certificate,
        "bundle": signer.bundle,
        "generation": signer.generation,
        "reason": because[1] if because else None,
        "cause": because[0] if because else None,
        "serial": told.get("serial"),
        "fingerprint": told.get("fingerprint"),
        "not_before": told.get("not_before"),
        "not_after": told.get("not_after"),
    }
    if because:
        result["diff"] = {
            "before_header": f"certificate of {profile.common_name}",
            "after_header": f"certificate of {profile.common_name}: {because[1]}",
            "before": _text(_describe_existing(existing)),
            "after": _text(told or _describe_wanted(profile, signer)),
        }
    return result


def _describe_existing(existing: str | None) -> dict[str, Any]:
    from meshnode.base.errors import ConfigError
    from meshnode.pki.bundle import describe

    if existing is None:
        return {}
    try:
        return describe(existing).as_dict()
    except ConfigError:
        return {"certificate": "can't be read"}


def _describe_wanted(profile: Profile, signer: Signer) -> dict[str, Any]:
    issuer = (
        signer.authority.certificate.subject.rfc4514_string()
        if signer.authority
        else "(made in the same run)"
    )
    names = {"dns": list(profile.names.dns), "ip": list(profile.names.ip)}
    return {"subject": f"CN={profile.common_name}", "issuer": issuer, **names}


def _text(description: dict[str, Any]) -> str:
    return "".join(
        f"{name}: {' '.join(value) if isinstance(value, list) else value}\n"
        for name, value in description.items()
    )
