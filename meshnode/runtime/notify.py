"""Telling systemd how far we are (sd_notify(3)): one datagram to the socket named by NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket

__all__ = ["notify_systemd"]


def notify_systemd(*lines: str) -> None:
    """Send ``READY=1``, ``RELOADING=1``, ``STATUS=...`` and their like; does nothing outside of systemd."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), address)
        except OSError:
            # The manager is gone or was never there; the service itself is unaffected.
            return
