# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds what nobody can read: values of Ansible Vault for which the password is missing or wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.vault import EncryptedString


def undecryptable(hosts: Iterable[str], hostvars: Any) -> list[str]:
    """A sentence for each variable of the hosts that is encrypted and can't be decrypted; empty when all can."""
    owners: dict[tuple[str, str], list[str]] = {}
    for host in hosts:
        for name, encrypted in _encrypted(hostvars.raw_get(host)):
            fault = _fault(encrypted)
            if fault:
                of_value = owners.setdefault((name, fault), [])
                if host not in of_value:
                    of_value.append(host)
    return [
        f"{name} of {', '.join(found)} is encrypted and can't be read: {fault}. Say --vault-password-file FILE, or"
        " --ask-vault-pass, with the password that it was encrypted with."
        for (name, fault), found in owners.items()
    ]


def _encrypted(variables: Mapping[str, Any]) -> Iterator[tuple[str, EncryptedString]]:
    """Encrypted values with the names of the variables that they are in, however deep."""
    rest = [(str(name), value) for name, value in variables.items()]
    while rest:
        name, value = rest.pop()
        if isinstance(value, EncryptedString):
            yield name, value
        elif isinstance(value, Mapping):
            rest += [(name, inner) for inner in value.values()]
        elif isinstance(value, (list, tuple)):
            rest += [(name, inner) for inner in value]


def _fault(encrypted: EncryptedString) -> str:
    """Why it can't be decrypted; empty when it can. What is decrypted is not looked at."""
    try:
        str(encrypted)
    except AnsibleError as exc:
        return str(exc).rstrip(".")
    return ""


class FilterModule:
    """The filter by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"undecryptable": undecryptable}
