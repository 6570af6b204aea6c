"""Who vouches for a peer, so that the open connections of a distrusted root end and no others.

Of a peer that is connected only the leaf is left; the chain that came with it is gone, and a resumed session never had
one. But a leaf names the key that signed it (authority key identifier, RFC 5280 4.2.1.1), and that is a root's or an
intermediate's. Roots are remembered when they are trusted no more, and which key signed which intermediate is learnt
from the chains that OpenSSL has verified. From the key of a leaf up to the first roots:

===========================================  ====================================================================
what is there                                the connection
===========================================  ====================================================================
the key of a root that is trusted now        goes on, by whichever certificate its owner showed: so does who has a
                                             leaf of the new root that the old one signed
a distrusted root                            ends
a root that was retired in an orderly way    goes on: who has a leaf of it had time to get another one
none that is known                           ends once a root is distrusted, since it may be that root's
===========================================  ====================================================================

Nothing is looked for above a root: that a distrusted one is signed by another says nothing in favour of its key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from meshnode.base.certificates import BAD_X509, parse_certificate_der
from meshnode.base.errors import RemoteProtocolError

__all__ = ["MAX_INTERMEDIATES", "MAX_REMEMBERED_ROOTS", "MAX_SIGNERS", "Issuers", "issuer_of"]

#: Roots that are remembered, trusted or not; the one that was first trusted longest ago is forgotten first.
MAX_REMEMBERED_ROOTS: Final = 256
#: Keys of intermediates that are remembered, and keys that signed one of them.
MAX_INTERMEDIATES: Final = 1024
MAX_SIGNERS: Final = 8
#: Certificates of a chain that are learnt from.
_MAX_CHAIN: Final = 10
_UNREADABLE: Final[tuple[type[Exception], ...]] = (RemoteProtocolError, *BAD_X509)


@dataclass(frozen=True, slots=True)
class _Root:
    name: str
    keys: frozenset[str]


class Issuers:
    """Keys are named by their identifiers, ``ab:cd:...``."""

    def __init__(self) -> None:
        self._roots: dict[str, _Root] = {}
        #: The bundle that was read last: reading it again would say the same.
        self._pem = ""
        self._trusted_ids: frozenset[str] = frozenset()
        #: What was told of, and what of it isn't trusted all the same.
        self._told: frozenset[str] = frozenset()
        self._gone: frozenset[str] = frozenset()
        #: Keys of trusted roots; of distrusted ones with the root in words; of those that are remembered.
        self._trusted: frozenset[str] = frozenset()
        self._distrusted: dict[str, str] = {}
        self._known: frozenset[str] = frozenset()
        #: By the key of an intermediate: the keys that signed it.
        self._signers: dict[str, list[str]] = {}

    def trust(self, roots_pem: str, names: Sequence[str], distrusted: frozenset[str]) -> bool:
        """What is trusted now, and the ids (SHA-1 of the DER, ``ab:cd:...``) of roots that are distrusted.

        ``names`` are those of the roots in ``roots_pem``, in its order; raises ``ValueError`` when that isn't PEM. Says
        whether a root that was trusted once is distrusted now and was not before: :meth:`why_cut` is to be asked then.
        """
        if roots_pem == self._pem and distrusted == self._told:
            return False
        if roots_pem != self._pem:
            self._read(roots_pem, names)
        before, self._told, self._gone = self._gone, distrusted, distrusted - self._trusted_ids
        self._trusted = self._keys_of(self._trusted_ids)
        self._known = self._keys_of(self._roots)
        self._distrusted = {
            key: f"Root {self._roots[root_id].name} ({root_id}) is distrusted"
            for root_id in sorted(self._gone)
            if root_id in self._roots
            for key in self._roots[root_id].keys
        }
        return not (self._gone - before).isdisjoint(self._roots)

    def learn(self, chain: Sequence[bytes]) -> None:
        """Take over who signed whom from a chain (DER, the leaf first) that was *verified*, up to its root."""
        for der in chain[1:_MAX_CHAIN]:
            try:
                certificate = parse_certificate_der(der)
                keys, signer = _keys(certificate), issuer_of(certificate)
            except _UNREADABLE:
                return
            if not signer or signer in keys:
                continue
            for key in keys:
                signers = self._signers.setdefault(key, [])
                if signer not in signers:
                    signers.append(signer)
                    del signers[:-MAX_SIGNERS]
        while len(self._signers) > MAX_INTERMEDIATES:
            del self._signers[next(iter(self._signers))]

    def vouched(self, issuer: str) -> bool:
        """Whether a root that is trusted now is known to stand behind the key that signed a leaf."""
        return issuer in self._trusted or not self._trusted.isdisjoint(self._first_roots(issuer))

    def distrust_of(self, issuer: str) -> str:
        """Which distrusted root alone stands behind the key that signed a leaf, in words; empty: none does."""
        if not self._distrusted or issuer in self._trusted:
            return ""
        found = self._first_roots(issuer)
        if not self._trusted.isdisjoint(found):
            return ""
        return next((self._distrusted[key] for key in sorted(found) if key in self._distrusted), "")

    def why_cut(self, issuer: str) -> str:
        """Why a connection ends whose peer has a leaf that this key signed; empty: it goes on."""
        because = self.distrust_of(issuer)
        if because or not self._distrusted or self._first_roots(issuer):
            return because
        named = "; ".join(sorted(set(self._distrusted.values())))
        return f"{named}, and nobody is known to vouch for {issuer or 'a certificate that names no issuer'}"

    def _read(self, roots_pem: str, names: Sequence[str]) -> None:
        certificates = x509.load_pem_x509_certificates(roots_pem.encode())
        found = {}
        for place, certificate in enumerate(certificates):
            root_id = certificate.fingerprint(hashes.SHA1()).hex(":")
            found[root_id] = _Root(names[place] if place < len(names) else root_id, _keys(certificate))
        self._pem, self._trusted_ids = roots_pem, frozenset(found)
        self._roots = {**self._roots, **found}
        excess = max(0, len(self._roots) - MAX_REMEMBERED_ROOTS)
        for root_id in [known for known in self._roots if known not in found][:excess]:
            del self._roots[root_id]

    def _keys_of(self, ids: Iterable[str]) -> frozenset[str]:
        return frozenset(key for root_id in ids for key in self._roots[root_id].keys)

    def _first_roots(self, issuer: str) -> set[str]:
        """Keys of the first roots on every way up, and nothing above them."""
        seen, found, left = set[str](), set[str](), [issuer]
        while left:
            key = left.pop()
            if key in seen:
                continue
            seen.add(key)
            if key in self._known:
                found.add(key)
            else:
                left += self._signers.get(key, ())
        return found


def issuer_of(certificate: x509.Certificate) -> str:
    """The identifier of the key that signed it, as it says; empty: it says none. Raises one of ``BAD_X509``."""
    try:
        named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return ""
    return named.key_identifier.hex(":") if named.key_identifier else ""


def _keys(certificate: x509.Certificate) -> frozenset[str]:
    """The identifiers of its own key: what it says, and what RFC 5280 4.2.1.2 (1) makes of the key."""
    computed = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    try:
        named = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        named = computed
    return frozenset({named.hex(":"), computed.hex(":")})
