#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold a lock of the cluster during a play."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_lock
short_description: Hold a lock of the cluster during a play
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Takes a lock on a key of the key/value store, keeps it across tasks, and frees it.
  - A session with a TTL holds the lock. A play that dies leaves a lock that ends by itself, at the latest twice the TTL
    and O(lock_delay) later.
  - Whose the lock is says O(session), the id that the first task returned, or O(owner), a name. With a name nothing has
    to be carried from task to task, and a play that is started again takes over the lock that it had before.
  - It respects the locks of C(consul lock) and C(meshnode lock) and they respect it. Their key is V(PREFIX/.lock).
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
attributes:
  check_mode:
    details: Says whether the lock would be taken or freed. Does not wait.
  diff_mode:
    details: Shows who holds the lock.
  idempotent:
    details: Needs O(session) or O(owner); without them each task is a holder of its own.
options:
  key:
    description:
      - Key that the lock is on. It must not be used for anything else.
    type: str
    required: true
  state:
    description:
      - V(held) takes the lock, or renews it when it is held by O(session) or O(owner) already.
      - V(released) frees the lock and ends its session. A lock of somebody else is left alone.
    type: str
    choices: [held, released]
    default: held
  session:
    description:
      - Id of the session that holds, or is to hold, the lock. When that session has ended, the task fails with
        O(state=held), for the lock was lost.
    type: str
  owner:
    description:
      - Name of the holder. It becomes the name of the session. Two plays must not have the same name.
    type: str
  ttl:
    description:
      - How long the lock lives after the last task that renewed it, from V(10s) to V(24h).
      - Choose more than the longest time between two such tasks.
    type: str
    default: 10m
  lock_delay:
    description:
      - How long nobody gets the lock after its session ended without freeing it, up to V(60s).
    type: str
    default: 15s
  wait_timeout:
    description:
      - Seconds to wait for a lock that somebody else holds. V(0) fails at once.
    type: float
    default: 60
seealso:
  - module: meshnode.lab.mesh_kv
"""

EXAMPLES = r"""
- name: One deployment at a time
  meshnode.lab.mesh_lock:
    key: locks/deploy
    owner: deploy
    ttl: 10m
    wait_timeout: 300
  run_once: true

- name: Still ours, and for ten minutes more
  meshnode.lab.mesh_lock:
    key: locks/deploy
    owner: deploy
  run_once: true

- name: Done
  meshnode.lab.mesh_lock:
    key: locks/deploy
    owner: deploy
    state: released
  run_once: true

- name: By session
  meshnode.lab.mesh_lock:
    key: locks/backup
  register: backup_lock

- name: Free it
  meshnode.lab.mesh_lock:
    key: locks/backup
    session: "{{ backup_lock.session }}"
    state: released
"""

RETURN = r"""
session:
  description: Id of the session that holds the lock now. Empty after V(released), and in check mode when there is none.
  returned: success
  type: str
  sample: adf4238a-882b-9ddc-4a9d-5b6758e4159e
waited:
  description: Seconds until the lock was free.
  returned: success
  type: float
holder:
  description: Who held the lock before.
  returned: success
  type: dict
  contains:
    session:
      description: Id of the session, empty for nobody.
      type: str
    name:
      description: Name of the session.
      type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _lock, mesh_api

ARGUMENT_SPEC = mesh_api.arguments(
    key={"type": "str", "required": True, "no_log": False},
    state={"type": "str", "choices": ["held", "released"], "default": "held"},
    session={"type": "str"},
    owner={"type": "str"},
    ttl={"type": "str", "default": "10m"},
    lock_delay={"type": "str", "default": "15s"},
    wait_timeout={"type": "float", "default": 60.0},
)


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    """The result of the task."""
    lock = _lock.Lock(mesh_api.api_from(module.params), _lock.wish_from(module.params))
    if module.params["state"] == "held":
        outcome = lock.hold(pretend=module.check_mode)
    else:
        outcome = lock.release(pretend=module.check_mode)
    before = outcome.before or _lock.Holder("", "")
    result: dict[str, t.Any] = {
        "changed": outcome.changed,
        "session": outcome.session,
        "waited": round(outcome.waited, 3),
        "holder": {"session": before.session, "name": before.name},
    }
    if outcome.changed:
        now = outcome.session or ("(new)" if module.params["state"] == "held" else "")
        result["diff"] = {"before": {"session": before.session}, "after": {"session": now}}
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[("session", "owner")],
        required_if=[("state", "released", ("session", "owner"), True)],
        required_together=mesh_api.REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    try:
        result = ensure(module)
    except mesh_api.MeshApiError as error:
        module.fail_json(msg=f"mesh_lock: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
