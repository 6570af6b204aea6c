"""Connect from one datacenter to the other, through sidecars; and with access control on, what the copy needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from meshnode.testing import ApiError, Mesh, MeshAgent
from meshnode.testing.waiting import wait_until
from tests.support.envoy_mesh import EnvoyMesh
from tests.support.federation import CONFIG, allowed, leaf
from tests.support.programs import needs
from tests.support.proxy_command import ProxyCommand, application, talk
from tests.support.wire import free_port

pytestmark = needs("socat")


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    config = {**CONFIG, "ports": {"grpc": 8502}}
    with Mesh(servers=1, clients=1, datacenters=("dc1", "dc2"), config=config) as made:
        made["dc2-server1"].wait_for("/v1/connect/ca/roots", timeout=60)
        yield made


@pytest.fixture(scope="module")
def echo(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshAgent]:
    """``echo`` in dc2 behind its sidecar, and nowhere else."""
    directory, port, agent = tmp_path_factory.mktemp("echo"), free_port(), mesh["dc2-client1"]
    sidecar = {"port": free_port(), "checks": []}
    body = {"Name": "echo", "Port": port, "Connect": {"SidecarService": sidecar}}
    with ExitStack() as stack:
        stack.enter_context(application(port, directory))
        agent.api("/v1/agent/service/register", method="PUT", body=body)
        proxy = ProxyCommand(directory / "proxy.log", agent.http, "-sidecar-for", "echo")
        stack.callback(proxy.kill)
        proxy.wait_for("public listener starting on")
        mesh["dc1-client1"].wait_for(
            "/v1/health/connect/echo", query={"dc": "dc2", "passing": ""}, until=lambda rows: len(rows) == 1
        )
        yield agent


def source(mesh: Mesh, directory: Path, stack: ExitStack, *arguments: str) -> ProxyCommand:
    proxy = ProxyCommand(directory / f"{arguments[1]}.log", mesh["dc1-client1"].http, *arguments)
    stack.callback(proxy.kill)
    return proxy


def test_a_source_of_dc1_reaches_a_service_of_dc2_and_a_denial_written_in_dc1_ends_it(
    mesh: Mesh, echo: MeshAgent, tmp_path: Path
) -> None:
    del echo
    with ExitStack() as stack:
        port = free_port()
        proxy = source(mesh, tmp_path, stack, "-service", "web", "-upstream", f"echo.service.dc2:{port}")
        proxy.wait_ready()
        wait_until(lambda: talk(port, "over the WAN") == "over the WAN", 30)
        body = {"SourceName": "web", "DestinationName": "echo", "Action": "deny"}
        made = mesh["dc1-client1"].api("/v1/connect/intentions", method="POST", body=body)["ID"]
        wait_until(lambda: talk(port, "denied") == "", 30)
        assert not allowed(mesh["dc2-client1"], "web", "echo")
        mesh["dc2-client1"].api(f"/v1/connect/intentions/{made}", method="DELETE")
        wait_until(lambda: talk(port, "again") == "again", 30)


def test_a_sidecars_upstream_names_the_datacenter(mesh: Mesh, echo: MeshAgent, tmp_path: Path) -> None:
    del echo
    agent, port = mesh["dc1-client1"], free_port()
    upstream = {"DestinationName": "echo", "Datacenter": "dc2", "LocalBindPort": port}
    sidecar = {"Port": free_port(), "Proxy": {"Upstreams": [upstream]}, "Checks": []}
    body = {"Name": "shop", "Port": free_port(), "Connect": {"SidecarService": sidecar}}
    agent.api("/v1/agent/service/register", method="PUT", body=body)
    with ExitStack() as stack:
        source(mesh, tmp_path, stack, "-sidecar-for", "shop").wait_for("public listener starting on")
        wait_until(lambda: talk(port, "hello") == "hello", 30)


def test_an_upstream_of_a_prepared_query_goes_on_in_the_other_datacenter(
    mesh: Mesh, echo: MeshAgent, tmp_path: Path
) -> None:
    del echo
    service = {"Service": "echo", "Connect": True, "Failover": {"Datacenters": ["dc2"]}}
    agent, port = mesh["dc1-client1"], free_port()
    made = agent.api("/v1/query", method="POST", body={"Name": "anywhere", "Service": service})["ID"]
    with ExitStack() as stack:
        source(mesh, tmp_path, stack, "-service", "web", "-upstream", f"anywhere.query:{port}").wait_ready()
        wait_until(lambda: talk(port, "wherever") == "wherever", 30)
    agent.api(f"/v1/query/{made}", method="DELETE")


def test_a_service_of_the_same_name_in_another_datacenter_is_not_who_was_asked_for(
    mesh: Mesh, echo: MeshAgent, tmp_path: Path
) -> None:
    """Registered in dc1 with the address of dc2's sidecar: its certificate says dc2."""
    (there,) = mesh["dc1-client1"].api("/v1/health/connect/echo", query={"dc": "dc2"})
    service = {"Service": "echo-sidecar-proxy", "Kind": "connect-proxy", "Port": there["Service"]["Port"]}
    service |= {"Address": echo.host, "Proxy": {"DestinationServiceName": "echo"}}
    body = {"Node": "liar", "Address": echo.host, "Service": service}
    mesh["dc1-server1"].api("/v1/catalog/register", method="PUT", body=body)
    with ExitStack() as stack:
        port = free_port()
        proxy = source(mesh, tmp_path, stack, "-service", "web", "-upstream", f"echo:{port}")
        proxy.wait_ready()
        assert talk(port, "whoever") == ""
        proxy.wait_for("/dc/dc2/svc/echo")
    mesh["dc1-server1"].api("/v1/catalog/deregister", method="PUT", body={"Node": "liar"})


