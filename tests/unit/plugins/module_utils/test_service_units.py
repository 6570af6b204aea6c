"""A service of the inventory as definition, units and environments."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import (
    MAX_SERVICES,
    Places,
    Service,
    ServicesError,
    services_from,
    wants_envoy,
)

SOCAT: dict[str, Any] = {
    "name": "socat",
    "port": 8181,
    "command": 'socat -v tcp-l:8181,fork,bind=127.0.0.1 exec:"/bin/cat"',
    "connect": {"sidecar_service": {}},
}


def one(row: dict[str, Any], **places: Any) -> Service:
    (service,) = services_from([row], Places(**places))
    return service


def line(text: str, name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
    return str(found)


def test_the_agent_is_told_what_is_its_own_and_nothing_of_processes() -> None:
    row = {**SOCAT, "environment": {"A": 1}, "files": {"a.txt": "x"}, "unit_settings": {"Nice": 5}}
    told = json.loads(one(row).definition)
    assert told == {"service": {"name": "socat", "port": 8181, "connect": {"sidecar_service": {}}}}


def test_a_service_has_a_unit_for_its_application_and_one_for_its_sidecar() -> None:
    service = one(SOCAT)
    assert [unit.name for unit in service.units] == ["mesh-app-socat.service", "mesh-sidecar-socat.service"]
    assert service.registered == ("socat", "socat-sidecar-proxy")
    application, sidecar = (unit.text for unit in service.units)
    assert line(application, "ExecStart") == "socat -v tcp-l:8181,fork,bind=127.0.0.1 exec:/bin/cat"
    assert line(sidecar, "ExecStart").endswith("/bin/meshnode connect proxy -sidecar-for socat")
    assert "consul.service" in line(sidecar, "After")
    for text in (application, sidecar):
        assert line(text, "User") not in {"", "root", "consul"}
        assert (line(text, "NoNewPrivileges"), line(text, "ProtectSystem")) == ("yes", "strict")


def test_without_a_command_or_a_sidecar_there_is_no_unit_for_it() -> None:
    assert one({"name": "web", "port": 1}).units == ()
    assert [unit.name for unit in one({**SOCAT, "command": None}).units] == ["mesh-sidecar-socat.service"]


def test_a_sidecar_may_have_another_id() -> None:
    row = {"id": "a", "name": "web", "connect": {"sidecar_service": {"id": "other"}}}
    assert one(row).registered == ("a", "other")


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("a b", '"a b"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ('say "x"', '"say \\"x\\""'),
        ("a\\b", '"a\\\\b"'),
        (";", '";"'),
        ("", '""'),
    ],
)
def test_words_reach_the_application_as_they_are(word: str, written: str) -> None:
    text = one({"name": "web", "command": ["run", word]}).units[0].text
    assert line(text, "ExecStart") == f"run {written}"


def test_a_token_is_in_the_environment_of_the_sidecar_and_not_in_its_unit() -> None:
    token = "4f0c1f5e-0000-4000-8000-aaaaaaaaaaaa"
    for service in (one({**SOCAT, "token": token}), one(SOCAT, token=token)):
        application, sidecar = service.units
        assert f'CONSUL_HTTP_TOKEN="{token}"' in sidecar.environment
        assert token not in sidecar.text + application.text + application.environment


def test_with_https_root_copies_the_agents_files_for_the_sidecar_alone() -> None:
    tls = {"ca_file": "/ssl/ca", "cert_file": "/ssl/cert", "key_file": "/ssl/key"}
    _application, sidecar = one(SOCAT, address="https://127.0.0.1:10443", **tls).units
    assert line(sidecar.text, "RuntimeDirectoryMode") == "0700"
    assert re.findall("^ExecStartPre=[+](.*)$", sidecar.text, re.MULTILINE) == [
        f"/usr/bin/install -T --owner=mesh-proxy --mode=0400 /ssl/{name} /run/mesh-sidecar-socat/{name}"
        for name in ("ca", "cert", "key")
    ]
    assert sidecar.environment.splitlines()[1:] == [
        'CONSUL_CACERT="/run/mesh-sidecar-socat/ca"',
        'CONSUL_CLIENT_CERT="/run/mesh-sidecar-socat/cert"',
        'CONSUL_CLIENT_KEY="/run/mesh-sidecar-socat/key"',
        'CONSUL_HTTP_ADDR="https://127.0.0.1:10443"',
        'CONSUL_HTTP_SSL="true"',
    ]


def test_a_sidecar_is_envoy_where_its_service_or_all_of_the_node_say_so() -> None:
    for row, places, plane in (
        ({}, {}, "builtin"),
        ({"data_plane": "envoy"}, {}, "envoy"),
        ({}, {"data_plane": "envoy"}, "envoy"),
        ({"data_plane": "builtin"}, {"data_plane": "envoy"}, "builtin"),
    ):
        service = one({**SOCAT, **row}, **places)
        words = line(service.units[1].text, "ExecStart").split()[1:]
        assert words[:4] == [
            "connect",
            {"builtin": "proxy", "envoy": "envoy"}[plane],
            "-sidecar-for",
            "socat",
        ]
        assert service.data_plane == plane
        assert "data_plane" not in service.definition
        assert wants_envoy([{**SOCAT, **row}], places.get("data_plane", "builtin")) is (plane == "envoy")
    assert one({"name": "web"}, data_plane="envoy").data_plane == ""
    assert not wants_envoy([{"name": "web"}, {"connect": 5}, {"connect": {}}, 5], "envoy")
    assert not wants_envoy("nonsense", "envoy")


def test_envoy_gets_what_the_built_in_proxy_gets_and_may_make_code_besides() -> None:
    tls = {"ca_file": "/ssl/ca", "cert_file": "/ssl/cert", "key_file": "/ssl/key"}
    given = {"address": "https://127.0.0.1:10443", "token": "4f0c1f5e-0000-4000-8000-aaaaaaaaaaaa", **tls}
    builtin = one(SOCAT, **given).units[1]
    envoy = one({**SOCAT, "data_plane": "envoy"}, **given).units[1]
    assert envoy.environment == builtin.environment
    differs = {"MemoryDenyWriteExecute", "ExecStart", "KillMode", "Environment"}
    for text in builtin.text.splitlines():
        assert text in envoy.text or text.startswith("#") or text.partition("=")[0] in differs
    *_, last = re.findall("^MemoryDenyWriteExecute=(.*)$", envoy.text, re.MULTILINE)
    assert last == "no"


def test_an_envoy_that_was_brought_is_the_one_that_is_run() -> None:
    row = {**SOCAT, "data_plane": "envoy"}
    assert line(one(row).units[1].text, "ExecStart").endswith("-sidecar-for socat -admin-bind=")
    brought = line(one(row, envoy="/opt/envoy", envoy_digest="d1").units[1].text, "ExecStart")
    assert brought.endswith("-sidecar-for socat -admin-bind= -envoy-binary /opt/envoy")


def test_another_envoy_is_a_reason_to_restart_it_and_a_new_package_is_none() -> None:
    row = {**SOCAT, "data_plane": "envoy"}
    (_, first), (_, package), (_, envoy) = (
        digests(row, envoy_digest="d1"),
        digests(row, envoy_digest="d1", package="new", kept_packages=("old",)),
        digests(row, envoy_digest="d2"),
    )
    assert first == package != envoy
    assert digests(row, envoy_digest="d1")[0] == digests(SOCAT)[0]


def digests(row: dict[str, Any], **places: Any) -> list[str]:
    return [unit.digest for unit in one(row, **places).units]


def test_a_process_is_known_by_all_that_it_was_started_with() -> None:
    app, sidecar = digests(SOCAT)
    assert digests(SOCAT) == [app, sidecar]
    for other in (
        {"command": ["socat"]},
        {"environment": {"A": "b"}},
        {"files": {"a": "b"}},
        {"unit_settings": {"Nice": 1}},
    ):
        assert digests({**SOCAT, **other})[0] != app
        assert digests({**SOCAT, **other})[1] == sidecar
    assert digests(SOCAT, package="new") == [app, digests(SOCAT, package="new")[1]]
    assert digests(SOCAT, package="new")[1] != sidecar
    upstream = {"sidecar_service": {"proxy": {"upstreams": [{"destination_name": "x"}]}}}
    assert digests({**SOCAT, "connect": upstream}) == [app, sidecar]


def test_the_digest_is_in_the_unit_as_a_process_carries_it() -> None:
    units = one(SOCAT).units
    assert len(units) == 2
    for unit in units:
        assert line(unit.text, "Environment") == f"MESHNODE_UNIT_DIGEST={unit.digest}"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "services[0]: '' is no name"),
        ({"name": "../etc"}, "services[0]: '../etc' is no name"),
        ({"name": "x" * 65}, "at most 64"),
        ({"name": "web", "command": 'say "'}, "services[0].command: No closing quotation"),
        ({"name": "web", "command": 5}, "services[0].command: write a line"),
        ({"name": "web", "command": ["a\nb"]}, "control characters"),
        ({"name": "web", "files": ["a"]}, "services[0].files: is a list"),
        ({"name": "web", "files": {"../a": "x"}}, "services[0].files.../a: write a file name"),
        ({"name": "web", "files": {"a": 5}}, "services[0].files.a: write a file name"),
        ({"name": "web", "command": "a", "environment": {"A B": 1}}, "services[0].environment.A B"),
        ({"name": "web", "command": "a", "environment": {"A": "x\ny"}}, "one line of text"),
        (
            {"name": "web", "data_plane": "nginx"},
            "services[0].data_plane: 'nginx' is none: write builtin or envoy",
        ),
        ({"name": "web", "data_plane": ["envoy"]}, "services[0].data_plane: \"['envoy']\" is none"),
        ({"name": "web", "data_plane": "envoy"}, "services[0].data_plane: the service has no sidecar"),
        ({"name": "web", "command": "a", "unit_settings": {"Nice": "1\nUser=root"}}, "has a line break"),
    ],
)
def test_what_cannot_be_is_named(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ServicesError, match=re.escape(said)):
        one(row)


def test_an_id_is_there_once() -> None:
    with pytest.raises(ServicesError, match=re.escape("services[1]: the id web comes twice")):
        services_from([{"name": "web"}, {"id": "web", "name": "other"}], Places())


def test_as_many_services_as_a_node_may_have_and_one_more() -> None:
    rows = [{"name": f"s{number}"} for number in range(MAX_SERVICES + 1)]
    assert len(services_from(rows[:-1], Places())) == MAX_SERVICES
    with pytest.raises(ServicesError, match="more than 256"):
        services_from(rows, Places())
