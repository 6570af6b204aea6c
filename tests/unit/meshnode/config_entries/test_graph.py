"""Changes that would break what is there: refused with the reason; others are not in their way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meshnode.config_entries.graph import change_fault, permissions_fault
from meshnode.config_entries.model import ConfigEntry
from tests.support.config_entries import entry, http, table

SPLITTER = (
    'kind = "service-splitter"\nname = "web"\nsplits = [{ weight = 50 }, { weight = 50 service = "api" }]'
)
RESOLVER = 'kind = "service-resolver"\nname = "api"\nsubsets = { v1 = {} }'
ROUTER = 'kind = "service-router"\nname = "shop"\nroutes = [{ destination { service = "api" service_subset = "v1" } }]'
INGRESS = 'kind = "ingress-gateway"\nname = "in"\nlisteners = [{ port = 80 protocol = "http" services {name = "web"}}]'
GLOBAL = 'kind = "proxy-defaults"\nconfig { protocol = "http" }'
WHOLE: tuple[ConfigEntry | str, ...] = (*http("web", "api", "shop"), SPLITTER, RESOLVER, ROUTER, INGRESS)


@pytest.mark.parametrize(
    ("before", "text", "because"),
    [
        ((), SPLITTER, 'discovery chain "web" uses a protocol "tcp" that does not permit advanced routing'),
        (http("web"), SPLITTER, 'discovery chain "web" uses inconsistent protocols; service "api" has "tcp"'),
        (http("web", "api"), SPLITTER, ""),
        ((GLOBAL,), SPLITTER, ""),
        ((), INGRESS, 'service "web" has protocol "tcp", which does not match defined listener protocol "http"'),
        (http("web"), INGRESS, ""),
        (http("web"), INGRESS.replace("web", "*"), ""),
        (WHOLE, 'kind = "service-defaults"\nname = "web"\nprotocol = "tcp"', 'discovery chain "web" uses a prot'),
        (WHOLE, 'kind = "service-defaults"\nname = "WEB"\nprotocol = "grpc"', 'discovery chain "WEB" uses'),
        (WHOLE, 'kind = "service-defaults"\nname = "api"\nprotocol = "tcp"', 'discovery chain "'),
        (WHOLE, 'kind = "service-defaults"\nname = "other"\nprotocol = "tcp"', ""),
        (WHOLE, 'kind = "service-resolver"\nname = "api"', 'service "api" does not have a subset named "v1"'),
        (WHOLE, 'kind = "service-resolver"\nname = "web"\nredirect { service = "api" }', ""),
        ((*WHOLE, 'kind = "service-resolver"\nname = "a"\nredirect { service = "b" }'),
         'kind = "service-resolver"\nname = "b"\nredirect { service = "a" }', "detected circular resolver redirect: a"),
        ((GLOBAL, SPLITTER), GLOBAL.replace("http", "tcp"), 'discovery chain "web" uses a protocol "tcp"'),
        ((GLOBAL, SPLITTER), GLOBAL.replace("http", "grpc"), ""),
        ((GLOBAL, INGRESS), GLOBAL.replace("http", "grpc"), 'service "web" has protocol "grpc", which does not match'),
    ],
)  # fmt: skip
def test_a_change_that_breaks_something_is_refused(
    before: Sequence[ConfigEntry | str], text: str, because: str
) -> None:
    changed = entry(text)
    found = change_fault(table(*before), changed.key, changed)
    assert found.startswith(because)
    assert bool(found) == bool(because)


@pytest.mark.parametrize(
    ("key", "because"),
    [
        (("service-defaults", "web"), 'discovery chain "web" uses a protocol "tcp"'),
        (("service-defaults", "api"), 'discovery chain "'),
        (("service-resolver", "api"), 'service "api" does not have a subset named "v1"'),
        (("service-splitter", "web"), ""),
        (("service-router", "shop"), ""),
        (("ingress-gateway", "in"), ""),
    ],
)
def test_what_others_need_cannot_go(key: tuple[str, str], because: str) -> None:
    found = change_fault(table(*WHOLE), key, None)
    assert found.startswith(because)
    assert bool(found) == bool(because)


def test_intentions_about_requests_keep_their_destination_http() -> None:
    before = table(*http("web", "api"))
    defaults = entry('kind = "service-defaults"\nname = "web"\nprotocol = "tcp"')
    because = 'service "web" has protocol "tcp", which is incompatible with L7 intentions permissions'
    assert change_fault(before, defaults.key, defaults, ["web"]).startswith(because)
    assert change_fault(before, defaults.key, None, ["Web"]).startswith(because.replace("web", "Web"))
    assert change_fault(before, defaults.key, None, ["api"]) == ""
    shared = entry(GLOBAL)
    assert change_fault(table(shared), shared.key, None, ["web"]).startswith(because)


def test_an_intention_that_is_wrong_already_is_in_nobodys_way() -> None:
    shared = entry('kind = "proxy-defaults"\nconfig { x = 1 }')
    assert permissions_fault(table(), "web")
    assert change_fault(table(), shared.key, shared, ["web"]) == ""
    assert permissions_fault(table(*http("web", protocol="grpc")), "WEB") == ""
