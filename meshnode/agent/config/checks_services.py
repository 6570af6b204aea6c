"""Services, checks, watches and DNS settings: every mistake in them is found before anything starts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from meshnode.agent.config.checks_proxies import proxy_rules
from meshnode.base.address import Address
from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError, MeshError

if TYPE_CHECKING:
    from meshnode.agent.config.checks import Findings

__all__ = ["DNS_PORT", "settle_dns", "settle_services"]

#: Port of a recursor that is named without one.
DNS_PORT: Final = 53
#: Seconds: the longest TTL that a session may have.
MAX_TTL: Final = 86400.0
_DOMAIN: Final = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?"
)


def settle_services(found: Findings) -> None:
    """Try every definition out."""
    settings = found.settings
    if settings["services"] or settings["checks"]:
        from meshnode.agent.local_config import read_definitions  # here: few agents of the lab have any
        from meshnode.local.definitions import ScriptPolicy

        definitions = read_definitions(
            settings["services"],
            settings["checks"],
            proxies=proxy_rules(settings.__getitem__, settings["bind_addr"]),
            scripts=ScriptPolicy(settings["enable_script_checks"], settings["enable_local_script_checks"]),
        )
        for problem in definitions.problems:
            path = "services" if str(problem).startswith("services") else "checks"
            found.problem(path, str(problem))
    if settings["watches"]:
        from meshnode.agent.watch_handler import parse_watch  # here: it loads what runs them

        for index, watch in enumerate(settings["watches"]):
            try:
                parse_watch(watch, f"watches[{index}]")
            except ConfigError as error:
                found.problem("watches", str(error), index)
    if settings["check_output_max_size"] < 1:
        found.problem("check_output_max_size", "check_output_max_size must be positive")
    if settings["check_update_interval"] < 0:
        found.problem("check_update_interval", "check_update_interval cannot be negative")
    if not 0 < settings["session_ttl_min"] <= MAX_TTL:
        found.problem("session_ttl_min", f"session_ttl_min must be longer than 0s and at most {MAX_TTL:g}s")
    if settings["discovery_max_stale"] < 0:
        found.problem("discovery_max_stale", "discovery_max_stale cannot be negative")


def settle_dns(found: Findings) -> None:
    """Domains, recursors, TTLs and limits."""
    settings, values = found.settings, found.values
    for path in ("domain", "alt_domain"):
        name = settings[path]
        if name and not _DOMAIN.fullmatch(name):
            found.problem(path, f'{path}: "{name[:80]}" is not a domain name: write one like "consul."')
    values["alt_domain"] = f"{settings['alt_domain'].rstrip('.').lower()}." if settings["alt_domain"] else ""
    for index, text in enumerate(settings["recursors"]):
        try:
            Address.parse(text, DNS_PORT)
        except MeshError as error:
            found.problem("recursors", f"recursors[{index}]: {error}", index)
    ttls = {}
    for service, text in settings["dns_config.service_ttl"].items():
        try:
            ttls[service] = parse_duration(text)
        except ConfigError as error:
            found.problem("dns_config.service_ttl", f"dns_config.service_ttl.{service}: {error}")
            continue
        if ttls[service] < 0:
            found.problem(
                "dns_config.service_ttl", f"dns_config.service_ttl.{service}: a TTL can't be negative"
            )
    values["dns_config.service_ttl"] = ttls
    if settings["dns_config.udp_answer_limit"] <= 0:
        limit = settings["dns_config.udp_answer_limit"]
        found.problem(
            "dns_config.udp_answer_limit",
            f"dns_config.udp_answer_limit cannot be {limit}. Must be greater than zero",
        )
    for path in ("a_record_limit", "soa.refresh", "soa.retry", "soa.expire", "soa.min_ttl"):
        if settings[f"dns_config.{path}"] < 0:
            found.problem(f"dns_config.{path}", f"dns_config.{path} cannot be negative")
    for path in ("node_ttl", "max_stale", "recursor_timeout"):
        if settings[f"dns_config.{path}"] < 0:
            found.problem(f"dns_config.{path}", f"dns_config.{path} cannot be negative")
