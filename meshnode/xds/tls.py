"""TLS of the mesh in Envoy's words: the leaf and the roots by SDS, the peer's SPIFFE ID checked on both sides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from meshnode.xds.schema import message, packed

__all__ = ["LEAF", "ROOTS", "ads", "downstream", "secrets", "upstream"]

#: Names of the secrets.
LEAF: Final = "leaf"
ROOTS: Final = "roots"
_TLS: Final = "extensions.transport_sockets.tls.v3"


def ads() -> Any:
    """Where Envoy finds the rest: on the stream that it has open already."""
    return message("config.core.v3.ConfigSource")(ads={}, resource_api_version="V3")


def secrets(certificate_pem: str, key_pem: str, roots_pem: str) -> list[Any]:
    """The leaf with its key, and the roots."""
    secret = message(f"{_TLS}.Secret")
    chain, key = {"inline_string": certificate_pem}, {"inline_string": key_pem}
    return [
        secret(name=LEAF, tls_certificate={"certificate_chain": chain, "private_key": key}),
        secret(name=ROOTS, validation_context={"trusted_ca": {"inline_string": roots_pem}}),
    ]


def downstream(trust_domain: str, datacenters: Iterable[str] = ()) -> Any:
    """The transport socket of the public listener: clients must show a service's leaf of our trust domain.

    ``datacenters``: those that a client may be of; none named: any.
    """
    context = message(f"{_TLS}.DownstreamTlsContext")(
        common_tls_context=_common(_service_pattern(trust_domain, datacenters)),
        require_client_certificate={"value": True},
        # A resumed session isn't verified again, and a leaf may have ended since.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return _socket(context)


def upstream(identities: Iterable[str]) -> Any:
    """The transport socket towards instances that must prove to be one of ``identities``."""
    matchers = [_matcher({"exact": identity}) for identity in sorted(set(identities))]
    context = message(f"{_TLS}.UpstreamTlsContext")(
        common_tls_context=_common(*matchers), max_session_keys={"value": 0}
    )
    return _socket(context)


def _service_pattern(trust_domain: str, datacenters: Iterable[str]) -> Any:
    where = "|".join(re.escape(each) for each in sorted(datacenters)) or "[^/]+"
    pattern = f"spiffe://{re.escape(trust_domain)}/ns/[^/]+/dc/(?:{where})/svc/[^/]+"
    return _matcher({"safe_regex": {"regex": pattern}})


def _matcher(matcher: dict[str, Any]) -> Any:
    return message(f"{_TLS}.SubjectAltNameMatcher")(san_type="URI", matcher=matcher)


def _common(*matchers: Any) -> Any:
    source = ads()
    return message(f"{_TLS}.CommonTlsContext")(
        tls_params={"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        tls_certificate_sds_secret_configs=[{"name": LEAF, "sds_config": source}],
        combined_validation_context={
            "default_validation_context": {"match_typed_subject_alt_names": matchers},
            "validation_context_sds_secret_config": {"name": ROOTS, "sds_config": source},
        },
    )


def _socket(context: Any) -> Any:
    return message("config.core.v3.TransportSocket")(
        name="envoy.transport_sockets.tls", typed_config=packed(context)
    )
