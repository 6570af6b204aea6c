"""What an intention may not be, whatever the state holds. The texts are Consul's where Consul has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from meshnode.base.errors import ConfigError
from meshnode.base.regexp import Work
from meshnode.intentions.model import (
    ACTIONS,
    SOURCE_CONSUL,
    WILDCARD,
    HeaderMatch,
    HttpMatch,
    Intention,
    Permission,
)
from meshnode.intentions.request import MAX_REGEXP_STEPS, path_readings, whole_regexp

__all__ = [
    "HEADER_NAME",
    "MAX_DESCRIPTION_CHARS",
    "MAX_HEADER_MATCHES",
    "MAX_META_KEY_CHARS",
    "MAX_META_PAIRS",
    "MAX_META_VALUE_CHARS",
    "MAX_NAME_CHARS",
    "MAX_PERMISSIONS",
    "METHODS",
    "UNPRINTABLE",
    "intention_fault",
    "match_faults",
    "pattern_faults",
]

#: Source: Consul 1.2.3, agent/structs.
MAX_DESCRIPTION_CHARS: Final = 512
MAX_META_PAIRS: Final = 64
MAX_META_KEY_CHARS: Final = 128
MAX_META_VALUE_CHARS: Final = 512
#: Longer than any DNS name, which is what services are looked up by.
MAX_NAME_CHARS: Final = 256
#: Conditions are tried one after the other on each request.
MAX_PERMISSIONS: Final = 64
MAX_HEADER_MATCHES: Final = 16
#: Characters of a path or a header's value that is compared with.
MAX_VALUE_CHARS: Final = 1024
#: Source: Consul 1.9, service-intentions.
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")

HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def intention_fault(intention: Intention) -> str:
    """Why it can't be stored, every reason with the name of its field; ``""`` when it can."""
    faults = [
        *_end_faults("Source", intention.source_ns, intention.source_name),
        *_end_faults("Destination", intention.destination_ns, intention.destination_name),
        *_rest_faults(intention),
        *_permission_faults(intention),
    ]
    return "; ".join(faults)


def _end_faults(end: str, namespace: str, name: str) -> Iterator[str]:
    for field, text in ((f"{end}NS", namespace), (f"{end}Name", name)):
        if not text:
            yield f"{field} must be set"
        elif WILDCARD in text and text != WILDCARD:
            yield f"{field}: wildcard character '*' cannot be used with partial values"
        elif len(text) > MAX_NAME_CHARS:
            yield f"{field} has {len(text)} characters: at most {MAX_NAME_CHARS}"
        elif "/" in text or UNPRINTABLE.search(text) or text != text.strip():
            yield f"{field} {text[:80]!a} can't be a name: leave out '/', control characters and outer spaces"
    if namespace == WILDCARD and name not in {"", WILDCARD}:
        yield f"{end}Name: exact value cannot follow wildcard namespace"


def _rest_faults(intention: Intention) -> Iterator[str]:
    if intention.source_type != SOURCE_CONSUL:
        yield "SourceType must be set to 'consul'"
    if len(intention.description) > MAX_DESCRIPTION_CHARS:
        yield f"Description exceeds maximum length {MAX_DESCRIPTION_CHARS}"
    if len(intention.meta) > MAX_META_PAIRS:
        yield f"Meta exceeds maximum element count {MAX_META_PAIRS}"
    for key, value in intention.meta.items():
        if not key:
            yield "Meta has a pair without a key"
        if len(key) > MAX_META_KEY_CHARS:
            yield f'Meta key "{key[:MAX_META_KEY_CHARS]}..." exceeds maximum length {MAX_META_KEY_CHARS}'
        if len(value) > MAX_META_VALUE_CHARS:
            shown = key[:MAX_META_KEY_CHARS]
            yield f'Meta value for key "{shown}" exceeds maximum length {MAX_META_VALUE_CHARS}'
    if not 0 <= intention.default_port <= 65535:
        yield f"DefaultPort {intention.default_port} is no port: must be between 0 and 65535"
    if len(intention.default_addr) > MAX_NAME_CHARS:
        yield f"DefaultAddr has {len(intention.default_addr)} characters: at most {MAX_NAME_CHARS}"


