"""Metrics as JSON and as Prometheus text; the foreign reader is prometheus_client's parser."""

from __future__ import annotations

import math

from prometheus_client import parser

from meshnode.base.metrics import Metrics
from meshnode.http.exposition import metrics_as_json, metrics_as_prometheus


def recorded() -> Metrics:
    metrics = Metrics(0.0)
    metrics.set_gauge("consul.runtime.num_goroutines", 12, 1.0)
    metrics.increment("consul.rpc.request", 1.0, by=3)
    metrics.increment("consul.rpc.request", 2.0, labels=(("dc", 'a"b\\c\nd'),))
    for value in range(1, 101):
        metrics.add_sample("consul.http.GET.v1.agent.self", float(value), 3.0)
    return metrics


def test_json_has_the_shape_of_go_metrics() -> None:
    shape = metrics_as_json(recorded().latest(4.0), "then")
    assert list(shape) == ["Timestamp", "Gauges", "Points", "Counters", "Samples"]
    assert shape["Timestamp"] == "then"
    assert shape["Gauges"] == [{"Name": "consul.runtime.num_goroutines", "Value": 12, "Labels": {}}]
    assert shape["Counters"][0] == {"Name": "consul.rpc.request", "Count": 1, "Rate": 0.3, "Sum": 3, "Min": 3, "Max": 3,
                                    "Mean": 3, "Stddev": 0, "Labels": {}}  # fmt: skip
    sample = shape["Samples"][0]
    assert (sample["Count"], sample["Min"], sample["Max"], sample["Mean"]) == (100, 1, 100, 50.5)
    assert math.isclose(sample["Stddev"], 29.011491975882016)


def test_prometheus_reads_every_family() -> None:
    text = metrics_as_prometheus(recorded(), 4.0, 60.0)
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert {name: family.type for name, family in families.items()} == {
        "consul_http_GET_v1_agent_self": "summary",
        "consul_rpc_request": "counter",
        "consul_runtime_num_goroutines": "gauge",
    }
    counted = {tuple(s.labels.items()): s.value for s in families["consul_rpc_request"].samples}
    assert counted == {(): 3.0, (("dc", 'a"b\\c\nd'),): 1.0}
    summary = {
        (s.name[-5:], s.labels.get("quantile")): s.value
        for s in families["consul_http_GET_v1_agent_self"].samples
    }
    assert summary["count", None] == 100
    assert summary["_self", "0.5"] == 51


def test_what_did_not_change_within_the_retention_is_left_out() -> None:
    metrics = recorded()
    assert metrics_as_prometheus(metrics, 61.5, 60.0).count("# TYPE") == 2
    assert metrics_as_prometheus(metrics, 100.0, 60.0) == ""


def test_two_names_that_become_one_keep_one_type() -> None:
    metrics = Metrics(0.0)
    metrics.set_gauge("a.b", 1, 0.0)
    metrics.increment("a-b", 0.0)
    assert metrics_as_prometheus(metrics, 0.0, 60.0).count("# TYPE consul_a_b") == 1
    list(parser.text_string_to_metric_families(metrics_as_prometheus(metrics, 0.0, 60.0)))
