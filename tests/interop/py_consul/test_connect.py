"""py-consul: config entries, intentions and certificates of the mesh."""

from __future__ import annotations

import consul
import pytest
from consul.exceptions import ClientError, ConsulException
from cryptography import x509

from tests.support.py_consul import eventually

# Connect


def test_a_config_entry_is_written_read_listed_and_deleted(client: consul.Consul, name: str) -> None:
    kind = "service-defaults"
    assert client.config.set(kind, name, {"Protocol": "http"}) is True
    entry = client.config.get(kind, name)
    assert (entry["Kind"], entry["Name"], entry["Protocol"]) == (kind, name, "http")
    assert entry in client.config.list(kind)
    index = entry["ModifyIndex"]
    assert client.config.set(kind, name, {"Protocol": "grpc"}, cas=index + 1) is False
    assert client.config.set(kind, name, {"Protocol": "grpc"}, cas=index) is True
    assert client.config.delete(kind, name, cas=index) is False
    assert client.config.delete(kind, name) is True
    assert client.config.get(kind, name) is None


def test_the_discovery_chain_of_a_service_is_compiled(client: consul.Consul, name: str) -> None:
    chain = client.discovery_chain.get(name)["Chain"]
    start = f"resolver:{name}.default.dc1"
    assert (chain["ServiceName"], chain["Protocol"], chain["StartNode"]) == (name, "tcp", start)
    other = client.discovery_chain.get(
        name,
        compile_dc="dc2",
        override_connect_timeout="7s",
        override_protocol="http",
        override_mesh_gateway_mode="remote",
    )["Chain"]
    assert (other["Protocol"], other["Datacenter"]) == ("http", "dc2")
    assert other["Nodes"][other["StartNode"]]["Resolver"]["ConnectTimeout"] == "7s"
    assert other["CustomizationHash"]


def test_an_intention_is_written_read_checked_and_deleted(client: consul.Consul, name: str) -> None:
    assert client.connect.intentions.check(f"{name}-a", f"{name}-b") is True
    assert client.connect.intentions.upsert(
        f"{name}-a", f"{name}-b", action="deny", description="d", meta={"k": "v"}
    )
    found = client.connect.intentions.read(f"{name}-a", f"{name}-b")
    assert (found["Action"], found["Description"], found["Meta"]) == ("deny", "d", {"k": "v"})
    assert (found["SourceName"], found["DestinationName"], found["Precedence"]) == (
        f"{name}-a",
        f"{name}-b",
        9,
    )
    assert client.connect.intentions.check(f"{name}-a", f"{name}-b", source_type="consul") is False
    assert [
        one["DestinationName"] for one in client.connect.intentions.list() if one["SourceName"] == f"{name}-a"
    ] == [f"{name}-b"]
    assert [
        one["Action"] for one in client.connect.intentions.match("destination", f"{name}-b")[f"{name}-b"]
    ] == ["deny"]
    assert [one["Action"] for one in client.connect.intentions.match("source", f"{name}-a")[f"{name}-a"]] == [
        "deny"
    ]
    assert client.connect.intentions.upsert(f"{name}-a", f"{name}-b", action="allow")
    assert client.connect.intentions.check(f"{name}-a", f"{name}-b") is True
    assert client.connect.intentions.delete(f"{name}-a", f"{name}-b")
    assert client.connect.intentions.read(f"{name}-a", f"{name}-b") is None
    with pytest.raises(ConsulException):
        client.connect.intentions.upsert("a", "b", action="perhaps")


def test_a_leaf_is_signed_by_the_active_root(client: consul.Consul) -> None:
    roots = eventually(lambda: (found := client.connect.ca.roots())["Roots"] and found)
    [active] = [root for root in roots["Roots"] if root["Active"]]
    assert active["ID"] == roots["ActiveRootID"]
    assert client.agent.connect.ca.roots()["ActiveRootID"] == roots["ActiveRootID"]
    leaf = client.agent.connect.ca.leaf("web")
    assert leaf["Service"] == "web"
    assert leaf["ServiceURI"] == f"spiffe://{roots['TrustDomain']}/ns/default/dc/dc1/svc/web"
    certificate = x509.load_pem_x509_certificate(leaf["CertPEM"].encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(active["RootCert"].encode()))
    assert "PRIVATE KEY" in leaf["PrivateKeyPEM"]


def test_the_configuration_of_the_ca_is_read_and_changed(client: consul.Consul) -> None:
    before = client.connect.ca.configuration()
    assert before["Provider"] == "consul"
    assert client.connect.ca.update_configuration("consul", {**before["Config"], "LeafCertTTL": "71h"})
    assert client.connect.ca.configuration()["Config"]["LeafCertTTL"] == "71h"
    with pytest.raises(ConsulException):
        client.connect.ca.update_configuration("nobody", {})


def test_authorize_is_sent_with_a_method_that_consul_1_2_3_does_not_take(client: consul.Consul) -> None:
    with pytest.raises(ClientError, match="405 method PUT not allowed"):
        client.agent.connect.authorize("web", "spiffe://x", "00")
