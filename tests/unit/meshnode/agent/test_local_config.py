"""Definitions of the configuration: all of them are read, and all mistakes are named at once."""

from __future__ import annotations

from meshnode.agent.config.schema import read_settings
from meshnode.agent.local_config import read_definitions
from meshnode.hcl.parse import parse_hcl
from meshnode.local.check_type import HttpCheck, TtlCheck

TEXT = """
service {
  name = "web"
  port = 80
  tags = ["v1"]
  check {
    http = "http://localhost:80/health"
    interval = "10s"
    tls_skip_verify = true
    deregister_critical_service_after = "90s"
  }
}
services = [{ name = "db", checks = [{ id = "up", name = "Up", ttl = "30s" }] }]
check = { name = "disk", ttl = "1m" }
"""


def test_what_the_loader_gives_is_read() -> None:
    fragment, problems = read_settings(parse_hcl(TEXT, "agent.hcl"))
    assert problems == []
    found = read_definitions(fragment["services"].value, fragment["checks"].value)
    assert found.problems == ()
    web, db = found.services
    assert (web.port, web.tags, web.checks[0].id) == (80, ("v1",), "service:web")
    assert web.checks[0].run == HttpCheck(
        url="http://localhost:80/health", interval=10.0, tls_skip_verify=True
    )
    assert web.checks[0].deregister_critical_service_after == 90.0
    assert (db.checks[0].id, db.checks[0].run) == ("up", TtlCheck(ttl=30.0))
    assert found.checks[0].run == TtlCheck(ttl=60.0)


def test_every_mistake_is_named_with_its_place() -> None:
    found = read_definitions(
        [{"name": "web"}, {"port": 1}, {"id": "WEB", "name": "other", "check": {"id": "c", "ttl": 1.0}}],
        [{"name": "c", "ttl": 1.0}, {"name": "x", "interval": 1.0}, {"name": "c", "ttl": 1.0}],
    )
    assert [str(problem) for problem in found.problems] == [
        "services[1]: Missing service name",
        'services[2]: the id "WEB" is taken by services[0]: give one of them another id',
        "checks[1]: TTL must be > 0 for TTL checks: set TTL, or one of Args, DockerContainerID, HTTP, TCP, UDP, "
        "H2PING, GRPC, AliasNode, Certificate",
        'checks[2]: the id "c" is taken by checks[0]: give one of them another id',
        'checks[0]: the id "c" is taken by services[2]: give one of them another id',
        'checks[2]: the id "c" is taken by services[2]: give one of them another id',
    ]


def test_nothing_configured_is_nothing() -> None:
    found = read_definitions([], [])
    assert (found.services, found.checks, found.problems) == ((), (), ())
