"""Listeners as Envoy's bootstrap: what each mode has, and where certificates come from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshnode.proxy.config import Endpoint
from meshnode.tls_modes.parse import parse_tls_proxy
from meshnode.xds.tls_modes import secret_documents, tls_modes_bootstrap

FILES = 'certificate { cert_file = "/c/a.crt" key_file = "/c/a.key" }'
CHECKED = 'upstream { address = "service:443" ca_file = "/c/ca.crt" sni = "sent" server_name = "checked" }'
CONFIG = f"""
listener "terminate" {{ bind = "127.0.0.1:1" mode = "terminate" {FILES} upstream {{ address = "10.0.0.1:80" }} }}
listener "bridge" {{ bind = "127.0.0.1:2" mode = "bridge" {FILES} {CHECKED} }}
listener "originate" {{ bind = "127.0.0.1:3" mode = "originate" {CHECKED} }}
listener "passthrough" {{ bind = "127.0.0.1:4" mode = "passthrough" upstream {{ address = "service:443" }} }}
"""


def compiled(text: str = CONFIG, **options: Any) -> dict[str, Any]:
    found = tls_modes_bootstrap(parse_tls_proxy(text, "t.hcl"), **options)
    assert json.loads(json.dumps(found)) == found
    return found


def listener(found: dict[str, Any], name: str) -> dict[str, Any]:
    one: dict[str, Any] = next(e for e in found["static_resources"]["listeners"] if e["name"] == name)
    return one


def cluster(found: dict[str, Any], name: str) -> dict[str, Any]:
    one: dict[str, Any] = next(e for e in found["static_resources"]["clusters"] if e["name"] == name)
    return one


def tls_of(one: dict[str, Any]) -> dict[str, Any] | None:
    """The typed TLS context of a listener's chain or of a cluster."""
    holder = one["filter_chains"][0] if "filter_chains" in one else one
    socket = holder.get("transport_socket")
    return None if socket is None else dict(socket["typed_config"])


@pytest.mark.parametrize(
    ("name", "outer", "inner", "filters"),
    [
        ("terminate", True, False, "http_connection_manager"),
        ("bridge", True, True, "http_connection_manager"),
        ("originate", False, True, "http_connection_manager"),
        ("passthrough", False, False, "tcp_proxy"),
    ],
)
def test_each_mode_has_tls_where_it_says_so_and_looks_at_http_or_not(
    name: str, outer: bool, inner: bool, filters: str
) -> None:
    found = compiled()
    one = listener(found, name)
    assert (tls_of(one) is not None, tls_of(cluster(found, name)) is not None) == (outer, inner)
    assert [each["name"] for each in one["filter_chains"][0]["filters"]] == [
        f"envoy.filters.network.{filters}"
    ]


def test_passthrough_looks_for_the_name_and_takes_nothing_but_tls() -> None:
    one = listener(compiled(), "passthrough")
    assert [each["name"] for each in one["listener_filters"]] == ["envoy.filters.listener.tls_inspector"]
    assert one["filter_chains"][0]["filter_chain_match"] == {"transport_protocol": "tls"}
    named = CONFIG.replace(
        'mode = "passthrough"', 'mode = "passthrough" server_names = ["a.test", "*.b.test"]'
    )
    match = listener(compiled(named), "passthrough")["filter_chains"][0]["filter_chain_match"]
    assert match["server_names"] == ["a.test", "*.b.test"]


def test_an_upstream_is_checked_for_its_ca_and_name_and_asked_for_the_name_that_is_sent() -> None:
    found = tls_of(cluster(compiled(), "bridge"))
    assert found is not None
    assert (found["sni"], found["max_session_keys"]) == ("sent", 0)
    checked = found["common_tls_context"]["validation_context"]
    assert checked["trusted_ca"] == {"filename": "/c/ca.crt"}
    names = checked["match_typed_subject_alt_names"]
    assert names == [{"san_type": "DNS", "matcher": {"exact": "checked"}}]