def _permission_faults(intention: Intention) -> Iterator[str]:
    if not intention.permissions:
        if intention.action not in ACTIONS:
            yield "Action must be set to 'allow' or 'deny'"
        return
    if intention.action:
        yield "Action must be omitted if Permissions are specified"
    if WILDCARD in {intention.destination_name, intention.destination_ns}:
        yield "Permissions cannot be specified on intentions with wildcarded destinations"
    if len(intention.permissions) > MAX_PERMISSIONS:
        yield f"Permissions has {len(intention.permissions)} entries: at most {MAX_PERMISSIONS}"
        return
    for number, permission in enumerate(intention.permissions):
        for fault in _http_faults(permission):
            yield f"Permissions[{number}].{fault}"


def _http_faults(permission: Permission) -> Iterator[str]:
    if permission.action not in ACTIONS:
        yield "Action must be set to 'allow' or 'deny'"
    if permission.http == HttpMatch():
        yield "HTTP must not be empty: give a path, a header or a method"
    yield from (f"HTTP.{fault}" for fault in match_faults(permission.http))


def match_faults(http: HttpMatch) -> Iterator[str]:
    """Why requests can't be compared with ``http``, each reason with the name of its field."""
    yield from _path_faults(http)
    for method in http.methods:
        if method not in METHODS:
            yield f"Methods contains an invalid method {method[:20]!a}: use {', '.join(METHODS)}"
    if len(set(http.methods)) != len(http.methods):
        yield "Methods contains a method twice"
    if len(http.header) > MAX_HEADER_MATCHES:
        yield f"Header has {len(http.header)} entries: at most {MAX_HEADER_MATCHES}"
        return
    for number, match in enumerate(http.header):
        yield from (f"Header[{number}].{fault}" for fault in _header_faults(match))


def _path_faults(http: HttpMatch) -> Iterator[str]:
    if sum(map(bool, (http.path_exact, http.path_prefix, http.path_regex))) > 1:
        yield "PathExact, PathPrefix and PathRegex: only one may be set"
    for field, path in (("PathExact", http.path_exact), ("PathPrefix", http.path_prefix)):
        if not path:
            continue
        if not path.startswith("/"):
            yield f"{field} must begin with '/'"
        elif len(path) > MAX_VALUE_CHARS:
            yield f"{field} has {len(path)} characters: at most {MAX_VALUE_CHARS}"
        elif path_readings(path) != (path,):
            # It is compared with paths as they are read, which this one never is.
            yield f"{field} {path[:80]!a} is never what a path is read as: write it without escapes and dot segments"
    yield from pattern_faults("PathRegex", http.path_regex)


def _header_faults(match: HeaderMatch) -> Iterator[str]:
    if not match.name:
        yield "Name is required"
    elif not HEADER_NAME.fullmatch(match.name):
        yield f"Name {match.name[:80]!a} can't be the name of a header"
    count = sum(map(bool, (match.present, match.exact, match.prefix, match.suffix, match.regex)))
    if count != 1:
        yield f"Present, Exact, Prefix, Suffix and Regex: exactly one must be set, not {count}"
    for field, value in (("Exact", match.exact), ("Prefix", match.prefix), ("Suffix", match.suffix)):
        if len(value) > MAX_VALUE_CHARS:
            yield f"{field} has {len(value)} characters: at most {MAX_VALUE_CHARS}"
    yield from pattern_faults("Regex", match.regex)


def pattern_faults(field: str, pattern: str) -> Iterator[str]:
    """Why the regular expression ``pattern`` can't be tried; nothing when it is empty."""
    try:
        if pattern:
            whole_regexp(pattern, "", Work(MAX_REGEXP_STEPS))
    except ConfigError as error:
        yield f"{field}: {error}"
