# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies, roles and tokens of the ACL API of Consul 1.4, made what a task says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._durations import parse_duration
from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import (
    MeshApi,
    MeshApiError,
    api_from,
    path_of,
)

__all__ = [
    "IDENTITY_SPEC",
    "Result",
    "bootstrap",
    "carry_out",
    "ensure_policy",
    "ensure_role",
    "ensure_token",
]

#: Suboptions of a service identity.
IDENTITY_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "datacenters": {"type": "list", "elements": "str", "default": []},
}
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
#: Fields that hold links by name.
_LINKS = ("Policies", "Roles")


@dataclass(frozen=True)
class Result:
    """``before`` and ``after`` are what differs, in words to show; ``found`` is the API's object after it all."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    found: Mapping[str, Any]

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return self.before != self.after


def carry_out(module: Any, ensure: Callable[..., Result], what: str) -> tuple[Result, dict[str, Any]]:
    """Let ``ensure`` do what the task of ``module`` says: the outcome, and the result as far as all modules have it.

    A failure ends the module; ``what`` begins its message.
    """
    try:
        outcome = ensure(api_from(module.params), module.params, pretend=module.check_mode)
    except MeshApiError as error:
        module.fail_json(msg=f"{what}: {error}")
    result: dict[str, Any] = {"changed": outcome.changed}
    if outcome.changed:
        result["diff"] = {"before": dict(outcome.before), "after": dict(outcome.after)}
    return outcome, result


def ensure_policy(api: MeshApi, options: Mapping[str, Any], *, pretend: bool) -> Result:
    """A policy by its name."""
    wanted = {
        "Description": options["description"],
        "Rules": options["rules"],
        "Datacenters": options["datacenters"],
    }
    return _named(api, "policy", "policies", options, wanted, pretend=pretend)


def ensure_role(api: MeshApi, options: Mapping[str, Any], *, pretend: bool) -> Result:
    """A role by its name."""
    wanted = {
        "Description": options["description"],
        "Policies": options["policies"],
        "ServiceIdentities": options["service_identities"],
    }
    return _named(api, "role", "roles", options, wanted, pretend=pretend)


def _named(
    api: MeshApi, kind: str, plural: str, options: Mapping[str, Any], wanted: dict[str, Any], *, pretend: bool
) -> Result:
    name = options["name"]
    if not _NAME.fullmatch(name):
        raise MeshApiError(f"name: {name[:64]!r} is no name: write letters, digits, - and _")
    # A list has names and ids in every version; reading by name came later.
    row = next((one for one in api.get(f"/v1/acl/{plural}") or [] if one.get("Name") == name), None)
    found = api.get(path_of("acl", kind, row["ID"])) if row else None
    if options["state"] == "absent":
        if found and not pretend:
            api.delete(path_of("acl", kind, found["ID"]))
        return Result(_plain({"Name": name, **_fields(found, wanted)}) if found else {}, {}, found or {})
    whole = _merged(found, wanted)
    before, after = _difference(found, whole, {"Name": name})
    if before == after:
        return Result({}, {}, found or {})
    if not pretend:
        target = path_of("acl", kind, found["ID"]) if found else f"/v1/acl/{kind}"
        found = api.put(target, {"Name": name, **_body(whole)})
    return Result(before, after, found or {})


def ensure_token(api: MeshApi, options: Mapping[str, Any], *, pretend: bool) -> Result:
    """A token by its accessor, or by its secret; ``found`` may have ``SecretID``."""
    for name in ("accessor_id", "secret_id"):
        if options[name] is not None and not _UUID.fullmatch(options[name]):
            shown = f"{options[name][:64]!r} " if name == "accessor_id" else ""
            raise MeshApiError(
                f"{name}: {shown}is not a UUID: write one, such as the output of the filter to_uuid"
            )
    if options["expiration_ttl"] is not None:
        parse_duration(options["expiration_ttl"], "expiration_ttl", 60, 86400)
    found = _find_token(api, options["accessor_id"], options["secret_id"])
    wanted = {
        "Description": options["description"],
        "Policies": options["policies"],
        "Roles": options["roles"],
        "ServiceIdentities": options["service_identities"],
    }
    if options["state"] == "absent":
        if found and not pretend:
            api.delete(path_of("acl", "token", found["AccessorID"]))
        gone = {"AccessorID": found["AccessorID"], **_fields(found, wanted)} if found else {}
        return Result(_plain(gone), {}, found or {})
    if found and options["local"] is not None and bool(found.get("Local")) != options["local"]:
        raise MeshApiError("local: can't be changed: remove the token first, with state=absent")
    whole = _merged(found, wanted)
    before, after = _difference(found, whole, {})
    if found and before == after:
        return Result({}, {}, found)
    if pretend:
        return Result(before, after, found or {"AccessorID": options["accessor_id"] or ""})
    body = _body(whole)
    if found:
        body["Local"] = bool(found.get("Local"))
        return Result(before, after, api.put(path_of("acl", "token", found["AccessorID"]), body))
    more = {
        "AccessorID": options["accessor_id"],
        "SecretID": options["secret_id"],
        "ExpirationTTL": options["expiration_ttl"],
        "Local": options["local"],
    }
    body |= {name: value for name, value in more.items() if value is not None}
    return Result(before, after, api.put("/v1/acl/token", body))


def _find_token(api: MeshApi, accessor: str | None, secret: str | None) -> dict[str, Any] | None:
    found = None
    if accessor:
        answer = api.request("GET", path_of("acl", "token", accessor), accept=(200, 403, 404))
        if answer.status == 403 and "ACL not found" not in answer.text:
            answer = api.request("GET", path_of("acl", "token", accessor))
        if answer.status == 403 and not _known(api):
            api.request("GET", "/v1/acl/policies")  # the token of the request is what is not found: say so
        found = answer.json() if answer.status == 200 else None
    elif secret:
        answer = api.request("GET", "/v1/acl/token/self", accept=(200, 403, 404), token=secret)
        if answer.status == 403 and "ACL not found" not in answer.text:
            answer = api.request("GET", "/v1/acl/token/self", token=secret)
        found = answer.json() if answer.status == 200 else None
    if found and secret and found.get("SecretID") not in (secret, None, "", "<hidden>"):
        raise MeshApiError(
            "secret_id: the token of accessor_id has another secret, which can't be changed: remove the token first, "
            "or leave secret_id out"
        )
    return found


def _known(api: MeshApi) -> bool:
    """Whether the cluster knows the token of the request."""
    return api.request("GET", "/v1/acl/token/self", accept=(200, 403, 404)).status == 200


def bootstrap(api: MeshApi) -> dict[str, Any]:
    """The first token; raises :class:`MeshApiError` when the cluster gave it before."""
    answer = api.request("PUT", "/v1/acl/bootstrap", accept=(200, 403))
    if answer.status == 200:
        made: dict[str, Any] = answer.json()
        if made.get("SecretID") or made.get("ID"):
            return made
        raise MeshApiError("/v1/acl/bootstrap: answered without a token: does address name an agent?")
    text = " ".join(answer.text.split())[:500]
    raise MeshApiError(
        f"{answer.url}: 403 {text}: the first token is given once: put the file of dest back, or reset the bootstrap "
        "with a file acl-bootstrap-reset in the data directory of the leader that holds the reset index"
    )


# What differs


def _fields(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``wanted`` as the API has them, in the form of the options."""
    made: dict[str, Any] = {}
    for name in wanted:
        value = (found or {}).get(name)
        if name in _LINKS:
            made[name] = sorted(link.get("Name") or link["ID"] for link in value or [])
        elif name == "ServiceIdentities":
            made[name] = _identities(
                {"name": one["ServiceName"], "datacenters": one.get("Datacenters") or []}
                for one in value or []
            )
        elif name == "Datacenters":
            made[name] = sorted(value or [])
        else:
            made[name] = value or ""
    return made


