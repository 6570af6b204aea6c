"""A gossip pool as the rest of the agent sees it: members and servers as values, rebuilt only after a change."""

from __future__ import annotations

from collections.abc import Mapping

from meshnode.control.servers import ServerInfo, parse_server
from meshnode.gossip.serf.member import Member, Status
from meshnode.http.view import MemberInfo, MemberStatus
from meshnode.runtime.gossip_shell import GossipShell

__all__ = ["Pool"]


class Pool:
    """The LAN or the WAN pool."""

    def __init__(self, shell: GossipShell, *, wan: bool) -> None:
        self.shell = shell
        self.wan = wan
        self._started = False
        #: The members' revision that the three below are made of.
        self._revision = -1
        self._members: tuple[MemberInfo, ...] | None = None
        self._servers: tuple[ServerInfo, ...] | None = None
        self._names: dict[str, str] | None = None

    @property
    def title(self) -> str:
        """``LAN`` or ``WAN``."""
        return "WAN" if self.wan else "LAN"

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Gossip keys in force, the primary first; none where gossip is in clear."""
        keyring = self.shell.serf.keyring
        return keyring.keys if keyring is not None else ()

    async def start(self) -> None:
        """Start to gossip; raises :class:`MeshError` when a port or a file can't be had."""
        await self.shell.start()
        self._started = True

    def _refresh(self) -> None:
        """Forget what was made of members that are no longer the same.

        Events don't tell all of it: a member that is leaving, or isn't after all, makes none.
        """
        revision = self.shell.serf.members_revision if self._started else -1
        if revision != self._revision:
            self._revision = revision
            self._members = self._servers = self._names = None

    @property
    def members(self) -> tuple[MemberInfo, ...]:
        """Every member that is known, sorted by name; the same object until something changes."""
        if not self._started:
            return ()
        self._refresh()
        if self._members is None:
            known = sorted(self.shell.serf.members(), key=lambda member: member.name)
            self._members = tuple(member_info(member) for member in known)
        return self._members

    @property
    def servers(self) -> tuple[ServerInfo, ...]:
        """The members that are servers; those that left are no longer counted."""
        self._refresh()
        if self._servers is None:
            present = (MemberStatus.ALIVE, MemberStatus.LEAVING, MemberStatus.FAILED)
            self._servers = self._servers_with(*present)
        return self._servers

    @property
    def departed_servers(self) -> tuple[ServerInfo, ...]:
        """The servers that left and are still remembered."""
        return self._servers_with(MemberStatus.LEFT)

    def _servers_with(self, *statuses: MemberStatus) -> tuple[ServerInfo, ...]:
        return tuple(
            server
            for member in self.members
            if member.status in statuses
            and (
                server := parse_server(
                    member.name, member.addr, member.tags, alive=member.status == MemberStatus.ALIVE
                )
            )
        )

    @property
    def names_by_id(self) -> Mapping[str, str]:
        """Node id -> name of the member that has it; who left has given its id back."""
        self._refresh()
        if self._names is None:
            self._names = {
                member.tags["id"]: member.name
                for member in self.members
                if member.status != MemberStatus.LEFT and member.tags.get("id")
            }
        return self._names

    @property
    def local(self) -> MemberInfo:
        """This node."""
        return member_info(self.shell.serf.local_member)


def member_info(member: Member) -> MemberInfo:
    """A Serf member in the shape of the API."""
    return MemberInfo(
        name=member.name,
        addr=member.address.host,
        port=member.address.port,
        tags=member.tags,
        status=_STATUS[member.status],
        protocol=(member.versions[0], member.versions[1], member.versions[2]),
        delegate=(member.versions[3], member.versions[4], member.versions[5]),
    )


_STATUS = {
    Status.NONE: MemberStatus.NONE,
    Status.ALIVE: MemberStatus.ALIVE,
    Status.LEAVING: MemberStatus.LEAVING,
    Status.LEFT: MemberStatus.LEFT,
    Status.FAILED: MemberStatus.FAILED,
}
