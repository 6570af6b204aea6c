"""Rows of the catalog as Consul's API shows them; whole answers are in the tests of the routes."""

from __future__ import annotations

from meshnode.catalog.coordinates import Coordinate, NodeCoordinate
from meshnode.catalog.model import Check, CheckDefinition, Instance, Node, NodeDump, Service, ServiceAddress
from meshnode.catalog.wire import (
    check_fields,
    coordinate_fields,
    dump_fields,
    instance_fields,
    node_fields,
    service_fields,
    service_node_fields,
)

NODE = Node("n1", "10.0.0.1", meta={"b": "2", "a": "1"}, tagged_addresses={"wan": "w", "lan": "l"})


def test_maps_are_in_the_order_of_their_keys() -> None:
    service = Service("web", "w", meta={"z": "1", "y": "2"})
    check = Check("n1", "c", definition=CheckDefinition(header={"B": ("2",), "A": ("1",)}))
    assert list(node_fields(NODE)["Meta"]) == ["a", "b"]
    assert list(node_fields(NODE)["TaggedAddresses"]) == ["lan", "wan"]
    assert list(service_fields(service)["Meta"]) == ["y", "z"]
    flat = service_node_fields(Instance(NODE, service))
    assert (list(flat["ServiceMeta"]), list(flat["NodeMeta"])) == (["y", "z"], ["a", "b"])
    assert check_fields(check)["Definition"] == {"Header": {"A": ["1"], "B": ["2"]}}
    assert list(check_fields(check)["Definition"]["Header"]) == ["A", "B"]


def test_further_ways_to_a_service_are_shown_where_there_are_any() -> None:
    ways = {"wan": ServiceAddress("w", 2), "lan": ServiceAddress("l")}
    service = Service("web", "w", tagged_addresses=ways)
    shown = {"lan": {"Address": "l", "Port": 0}, "wan": {"Address": "w", "Port": 2}}
    assert service_fields(service)["TaggedAddresses"] == shown
    assert list(service_fields(service)["TaggedAddresses"]) == ["lan", "wan"]
    flat = service_node_fields(Instance(NODE, service))
    assert (flat["TaggedAddresses"], flat["ServiceTaggedAddresses"]) == ({"lan": "l", "wan": "w"}, shown)
    at_socket = Service("web", "w", socket_path="/run/w")
    assert service_fields(at_socket)["SocketPath"] == "/run/w"
    assert service_node_fields(Instance(NODE, at_socket))["ServiceSocketPath"] == "/run/w"
    assert not {"TaggedAddresses", "SocketPath"} & service_fields(Service("web", "w")).keys()
    bare = service_node_fields(Instance(NODE, Service("web", "w")))
    assert not {"ServiceTaggedAddresses", "ServiceSocketPath"} & bare.keys()


def test_an_empty_definition_is_an_empty_object() -> None:
    assert check_fields(Check("n1", "c"))["Definition"] == {}


def test_an_instance_and_a_dump_hold_the_rows_of_their_parts() -> None:
    service, check = Service("web", "w"), Check("n1", "c")
    assert instance_fields(Instance(NODE, service, (check,))) == {
        "Node": node_fields(NODE), "Service": service_fields(service), "Checks": [check_fields(check)]
    }  # fmt: skip
    dump = dump_fields(NodeDump(NODE, (service,), (check,)))
    assert list(dump) == ["ID", "Node", "Address", "TaggedAddresses", "Meta", "Services", "Checks"]
    assert (dump["Services"], dump["Checks"]) == ([service_fields(service)], [check_fields(check)])


def test_a_coordinate_has_its_numbers() -> None:
    row = NodeCoordinate("n1", "seg", Coordinate((1.0, *[0.0] * 7), 0.5, 0.25, 0.125))
    assert coordinate_fields(row) == {
        "Node": "n1", "Segment": "seg",
        "Coord": {"Vec": [1.0, 0, 0, 0, 0, 0, 0, 0], "Error": 0.5, "Adjustment": 0.25, "Height": 0.125},
    }  # fmt: skip
