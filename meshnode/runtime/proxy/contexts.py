"""TLS contexts from PEM text. A context is replaced as a whole: what is established keeps the one that it began with.

TLS 1.2 and 1.3; AEAD suites with forward secrecy; no renegotiation, no compression; both sides show a certificate.
No host name is looked for: the peer's one URI is checked by ``meshnode.proxy.authorize``. Sessions belong to one
context: a new leaf or root ends them, so nobody is let in by a root that is no longer trusted.

A server has two contexts. One keeps the session itself and gives its number for a ticket, which takes a third off the
time of a resumed handshake: OpenSSL 3.0 needs long to seal a session and longer to read the certificate in it again.
But a kept session has some 11 KiB, so only so many are given out; the rest get sealed tickets, of which the other
context remembers nothing.
"""

from __future__ import annotations

import os
import ssl
from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshnode.base.errors import ConfigError
from meshnode.proxy.authorize import Identity, Refusal, read_peer
from meshnode.proxy.client_hello import read_client_offer
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.tls_ciphers import new_context

__all__ = ["ALPN", "Contexts", "Sessions", "load_pair", "make_contexts"]

#: Seconds that a session is used before a newer one replaces it, and after which it is not used at all.
SESSION_REFRESH: Final = 60.0
MAX_SESSION_AGE: Final = 3600.0
MAX_SESSIONS: Final = 1024
MAX_ROOTS: Final = 100
#: What clients of a listener that speaks HTTP may choose from.
ALPN: Final = ("h2", "http/1.1")
#: Times in a row that an instance does not resume a session before it is forgotten: each of its workers has its own.
MAX_MISSES: Final = 8
#: Sessions kept for clients at once, and seconds until one more may be: OpenSSL forgets each after two hours.
KEPT_BURST: Final = 256
KEPT_INTERVAL: Final = 10.0
#: Length of a ticket that is the number of a kept session.
_NUMBER_BYTES: Final = 32


class Sessions:
    """TLS sessions to resume, by the identity and address of the instance that gave them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, int], tuple[ssl.SSLSession, float]] = OrderedDict()
        self._misses: Counter[tuple[str, str, int]] = Counter()

    def get(self, key: tuple[str, str, int], now: float) -> ssl.SSLSession | None:
        """A session that can still be resumed."""
        found = self._kept.get(key)
        if found is None:
            return None
        if now - found[1] > MAX_SESSION_AGE:
            self.drop(key)
            return None
        return found[0]

    def wants(self, key: tuple[str, str, int], now: float) -> bool:
        """Whether a new session for ``key`` would be kept."""
        found = self._kept.get(key)
        return found is None or now - found[1] > SESSION_REFRESH

    def put(self, key: tuple[str, str, int], session: ssl.SSLSession | None, now: float) -> None:
        """Keep a session that carries a ticket."""
        if session is None or not session.has_ticket:
            return
        self._kept[key] = (session, now)
        self._kept.move_to_end(key)
        self._misses.pop(key, None)
        while len(self._kept) > MAX_SESSIONS:
            self.drop(next(iter(self._kept)))

    def offered(self, key: tuple[str, str, int], *, reused: bool) -> None:
        """How a handshake with the session of ``key`` went: one that never helps is forgotten."""
        if reused:
            self._misses.pop(key, None)
            return
        self._misses[key] += 1
        if self._misses[key] >= MAX_MISSES:
            self.drop(key)

    def drop(self, key: tuple[str, str, int]) -> None:
        """It did not help."""
        self._kept.pop(key, None)
        self._misses.pop(key, None)


class _Budget:
    """``KEPT_BURST`` at once, then one every ``KEPT_INTERVAL``."""

    def __init__(self) -> None:
        self._left = float(KEPT_BURST)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Whether there was one left."""
        passed = now - self._at if self._at is not None else 0.0
        self._at = now
        self._left = min(float(KEPT_BURST), self._left + passed / KEPT_INTERVAL)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class Contexts:
    """Both directions of one leaf, made of ``material``. ``roots`` are the names of what is trusted, for the log.

    ``server`` gives sealed tickets, ``keeping`` numbers of sessions that it keeps: :meth:`server_for` says which.
    """

    identity: Identity
    server: ssl.SSLContext
    keeping: ssl.SSLContext
    client: ssl.SSLContext
    roots: tuple[str, ...]
    material: TlsMaterial
    sessions: Sessions = field(default_factory=Sessions)
    _offered: list[str] = field(default_factory=list)
    _new: _Budget = field(default_factory=_Budget)
    _renewed: _Budget = field(default_factory=_Budget)

    def offer(self, protocols: tuple[str, ...]) -> None:
        """What clients that ask (ALPN) are told that is spoken here; nothing where nobody looks at the bytes."""
        if self._offered != [*protocols]:
            self._offered[:] = protocols
            for context in (self.server, self.keeping):
                context.set_alpn_protocols(self._offered)

    def server_for(self, first: bytes, now: float) -> ssl.SSLContext:
        """The context that answers a client whose first bytes are ``first``; to be used for it at once, and only once.

        Another one would do as well, with a full handshake.
        """
        offer = read_client_offer(first)
        if offer is None or not offer.tls13 or offer.ticket_bytes > _NUMBER_BYTES:
            return self.server
        # Who resumes can do so again with what it has: renewing is for those whose session is gone.
        given = (self._renewed if offer.ticket_bytes else self._new).take(now)
        if not given and not offer.ticket_bytes:
            return self.server
        # A connection takes this over when it is made.
        self.keeping.num_tickets = int(given)
        return self.keeping


