"""The command line of ``connect proxy``: what is asked for, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshnode.base.errors import MeshError
from meshnode.base.goflags import HelpRequested
from meshnode.cli.connect_proxy_plan import Mode, Plan, ProxyFlags
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener, Upstream

DB = Upstream(Endpoint("127.0.0.1", 8181), "db")
MAIL = Upstream(Endpoint("127.0.0.9", 25), "mail")


def plan(*args: str, **environ: str) -> Plan:
    return ProxyFlags().plan(args, environ)


def test_flags_are_a_configuration_with_upstreams_in_the_order_of_their_names() -> None:
    found = plan("-service", "web", "-upstream", "mail:127.0.0.9:25", "-upstream", "db:8181")
    assert (found.mode, found.config) == (Mode.FLAGS, ProxyConfig("web", None, (DB, MAIL)))
    assert found.shown == (
        "           Service: web",
        "          Upstream: db => :8181",
        "          Upstream: mail => 127.0.0.9:25",
        "   Public listener: Disabled",
    )
    assert (found.workers, found.register, found.warnings) == (1, False, ())


def test_a_public_listener_of_flags_is_shown_with_what_it_leads_to() -> None:
    found = plan(
        *("-service", "web", "-listen", ":8443", "-service-addr", "127.0.0.1:80"),
        *("-register", "-register-id", "x", "-workers=2"),
    )
    public = PublicListener(Endpoint("0.0.0.0", 8443), Endpoint("127.0.0.1", 80))
    assert found.config == ProxyConfig("web", public)
    assert found.shown[-1] == "   Public listener: 0.0.0.0:8443 => 127.0.0.1:80"
    assert (found.register, found.suffix, found.workers) == (True, "x", 2)


@pytest.mark.parametrize(
    ("args", "environ", "proxy_id", "sidecar_for", "managed"),
    [
        (("-proxy-id", "p"), {}, "p", "", False),
        (("-sidecar-for", "web"), {}, "", "web", False),
        (("-proxy-id", "p", "-sidecar-for", "web"), {}, "p", "", False),
        ((), {"CONSUL_PROXY_ID": "p"}, "p", "", True),
        ((), {"CONNECT_PROXY_ID": "p"}, "p", "", True),
        (("-proxy-id", "q"), {"CONSUL_PROXY_ID": "p"}, "q", "", False),
        ((), {"CONSUL_SIDECAR_FOR": "web"}, "", "web", False),
        ((), {"CONNECT_SIDECAR_FOR": "web"}, "", "web", False),
    ],
)
def test_the_agent_has_the_configuration_of_a_proxy_that_is_named(
    args: tuple[str, ...], environ: dict[str, str], proxy_id: str, sidecar_for: str, managed: bool
) -> None:
    found = plan(*args, **environ)
    assert (found.mode, found.config) == (Mode.AGENT, None)
    assert (found.proxy_id, found.sidecar_for, found.managed) == (proxy_id, sidecar_for, managed)


@pytest.mark.parametrize(
    ("args", "environ", "token"),
    [
        ((), {"CONSUL_HTTP_TOKEN": "a"}, "a"),
        ((), {"CONSUL_HTTP_TOKEN": "a", "CONSUL_PROXY_TOKEN": "b"}, "b"),
        ((), {"CONNECT_PROXY_TOKEN": "b"}, "b"),
        (("-token", "c"), {"CONSUL_HTTP_TOKEN": "a", "CONSUL_PROXY_TOKEN": "b"}, "c"),
    ],
)
def test_the_token_is_the_flag_then_the_proxys_then_that_of_all_commands(
    args: tuple[str, ...], environ: dict[str, str], token: str
) -> None:
    found = plan("-service", "web", *args, **environ)
    assert found.settings.token == token
    assert "'" + token not in repr(found)


def test_flags_that_the_agents_configuration_replaces_are_told() -> None:
    found = plan("-proxy-id", "p", "-service", "web", "-upstream", "db:1")
    assert found.warnings == ("-service, -upstream: not used, the configuration comes from the agent",)


def test_a_proxy_without_listeners_is_warned_about() -> None:
    assert plan("-service", "web").warnings == ("nothing to do: give -upstream or -listen",)


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ((), "-service or -proxy-id must be specified so that proxy can configure itself"),
        (("-service", "web", "-upstream", "db"), "-upstream: Upstream value should be name:addr"),
        (("-service", "web", "-upstream", "a:1", "-upstream", "b:1"), "give each its own port"),
        (("-service", "web", "-listen", ":1"), "-service-addr must be specified with -listen"),
        (("-service", "web", "-service-addr", "a:1"), "-service-addr is of use only with -listen"),
        (("-service", "web", "-register"), "-register may only be specified with -service and -listen"),
        (("-proxy-id", "p", "-register"), "-register may only be specified with -service and -listen"),
        (("-service", "web", "-register-id", "x"), "-register-id is of use only with -register"),
        (("-service", "web", "-pprof-addr", ":1"), "-pprof-addr: profiles of Go can't be had"),
        (("-service", "web", "-workers", "65"), "65 is too large: the largest is 64"),
        (("-service", "web", "-log-level", "loud"), "Unknown log level: loud"),
        (("-service", "web", "extra"), "takes no arguments"),
        (("-sidecar", "web"), "flag provided but not defined: -sidecar"),
    ],
)
def test_what_cannot_be_done_is_refused(args: tuple[str, ...], problem: str) -> None:
    with pytest.raises(MeshError, match=problem):
        plan(*args)


def test_help_names_every_flag() -> None:
    with pytest.raises(HelpRequested) as usage:
        plan("-h")
    assert {"-sidecar-for", "-proxy-id", "-upstream", "-workers", "-http-addr"} <= {
        word.strip("=").partition("=")[0] for word in str(usage.value).split()
    }


# -dev-config


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    found = {}
    for name in ("cert", "key"):
        (tmp_path / name).write_text(name)
        found[f"dev_service_{name}_file"] = str(tmp_path / name)
    (tmp_path / "ca").write_text("ca")
    return {**found, "dev_ca_file": str(tmp_path / "ca")}


def test_a_file_has_configuration_and_certificates_in_json(files: dict[str, str], tmp_path: Path) -> None:
    upstreams = [{"destination_name": "db", "local_bind_port": 8181}]
    path = tmp_path / "proxy.json"
    path.write_text(json.dumps({"proxied_service_name": "web", "upstreams": upstreams, **files}))
    found = plan("-dev-config", str(path))
    assert (found.mode, found.config) == (Mode.FILE, ProxyConfig("web", None, (DB,)))
    assert found.static is not None
    assert (found.static.chain_pem, found.static.key_pem, found.static.roots_pem) == ("cert", "key", "ca")
    assert "intentions are NOT asked" in found.warnings[0]


def test_the_same_file_may_be_hcl(files: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "proxy.hcl"
    keys = "\n".join(f'{name} = "{value}"' for name, value in files.items())
    path.write_text(
        f'proxied_service_name = "web"\n{keys}\n'
        'public_listener {\n bind_port = 9\n local_service_address = "127.0.0.1:80"\n}\n'
        'upstreams {\n destination_name = "db"\n local_bind_port = 8181\n}\n'
    )
    public = PublicListener(Endpoint("0.0.0.0", 9), Endpoint("127.0.0.1", 80))
    assert plan("-dev-config", str(path)).config == ProxyConfig("web", public, (DB,))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "write an object"),
        ("{", "proxy.json"),
        ("{}", "proxied_service_name"),
        (
            '{"proxied_service_name": "web"}',
            "dev_service_cert_file, dev_service_key_file, dev_ca_file are all needed",
        ),
        ("\udcff", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "proxy.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(MeshError, match=problem):
        plan("-dev-config", str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="No such file"):
        plan("-dev-config", str(tmp_path / "none"))
