"""What a service speaks: its own word, else that of all proxies, else tcp."""

from __future__ import annotations

import pytest

from meshnode.config_entries.protocol import HTTP_LIKE, PROTOCOLS, is_http_like, resolve_protocol
from tests.support.config_entries import table

OWN = 'kind = "service-defaults"\nname = "Web"\nprotocol = "GRPC"'
SILENT = 'kind = "service-defaults"\nname = "web"\nmax_inbound_connections = 1'
SHARED = 'kind = "proxy-defaults"\nconfig { protocol = "HTTP" }'


@pytest.mark.parametrize(
    ("entries", "protocol"),
    [
        ((), "tcp"),
        ((OWN,), "grpc"),
        ((SHARED,), "http"),
        ((OWN, SHARED), "grpc"),
        ((SILENT,), "tcp"),
        ((SILENT, SHARED), "http"),
        (('kind = "proxy-defaults"\nconfig { other = 1 }',), "tcp"),
    ],
)
def test_who_says_what_a_service_speaks(entries: tuple[str, ...], protocol: str) -> None:
    assert resolve_protocol(table(*entries), "web") == protocol


def test_requests_are_told_apart_in_all_but_tcp() -> None:
    assert (
        {protocol for protocol in PROTOCOLS if is_http_like(protocol)}
        == HTTP_LIKE
        == set(PROTOCOLS) - {"tcp"}
    )