def _identities(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    made = [{"name": row["name"], "datacenters": sorted(row["datacenters"] or [])} for row in rows]
    return sorted(made, key=lambda one: (one["name"], one["datacenters"]))


def _merged(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be: an option that was left out keeps what is there."""
    whole = _fields(found, wanted)
    for name, value in wanted.items():
        if value is not None:
            if name == "ServiceIdentities":
                value = _identities(value)
            whole[name] = sorted(set(value)) if name in (*_LINKS, "Datacenters") else value
    return whole


def _difference(
    found: Mapping[str, Any] | None, whole: Mapping[str, Any], names: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    if found is None:
        return {}, _plain({**names, **whole}) or {"Description": ""}
    before = _fields(found, whole)
    differing = [name for name in whole if before[name] != whole[name]]
    return {name: before[name] for name in differing}, {name: whole[name] for name in differing}


def _plain(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {name: value for name, value in shown.items() if value}


def _body(whole: Mapping[str, Any]) -> dict[str, Any]:
    body = dict(whole)
    for name in _LINKS:
        if name in body:
            body[name] = [{"ID": one} if _UUID.fullmatch(one) else {"Name": one} for one in body[name]]
    if "ServiceIdentities" in body:
        body["ServiceIdentities"] = [
            {"ServiceName": one["name"], "Datacenters": one["datacenters"]}
            for one in body["ServiceIdentities"]
        ]
    return body
