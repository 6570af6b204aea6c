"""The settings of the CA as people write them: in ``connect.ca_config`` and in ``/v1/connect/ca/configuration``.

Names are Consul's, ``LeafCertTTL`` or ``leaf_cert_ttl``; ``vault`` reads what only Vault has. Source: Consul 1.2.3,
documentation of the two providers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshnode.base.duration import MAX_NANOSECONDS, format_duration, parse_duration
from meshnode.base.errors import ConfigError
from meshnode.base.suggest import closest
from meshnode.connect.model import BUILT_IN, DEFAULT_LEAF_TTL, DEFAULT_ROTATION_PERIOD, VAULT, CaConfig
from meshnode.connect.vault import VAULT_NAMES, VaultSettings, parse_vault_settings

__all__ = [
    "HIDDEN",
    "MAX_LEAF_TTL",
    "MAX_SETTINGS",
    "MIN_LEAF_TTL",
    "CaSettings",
    "parse_ca_settings",
    "shown_settings",
]

#: Seconds. Consul demands an hour; a leaf of seconds makes a drill of days a matter of minutes.
MIN_LEAF_TTL: Final = 1.0
#: Seconds: five years. Half of a root's life, when it is replaced: a leaf is never cut short by its root.
MAX_LEAF_TTL: Final = 157_680_000.0
MAX_SETTINGS: Final = 64
#: Two PEM blocks of the largest keys fit in a fraction of it.
MAX_TEXT_CHARS: Final = 65_536
#: What is shown in place of a secret; written back, it leaves the secret as it is.
HIDDEN: Final = "hidden"

_DURATIONS: Final = ("LeafCertTTL", "RotationPeriod")
_SECRETS: Final = ("PrivateKey", "Token")
_EVERYWHERE: Final = (*_DURATIONS, "PrivateKeyType", "PrivateKeyBits")
#: Provider -> what it is called, and its settings.
_PROVIDERS: Final = {
    BUILT_IN: ("the built-in CA", (*_EVERYWHERE, "PrivateKey", "RootCert")),
    VAULT: ("the provider vault", (*_EVERYWHERE, *VAULT_NAMES)),
}
_NAMES: Final = {name.lower(): name for _, names in _PROVIDERS.values() for name in names}
#: Names as they are written in files, where dropping the underscores isn't enough to find the way back.
_WRITTEN: Final = {
    "LeafCertTTL": "leaf_cert_ttl",
    "RootPKIPath": "root_pki_path",
    "IntermediatePKIPath": "intermediate_pki_path",
    "CAFile": "ca_file",
    "CAPath": "ca_path",
    "TLSServerName": "tls_server_name",
    "TLSSkipVerify": "tls_skip_verify",
}
_KEY_TYPES: Final = {
    ("ec", 256): "ec-p256",
    ("ec", 384): "ec-p384",
    ("rsa", 2048): "rsa-2048",
    ("rsa", 3072): "rsa-3072",
    ("rsa", 4096): "rsa-4096",
}


@dataclass(frozen=True, slots=True)
class CaSettings:
    """Checked. ``private_key`` is PEM, empty when none is given, :data:`HIDDEN` to keep the present one.

    Without a ``root_cert`` a root is made for it. ``vault`` is there with that provider, and its token may be
    :data:`HIDDEN` too.
    """

    provider: str = BUILT_IN
    leaf_cert_ttl: float = DEFAULT_LEAF_TTL
    rotation_period: float = DEFAULT_ROTATION_PERIOD
    key_type: str = "ec-p256"
    private_key: str = field(default="", repr=False)
    root_cert: str = ""
    vault: VaultSettings | None = None
    #: Without secrets, durations as text, with what nobody here knows.
    shown: Mapping[str, Any] = field(default_factory=dict)

    def config(self, cluster_id: str) -> CaConfig:
        """The row of the state."""
        return CaConfig(
            cluster_id, self.provider, self.leaf_cert_ttl, self.rotation_period, self.key_type, self.shown
        )


def parse_ca_settings(provider: str, config: Mapping[str, Any], *, strict: bool = True) -> CaSettings:
    """Read the settings; ``strict`` refuses names that nobody knows (the API keeps them, as Consul does).

    Raises :class:`ConfigError` that names the setting and the fix.
    """
    provider = provider or BUILT_IN
    if provider not in _PROVIDERS:
        known = " or ".join(f'"{name}"' for name in _PROVIDERS)
        raise ConfigError(f'Provider: "{provider[:40]}" can\'t be used: write {known}')
    if len(config) > MAX_SETTINGS:
        raise ConfigError(f"the CA has {len(config)} settings: at most {MAX_SETTINGS}")
    given = _given(provider, config, strict=strict)
    leaf, period = (
        _duration(given, "LeafCertTTL", DEFAULT_LEAF_TTL),
        _duration(given, "RotationPeriod", DEFAULT_ROTATION_PERIOD),
    )
    if not MIN_LEAF_TTL <= leaf <= MAX_LEAF_TTL:
        raise ConfigError(
            f"LeafCertTTL: {format_duration(leaf)} can't be used: write "
            f"{format_duration(MIN_LEAF_TTL)} to {format_duration(MAX_LEAF_TTL)}"
        )
    if not 0 < period <= MAX_NANOSECONDS / 1e9:
        raise ConfigError("RotationPeriod must be more than 0s, and less than 292 years")
    shown = _shown(given, leaf, period)
    if provider == VAULT:
        vault = parse_vault_settings(given)
        return CaSettings(provider, leaf, period, _key_type(given), vault=vault, shown=shown)
    key, certificate = _text(given, "PrivateKey"), _text(given, "RootCert")
    if certificate and not key:
        raise ConfigError("RootCert needs PrivateKey: the CA signs with it")
    return CaSettings(provider, leaf, period, _key_type(given), key, certificate, shown=shown)


def shown_settings(config: CaConfig) -> dict[str, Any]:
    """``Config`` of the API, without secrets."""
    return {
        name: HIDDEN if name in _SECRETS and value else value
        for name, value in sorted(config.settings.items())
    }


def _given(provider: str, config: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """The settings by their names in the API."""
    title, names = _PROVIDERS[provider]
    given: dict[str, Any] = {}
    for name, value in config.items():
        known = _NAMES.get(str(name).replace("_", "").lower())
        if known not in names and strict:
            near = closest(str(name).lower(), [_file_name(each) for each in names])
            raise ConfigError(
                f"{name} is no setting of {title}" + (f": did you mean {near}?" if near else "")
            )
        if not _is_plain(value):
            raise ConfigError(
                f"{str(name)[:40]} must be text of at most {MAX_TEXT_CHARS} characters, a number, true or false"
            )
        given[known or str(name)] = value
    return given


def _file_name(name: str) -> str:
    """``private_key`` of ``PrivateKey``."""
    return _WRITTEN.get(name) or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _is_plain(value: Any) -> bool:
    """Whether the log can hold it: what is written there must come back whatever happens."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, str):
        return len(value) <= MAX_TEXT_CHARS
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float) and math.isfinite(value)