def end(sides: EnvoyMesh) -> None:
    for side in sides.sides:
        side.process.kill()
        side.process.wait()


@needs("envoy")
def test_envoys_of_both_datacenters_present_the_whole_chain_and_take_the_others(
    mesh: Mesh, echo: MeshAgent, tmp_path: Path
) -> None:
    """Envoy in dc2 behind our proxy in dc1, and the other way round: each verifies what the other one shows."""
    first: Any = mesh["dc1-client1"]
    second: Any = echo
    there, here = EnvoyMesh(second, tmp_path), EnvoyMesh(first, tmp_path)
    with ExitStack() as stack:
        for sides in (there, here):
            stack.callback(sides.ended.close)
            stack.callback(end, sides)
        application = there.application()
        body = {
            "Name": "kept",
            "Port": application.port,
            "Connect": {"SidecarService": {"Port": free_port()}},
        }
        second.api("/v1/agent/service/register", method="PUT", body=body)
        side = there.start("envoy", "kept")
        proxied, enveloped = free_port(), free_port()
        source(
            mesh, tmp_path, stack, "-service", "plain", "-upstream", f"kept.service.dc2:{proxied}"
        ).wait_ready()
        here.reaches(proxied)
        serial = leaf(second, "kept")["SerialNumber"].replace(":", "")
        assert serial in side.serials()
        upstream = {"DestinationName": "echo", "Datacenter": "dc2", "LocalBindPort": enveloped}
        sidecar = {"Port": free_port(), "Proxy": {"Upstreams": [upstream]}}
        body = {"Name": "caller", "Port": free_port(), "Connect": {"SidecarService": sidecar}}
        first.api("/v1/agent/service/register", method="PUT", body=body)
        here.start("envoy", "caller")
        wait_until(lambda: talk(enveloped, "through Envoy") == "through Envoy", 40)


def test_a_call_goes_on_at_another_server_of_the_datacenter_when_one_dies() -> None:
    with Mesh(servers=2, datacenters=("dc1", "dc2")) as pair:
        near = pair["dc1-server1"]
        near.api("/v1/kv/x", method="PUT", body=b"1", query={"dc": "dc2"})
        leader = pair["dc2-server1"].api("/v1/status/leader")
        others = [a for a in pair.servers if a.datacenter == "dc2" and not leader.startswith(f"{a.host}:")]
        for agent in others:
            agent.kill()
        answers = [near.request("/v1/kv/x", query={"dc": "dc2"}).status for _ in range(30)]
        assert answers == [200] * 30


def test_with_access_control_the_copy_needs_a_token_of_the_primary_that_sees_everything() -> None:
    with Mesh(servers=1, acl=True, datacenters=("dc1", "dc2"), config=CONFIG) as sealed:
        first, second = sealed["dc1-server1"], sealed["dc2-server1"]
        body = {"SourceName": "web", "DestinationName": "db", "Action": "allow"}
        first.api("/v1/connect/intentions", method="POST", body=body)
        second.wait_for_log("the copy of the primary datacenter may be old")
        policy = {"Name": "part", "Rules": 'service_prefix "x" { policy = "read" intentions = "read" }'}
        first.api("/v1/acl/policy", method="PUT", body=policy)
        part = first.api("/v1/acl/token", method="PUT", body={"Policies": [{"Name": "part"}]})["SecretID"]
        give = "/v1/agent/token/acl_replication_token"
        second.api(give, method="PUT", body={"Token": part})
        second.wait_for_log("shows only a part of its intentions and config entries")
        assert second.api("/v1/connect/intentions") == []
        rules = 'operator = "write" node_prefix "datacenter " { policy = "write" } '
        rules += 'service_prefix "" { policy = "read" intentions = "read" }'
        first.api("/v1/acl/policy", method="PUT", body={"Name": "copy", "Rules": rules})
        whole = first.api("/v1/acl/token", method="PUT", body={"Policies": [{"Name": "copy"}]})["SecretID"]
        second.api(give, method="PUT", body={"Token": whole})
        wait_until(lambda: allowed(second, "web", "db"), 30)
        second.wait_for("/v1/connect/ca/roots")
        assert leaf(second, "db")["CertPEM"].count("BEGIN") == 2
        assert second.log.count(whole) == second.log.count(part) == 0
        # Each datacenter checks tokens itself: this one isn't known in the other.
        own = second.api("/v1/acl/token", method="PUT", body={"Policies": []})["SecretID"]
        with pytest.raises(ApiError, match="ACL not found"):
            second.api("/v1/kv/x", query={"dc": "dc1"}, token=own)