def test_an_address_is_checked_as_one() -> None:
    found = tls_of(cluster(compiled(CONFIG.replace('"checked"', '"10.0.0.9"')), "originate"))
    assert found is not None
    names = found["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert names == [{"san_type": "IP_ADDRESS", "matcher": {"exact": "10.0.0.9"}}]


def test_only_who_says_so_believes_every_upstream() -> None:
    text = CONFIG.replace(CHECKED, 'upstream { address = "service:443" insecure_skip_verify = true }')
    found = tls_of(cluster(compiled(text), "bridge"))
    assert found is not None
    assert "validation_context" not in found["common_tls_context"]
    assert "sni" not in found


def test_with_a_folder_files_come_as_secrets_that_are_watched_there() -> None:
    config, found = parse_tls_proxy(CONFIG, "t.hcl"), compiled(secrets_dir="/run/s")
    documents = secret_documents(config, secrets_dir="/run/s")
    assert sorted(documents) == [
        *("bridge.authorities.json", "bridge.certificate.json"),
        *("originate.authorities.json", "terminate.certificate.json"),
    ]
    shown = tls_of(listener(found, "bridge"))
    assert shown is not None
    (named,) = shown["common_tls_context"]["tls_certificate_sds_secret_configs"]
    assert named["name"] == "bridge.certificate"
    assert named["sds_config"]["path_config_source"] == {"path": "/run/s/bridge.certificate.json"}
    (secret,) = documents["bridge.certificate.json"]["resources"]
    assert secret["name"] == "bridge.certificate"
    assert secret["tls_certificate"] == {
        "certificate_chain": {"filename": "/c/a.crt"},
        "private_key": {"filename": "/c/a.key"},
        "watched_directory": {"path": "/run/s"},
    }
    checked = tls_of(cluster(found, "bridge"))
    assert checked is not None
    combined = checked["common_tls_context"]["combined_validation_context"]
    assert combined["validation_context_sds_secret_config"]["name"] == "bridge.authorities"
    assert combined["default_validation_context"]["match_typed_subject_alt_names"]


def test_without_a_folder_files_are_named_in_the_bootstrap() -> None:
    shown = tls_of(listener(compiled(), "terminate"))
    assert shown is not None
    assert shown["common_tls_context"]["tls_certificates"] == [
        {"certificate_chain": {"filename": "/c/a.crt"}, "private_key": {"filename": "/c/a.key"}}
    ]


def test_text_and_secrets_of_others_are_taken_as_they_are() -> None:
    text = CONFIG.replace(FILES, 'certificate { cert_pem = "CHAIN" key_pem = "KEY" }', 1)
    text = text.replace(FILES, 'certificate { sds_file = "/sds/e.json" sds_name = "e" }', 1)
    found = compiled(text.replace('ca_file = "/c/ca.crt"', 'ca_pem = "CA"'), secrets_dir="/run/s")
    shown, other = tls_of(listener(found, "terminate")), tls_of(listener(found, "bridge"))
    assert shown is not None
    assert other is not None
    (pair,) = shown["common_tls_context"]["tls_certificates"]
    assert pair == {"certificate_chain": {"inline_string": "CHAIN"}, "private_key": {"inline_string": "KEY"}}
    (named,) = other["common_tls_context"]["tls_certificate_sds_secret_configs"]
    assert (named["name"], named["sds_config"]["path_config_source"]) == (
        "e",
        {"path": "/sds/e.json", "watched_directory": {"path": "/sds"}},
    )
    checked = tls_of(cluster(found, "bridge"))
    assert checked is not None
    assert checked["common_tls_context"]["validation_context"]["trusted_ca"] == {"inline_string": "CA"}


def test_names_are_resolved_by_envoy_and_addresses_are_not() -> None:
    found = compiled()
    assert cluster(found, "bridge")["type"] == "STRICT_DNS"
    assert cluster(found, "terminate")["type"] == "STATIC"


def test_envoy_s_own_api_is_where_it_is_said_or_nowhere() -> None:
    assert "admin" not in compiled()
    said = compiled(f'admin = "127.0.0.1:9901"\n{CONFIG}')["admin"]["address"]["socket_address"]
    assert said == {"address": "127.0.0.1", "port_value": 9901}
    pipe = compiled(admin=Endpoint(path="/run/s/admin.sock"))["admin"]["address"]
    assert pipe == {"pipe": {"path": "/run/s/admin.sock"}}


def test_both_bounds_of_slow_and_large_requests_are_set() -> None:
    manager = listener(compiled(), "terminate")["filter_chains"][0]["filters"][0]["typed_config"]
    assert (manager["request_headers_timeout"], manager["max_request_headers_kb"]) == ("10s", 64)
    assert manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["timeout"] == "15s"