def make_contexts(material: TlsMaterial, before: Contexts | None = None) -> Contexts:
    """Raises :class:`ConfigError`, which never quotes the key, when the material can't be used.

    When only the revoked leafs or the distrusted roots are other than those of ``before``, its contexts go on, sessions
    and all: a resumed session shows the certificate that it began with, so it is judged like any other.
    """
    if before is not None:
        known = before.material
        if replace(material, revoked=known.revoked, distrusted=known.distrusted) == known:
            return replace(before, material=material)
    try:
        leaf = x509.load_pem_x509_certificate(material.chain_pem.encode())
        roots = x509.load_pem_x509_certificates(material.roots_pem.encode())
    except ValueError:
        raise ConfigError("the leaf or the roots are not certificates in PEM form") from None
    identity = read_peer(leaf.public_bytes(Encoding.DER))
    if isinstance(identity, Refusal):
        raise ConfigError(f"our own leaf can't be used: {identity.because}")
    if len(roots) > MAX_ROOTS:
        raise ConfigError(f"{len(roots)} roots are more than {MAX_ROOTS}")
    server = _context(ssl.PROTOCOL_TLS_SERVER, material)
    server.num_tickets = 1
    keeping = _context(ssl.PROTOCOL_TLS_SERVER, material)
    # Sessions of TLS 1.2 are kept whether a ticket is given out or not.
    keeping.minimum_version = ssl.TLSVersion.TLSv1_3
    keeping.options |= ssl.OP_NO_TICKET
    client = _context(ssl.PROTOCOL_TLS_CLIENT, material)
    # A bundle from elsewhere may hold more certificates than the agent has names for.
    named = len(material.root_names) >= len(roots)
    names = material.root_names if named else tuple(_name(root) for root in roots)
    return Contexts(identity, server, keeping, client, names, material)


def _name(root: x509.Certificate) -> str:
    found = root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else root.subject.rfc4514_string()


def _context(protocol: int, material: TlsMaterial) -> ssl.SSLContext:
    context = new_context(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=material.roots_pem)
        load_pair(context, material.chain_pem, material.key_pem)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or "not PEM"
        raise ConfigError(f"the leaf, its key and the roots don't make a TLS identity ({reason})") from None
    return context


def load_pair(context: ssl.SSLContext, chain_pem: str, key_pem: str) -> None:
    """Give ``context`` a certificate and its key; raises ``ssl.SSLError`` and ``OSError``.

    Python's ssl reads a key from a file only: this one is in memory and has no name.
    """
    text = chain_pem.rstrip() + "\n" + key_pem
    descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(text.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
