from __future__ import annotations

import socket

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError
from meshnode.runtime.listening import bound_socket

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def bound(host: str, port: int, kind: socket.SocketKind = STREAM) -> socket.socket:
    return bound_socket(Address(host, port), kind, port_key="ports.x", address_key="addresses.x")


@pytest.mark.parametrize(("kind", "protocol"), [(STREAM, "TCP"), (DATAGRAM, "UDP")])
def test_a_taken_port_is_told_with_its_protocol_and_the_key_of_the_port(
    kind: socket.SocketKind, protocol: str
) -> None:
    with bound("127.0.0.1", 0, kind) as first:
        port = first.getsockname()[1]
        if kind is STREAM:
            first.listen()
        with pytest.raises(ConfigError) as caught:
            bound("127.0.0.1", port, kind)
    assert str(caught.value) == (
        f"ports.x: can't listen on 127.0.0.1:{port}: {protocol} port {port} is taken by another program: "
        "stop it, or change ports.x"
    )
    assert caught.value.key == "ports.x"


def test_an_address_of_another_machine_is_told_with_the_key_of_the_address() -> None:
    with pytest.raises(ConfigError) as caught:
        bound("192.0.2.1", 8500)
    assert str(caught.value) == (
        "addresses.x: can't listen on 192.0.2.1:8500: this machine has no such address: "
        "change addresses.x or client_addr"
    )
    assert caught.value.key == "addresses.x"


def test_a_kind_of_address_that_this_kernel_lacks_names_both_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_arguments: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", lacks)
    with pytest.raises(ConfigError, match=r"not supported by protocol: change ports\.x or addresses\.x"):
        bound("::1", 0)


def test_the_socket_blocks_nobody_and_both_families_may_have_one_port() -> None:
    with bound("127.0.0.1", 0) as four:
        assert not four.getblocking()
        with bound("::", four.getsockname()[1]) as six:
            assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
