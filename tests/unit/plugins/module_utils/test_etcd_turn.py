"""A member of etcd in its turn: what is seen by knocking, who has to be well, and which URLs the others are told."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_control import Control
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import MemberError, Server
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_turn import Turn, spoken

from tests.support.certs import make_ca, make_cert

PLAIN = tuple(Server(f"s{n}", f"http://10.0.0.{n}:2379", f"http://10.0.0.{n}:2380") for n in range(1, 6))
SECURE = tuple(Server(f"s{n}", f"https://10.0.0.{n}:2379", f"https://10.0.0.{n}:2380") for n in range(1, 6))
TLS = {"ca_file": "ca", "cert_file": "cert", "key_file": "key"}


class Members:
    """Answers etcdctl as so many members would, each at the URL for clients that it speaks."""

    def __init__(self, number: int, *, ill: tuple[str, ...] = (), refuses: int = 0) -> None:
        self.servers = PLAIN[:number]
        self.peers = {server.name: [server.peer] for server in self.servers}
        self.ill, self.refuses = ill, refuses
        self.asked: list[list[str]] = []

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        self.asked.append(command)
        url = command[1].removeprefix("--endpoints=")
        server = next((one for one in self.servers if one.client == url), None)
        if server is None or server.name in self.ill:
            return 1, "", "Error: context deadline exceeded"
        if "update" in command:
            if self.refuses:
                self.refuses -= 1
                return 1, "", "Error: etcdserver: unhealthy cluster"
            self.peers[f"s{command[-2]}"] = command[-1].removeprefix("--peer-urls=").split(",")
        listed = [
            {
                "ID": at,
                "name": one.name,
                "peerURLs": self.peers[one.name],
                "clientURLs": [one.client],
            }
            for at, one in enumerate(self.servers, 1)
        ]
        return 0, json.dumps({"members": listed}), ""


def turn(members: Members, servers: tuple[Server, ...] = SECURE, patience: int = 2) -> Turn:
    left = [patience]

    def pause(trouble: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise MemberError(trouble)

    control = Control(members, "etcdctl", TLS)
    known = servers[: len(members.servers)]
    return Turn(control, servers[0], known, pause, lambda _url: "http", clear_members=True)


@contextmanager
def served(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Somebody who says this to each line, with TLS where there is a context; host and port."""

    class Handler(socketserver.StreamRequestHandler):
        def setup(self) -> None:
            if context:
                self.request = context.wrap_socket(
                    self.request, server_side=True, do_handshake_on_connect=False
                )
            super().setup()

        def handle(self) -> None:
            if self.rfile.readline():
                self.wfile.write(answer)

        def finish(self) -> None:
            super().finish()
            self.request.close()

    class Quiet(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Somebody hung up, or spoke clear text."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_a_port_speaks_is_found_out_whatever_the_url_says(scheme: str) -> None:
    with served(b"HTTP/1.0 200 OK\r\n\r\n{}") as place:
        assert spoken(f"{scheme}://{place}") == "http"
    assert spoken(f"{scheme}://{place}") == ""


@pytest.mark.parametrize("asks_for_certificates", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_port_with_tls_is_seen_without_a_certificate_of_ours(
    tmp_path: Path, version: ssl.TLSVersion, asks_for_certificates: bool
) -> None:
    ca = make_ca()
    ca.write(tmp_path, "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_cert(["etcd"], ca).write(tmp_path, "etcd"))
    context.maximum_version = version
    if asks_for_certificates:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tmp_path / "ca.pem")
    with served(b"HTTP/1.0 200 OK\r\n\r\n", context) as place:
        assert spoken(f"http://{place}") == "https"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_port_with_something_else_speaks_neither(answer: bytes) -> None:
    with served(answer) as place:
        assert spoken(f"https://{place}") == ""


def test_members_are_asked_by_what_they_speak_and_no_certificate_is_shown_in_clear() -> None:
    members = Members(3)
    assert turn(members).settle(pretend=True) == "URLs for peers: https://10.0.0.1:2380"
    assert [command[1] for command in members.asked] == ["--endpoints=http://10.0.0.1:2379"]
    assert not any(word.startswith("--cert") for command in members.asked for word in command)
    assert members.peers["s1"] == ["http://10.0.0.1:2380"]


def test_another_member_that_should_speak_tls_is_not_asked_in_clear_because_it_says_so() -> None:
    mine = turn(Members(3))
    mine.clear_members = False
    assert [one.client for one in mine.asked()] == [PLAIN[0].client, SECURE[1].client, SECURE[2].client]
    mine.knock = lambda _url: "https"
    mine.servers, mine.me = PLAIN[:3], PLAIN[0]
    assert [one.client for one in mine.asked()] == [one.client for one in SECURE[:3]]


def test_the_others_know_both_urls_before_a_restart_and_one_after_it() -> None:
    members = Members(3, refuses=4)
    mine = turn(members)
    assert mine.announce() == "URLs for peers: http://10.0.0.1:2380 https://10.0.0.1:2380"
    assert members.peers["s1"] == ["http://10.0.0.1:2380", "https://10.0.0.1:2380"]
    assert mine.announce() == ""
    assert mine.settle() == "URLs for peers: https://10.0.0.1:2380"
    assert mine.settle() == ""
    assert (members.peers["s1"], members.peers["s2"]) == (["https://10.0.0.1:2380"], ["http://10.0.0.2:2380"])


def test_urls_that_etcd_does_not_take_are_told_with_its_words() -> None:
    with pytest.raises(MemberError, match=r"other URLs of s1: Error: etcdserver: unhealthy cluster"):
        turn(Members(3, refuses=99)).announce()


RESTARTS = [
    # members, who is not well, whether s1 may be restarted
    (1, (), True),
    (2, (), True),
    (2, ("s2",), True),  # there is no majority that would be lost
    (3, (), True),
    (3, ("s3",), False),
    (3, ("s2", "s3"), True),
    (5, ("s3",), True),
    (5, ("s2", "s3"), False),
]


@pytest.mark.parametrize(("number", "ill", "may"), RESTARTS)
def test_a_restart_never_takes_a_majority_that_is_there(number: int, ill: tuple[str, ...], may: bool) -> None:
    members = Members(number, ill=ill)
    mine = turn(members)
    if len(ill) * 2 >= number:  # without a majority nobody is healthy
        members.ill = tuple(server.name for server in members.servers)
    if may:
        mine.others_are_well()
    else:
        with pytest.raises(MemberError, match=f"by a restart of s1: {', '.join(ill)} is not well"):
            mine.others_are_well()


def test_it_is_waited_for_the_others() -> None:
    members = Members(3, ill=("s3",))
    waited: list[str] = []

    def pause(trouble: str) -> None:
        waited.append(trouble)
        members.ill = ()

    mine = turn(members)
    mine.pause = pause
    mine.others_are_well()
    assert len(waited) == 1
