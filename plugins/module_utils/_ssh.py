# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a lab node reachable by SSH: a user with sudo and the given keys, and host keys that the node makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.meshnode.lab.plugins.module_utils._engine import LabError

if TYPE_CHECKING:
    from docker.models.containers import Container

#: Idempotent. The keys are public ones; they and the user's name arrive in the environment, so nothing is quoted here.
SCRIPT = r"""
set -eu
id "$LAB_USER" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$LAB_USER"
home=$(getent passwd "$LAB_USER" | cut -d: -f6)
install -d -m 0700 -o "$LAB_USER" -g "$LAB_USER" "$home/.ssh"
printf '%s\n' "$LAB_KEYS" > "$home/.ssh/authorized_keys"
chmod 0600 "$home/.ssh/authorized_keys"
chown "$LAB_USER:" "$home/.ssh/authorized_keys"
printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$LAB_USER" > /etc/sudoers.d/lab
chmod 0440 /etc/sudoers.d/lab
printf 'PasswordAuthentication no\nPermitRootLogin no\n' > /etc/ssh/sshd_config.d/lab.conf
ssh-keygen -A >/dev/null
systemctl enable --now --quiet ssh.service
"""


def provision(container: Container, name: str, ssh: dict[str, Any]) -> None:
    """Runs SCRIPT on the node; ssh is {user, authorized_keys}."""
    environment = {"LAB_USER": ssh["user"], "LAB_KEYS": "\n".join(ssh["authorized_keys"])}
    code, output = container.exec_run(["sh", "-c", SCRIPT], environment=environment)
    if code != 0:
        shown = output.decode(errors="replace").strip()
        raise LabError(
            f"{name}: the SSH server could not be set up: is openssh-server in the image?\n{shown}"
        )


def read_host_keys(container: Container, name: str) -> list[str]:
    """The node's public host keys, "type base64" each, read through the engine and so from the node itself."""
    code, output = container.exec_run(["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"])
    if code != 0:
        raise LabError(f"{name}: has no SSH host keys: remove the node and run this again.")
    return sorted(" ".join(line.split()[:2]) for line in output.decode().splitlines() if line.strip())