def _shown(given: Mapping[str, Any], leaf: float, period: float) -> dict[str, Any]:
    shown = {name: value for name, value in given.items() if name not in _SECRETS}
    shown.update({name: HIDDEN for name in _SECRETS if given.get(name)})
    for name, seconds in zip(_DURATIONS, (leaf, period), strict=True):
        if not isinstance(shown.get(name), str) or not shown[name]:
            shown[name] = _short(seconds)
    return shown


def _short(seconds: float) -> str:
    """``72h`` rather than Go's ``72h0m0s``."""
    text = format_duration(seconds)
    text = text[:-2] if text.endswith("m0s") else text
    return text[:-2] if text.endswith("h0m") else text


def _duration(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name)
    if value is None or value == "":
        return default
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) / 1e9
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
    raise ConfigError(f'{name} must be a duration such as "72h"')


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text: a PEM block")
    return value.strip()


def _key_type(given: Mapping[str, Any]) -> str:
    kind = given.get("PrivateKeyType") or "ec"
    bits = given.get("PrivateKeyBits") or (256 if kind == "ec" else 2048)
    if (kind, bits) not in _KEY_TYPES:
        known = ", ".join(f"{name} with {size}" for name, size in _KEY_TYPES)
        raise ConfigError(
            f"PrivateKeyType {kind!r} with PrivateKeyBits {bits!r} can't be used: write {known}"
        )
    return _KEY_TYPES[kind, bits]
