"""TLS in Envoy's words. Of the mesh: the leaf and the roots by SDS, the peer's SPIFFE ID checked on both sides.

At its edges: the leaf alone towards clients, files and names towards servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from meshnode.base.address import is_ip_address
from meshnode.config_entries.gateways import LinkedService
from meshnode.xds.schema import message, packed

__all__ = [
    "LEAF",
    "ROOTS",
    "ads",
    "downstream",
    "edge",
    "leaf_secret",
    "outside",
    "roots_secret",
    "tls_socket",
    "upstream",
]

#: Names of the secrets.
LEAF: Final = "leaf"
ROOTS: Final = "roots"
_TLS: Final = "extensions.transport_sockets.tls.v3"


def ads() -> Any:
    """Where Envoy finds the rest: on the stream that it has open already."""
    return message("config.core.v3.ConfigSource")(ads={}, resource_api_version="V3")


def leaf_secret(certificate_pem: str, key_pem: str, name: str = LEAF) -> Any:
    """A leaf with its key; a gateway has several, each under a ``name`` of its own."""
    chain, key = {"inline_string": certificate_pem}, {"inline_string": key_pem}
    return message(f"{_TLS}.Secret")(
        name=name, tls_certificate={"certificate_chain": chain, "private_key": key}
    )


def roots_secret(roots_pem: str) -> Any:
    """The roots that everybody in the mesh is checked by."""
    trusted = {"trusted_ca": {"inline_string": roots_pem}}
    return message(f"{_TLS}.Secret")(name=ROOTS, validation_context=trusted)


def downstream(trust_domain: str, datacenters: Iterable[str] = (), leaf: str = LEAF) -> Any:
    """The transport socket of the public listener: clients must show a service's leaf of our trust domain.

    ``datacenters``: those that a client may be of; none named: any. ``leaf``: the secret that is shown to them.
    """
    context = message(f"{_TLS}.DownstreamTlsContext")(
        common_tls_context=_common(_service_pattern(trust_domain, datacenters), leaf=leaf),
        require_client_certificate={"value": True},
        # A resumed session isn't verified again, and a leaf may have ended since.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return tls_socket(context)


def edge(least: str, most: str, cipher_suites: Iterable[str] = ()) -> Any:
    """The transport socket towards clients outside of the mesh, who show no certificate.

    ``least`` and ``most``: versions such as ``TLSv1_2``; empty: 1.2 and 1.3.
    """
    auto = {"", "TLS_AUTO"}
    context = message(f"{_TLS}.DownstreamTlsContext")(
        common_tls_context={
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2" if least in auto else least,
                "tls_maximum_protocol_version": "TLSv1_3" if most in auto else most,
                "cipher_suites": list(cipher_suites),
            },
            "tls_certificate_sds_secret_configs": [{"name": LEAF, "sds_config": ads()}],
            "alpn_protocols": ["h2", "http/1.1"],
        }
    )
    return tls_socket(context)


def outside(linked: LinkedService, hosts: Iterable[str]) -> Any:
    """The transport socket towards a service outside of the mesh, whose certificate must be of its CA and its name.

    The name is the SNI that the link has, or one of ``hosts``. Files are on the gateway's disk.
    """
    names = [linked.sni] if linked.sni else sorted(set(hosts))
    matchers = [_matcher({"exact": name}, "IP_ADDRESS" if is_ip_address(name) else "DNS") for name in names]
    common: dict[str, Any] = {
        "validation_context": {
            "trusted_ca": {"filename": linked.ca_file},
            "match_typed_subject_alt_names": matchers,
        }
    }
    if linked.cert_file:
        chain, key = {"filename": linked.cert_file}, {"filename": linked.key_file}
        common["tls_certificates"] = [{"certificate_chain": chain, "private_key": key}]
    named = [name for name in names if not is_ip_address(name)]
    context = message(f"{_TLS}.UpstreamTlsContext")(
        common_tls_context=common, sni=named[0] if len(named) == 1 else ""
    )
    return tls_socket(context)


def upstream(identities: Iterable[str], *, sni: str = "") -> Any:
    """The transport socket towards instances that must prove to be one of ``identities``; ``sni`` is asked for."""
    matchers = [_matcher({"exact": identity}) for identity in sorted(set(identities))]
    context = message(f"{_TLS}.UpstreamTlsContext")(
        common_tls_context=_common(*matchers), max_session_keys={"value": 0}, sni=sni
    )
    return tls_socket(context)


def _service_pattern(trust_domain: str, datacenters: Iterable[str]) -> Any:
    where = "|".join(re.escape(each) for each in sorted(datacenters)) or "[^/]+"
    pattern = f"spiffe://{re.escape(trust_domain)}/ns/[^/]+/dc/(?:{where})/svc/[^/]+"
    return _matcher({"safe_regex": {"regex": pattern}})


def _matcher(matcher: dict[str, Any], kind: str = "URI") -> Any:
    return message(f"{_TLS}.SubjectAltNameMatcher")(san_type=kind, matcher=matcher)


def _common(*matchers: Any, leaf: str = LEAF) -> Any:
    source = ads()
    return message(f"{_TLS}.CommonTlsContext")(
        tls_params={"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        tls_certificate_sds_secret_configs=[{"name": leaf, "sds_config": source}],
        combined_validation_context={
            "default_validation_context": {"match_typed_subject_alt_names": matchers},
            "validation_context_sds_secret_config": {"name": ROOTS, "sds_config": source},
        },
    )


def tls_socket(context: Any) -> Any:
    """The transport socket of a TLS context, of either side."""
    return message("config.core.v3.TransportSocket")(
        name="envoy.transport_sockets.tls", typed_config=packed(context)
    )
