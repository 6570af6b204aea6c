"""Services from HCL and JSON files, in the form in which the agent's API takes them."""

from __future__ import annotations

from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.suggest import did_you_mean
from meshnode.cli.data_argument import read_file
from meshnode.hcl.json_text import parse_json
from meshnode.hcl.located import Node, plain
from meshnode.hcl.parse import parse_hcl

__all__ = ["parse_services", "read_services"]


def _named(*names: str) -> dict[str, str]:
    return {name.replace("_", ""): name for name in names}


#: Keys of a service, as compared (no case, no underscores) and as the configuration's documentation writes them.
_SERVICE: Final = _named(
    *("kind", "id", "name", "tags", "address", "meta", "port", "token", "weights", "enable_tag_override"),
    *("check", "checks", "proxy_destination", "connect", "tagged_addresses", "socket_path", "proxy"),
)
_CHECK: Final = _named(
    *(
        "id",
        "check_id",
        "name",
        "notes",
        "service_id",
        "token",
        "status",
        "args",
        "script_args",
        "http",
        "header",
    ),
    *("method", "body", "disable_redirects", "tcp", "tcp_use_tls", "udp", "h2ping", "h2ping_use_tls", "grpc"),
    *(
        "grpc_use_tls",
        "tls_server_name",
        "tls_skip_verify",
        "certificate",
        "docker_container_id",
        "shell",
        "ttl",
    ),
    *("interval", "timeout", "output_max_size", "success_before_passing", "failures_before_warning"),
    *(
        "failures_before_critical",
        "deregister_critical_service_after",
        "alias_node",
        "alias_service",
        "os_service",
    ),
)
#: Objects whose keys are the user's own: passed on as they are.
_FREE: Final = frozenset({"meta", "header", "config", "taggedaddresses"})


def read_services(paths: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every service of the files, in order; raises :class:`~meshnode.base.errors.MeshError`."""
    services: list[dict[str, Any]] = []
    for path in paths:
        data = read_file(path)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ConfigError("it is not UTF-8 text", where=path) from None
        found = parse_services(text, path)
        if not found:
            raise ConfigError('it holds no service: write service { name = "web" }', where=path)
        services += found
    return services


def parse_services(text: str, where: str) -> list[dict[str, Any]]:
    """The services of one text under ``service`` and ``services``; other keys are the agent's and passed over."""
    tree = parse_json(text, where) if where.endswith(".json") else parse_hcl(text, where)
    if not isinstance(tree.value, dict):
        raise ConfigError('write an object, as in {"service": {"name": "web"}}', where=str(tree.origin))
    return [_service(node) for key in ("service", "services") for node in _items(tree.value.get(key))]


def _items(node: Node | None) -> list[Node]:
    if node is None:
        return []
    return node.value if isinstance(node.value, list) else [node]


def _service(node: Node) -> dict[str, Any]:
    service = _object(node, _SERVICE, "a service")
    if not service.get("name") and not service.get("id"):
        raise ConfigError('a service needs a name: add name = "web"', where=str(node.origin))
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            if _plain_name(key) in {"check", "checks"}:
                checks = [_object(item, _CHECK, "a check") for item in _items(child)]
                single = _plain_name(key) == "check" and not isinstance(child.value, list)
                service.pop(_plain_name(key))
                service["check" if single else "checks"] = checks[0] if single else checks
    return service


def _object(node: Node, known: dict[str, str], what: str) -> dict[str, Any]:
    if not isinstance(node.value, dict):
        raise ConfigError(f"{what} is an object: write {{ ... }}", where=str(node.origin))
    for key, child in node.value.items():
        if _plain_name(key) not in known:
            hint = did_you_mean(key, known.values())
            raise ConfigError(
                f"{what} has no key {key!r}{hint}", key=key, where=str(child.key_origin or child.origin)
            )
    # The API compares names without case; it knows no underscores.
    return {
        _plain_name(key): _translated(_plain_name(key), plain(child)) for key, child in node.value.items()
    }


def _translated(key: str, value: Any) -> Any:
    if isinstance(value, dict) and key not in _FREE:
        return {_plain_name(name): _translated(_plain_name(name), item) for name, item in value.items()}
    if isinstance(value, list):
        return [_translated(key, item) for item in value]
    if key == "port" and isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:20])
    return value


def _plain_name(key: str) -> str:
    return key.replace("_", "").lower()
