"""A stand-in for Vault: what its documentation says of mounts, tokens and the PKI engine, with real certificates.

It checks what a client must not get wrong (the token, kinds of mounts, roles, times of issuers) and refuses in Vault's
words. Source: the public documentation of Vault's HTTP API, of ``/sys/mounts``, ``/auth/token`` and ``/pki``.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["TOKEN", "RefusedError", "VaultServer"]

#: Without a dot: the programs refuse such a one from outside.
TOKEN = "vault-secret-of-the-tests"
PEM = serialization.Encoding.PEM
DEFAULT_MAX_TTL = 768 * 3600.0


class RefusedError(Exception):
    """An answer with a status and Vault's ``errors``."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class _Issuer:
    certificate: x509.Certificate
    key: Any


@dataclass
class _Mount:
    kind: str
    max_ttl: float = DEFAULT_MAX_TTL
    issuers: dict[str, _Issuer] = field(default_factory=dict)
    default: str = ""
    pending: dict[bytes, Any] = field(default_factory=dict)
    roles: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class _Token:
    ttl: float
    ends: float
    renewable: bool


class VaultServer:
    """Of one process: listens between :meth:`start` and :meth:`stop`, and keeps what it has in between.

    ``sealed``, ``denied`` (path prefixes) and ``say`` (an answer to everything) are faults to switch on. ``many`` is
    false for a Vault before 1.11, with one issuer in a mount. ``asked`` are the calls, as ``POST path``.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        self.host, self.port, self._tls = host, port, tls
        self.mounts: dict[str, _Mount] = {"secret": _Mount("kv")}
        self.tokens: dict[str, _Token] = {TOKEN: _Token(0.0, 0.0, False)}
        self.sealed = False
        self.many = True
        self.denied: list[str] = []
        self.say: tuple[int, dict[str, str], bytes] | None = None
        self.skew = 0.0
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def now(self) -> float:
        return time.time() + self.skew

    def start(self) -> VaultServer:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                owner._answer(self)

            do_GET = do_POST = do_PUT = do_LIST = do  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer((self.host, self.port), Handler)
        server.daemon_threads = True
        if self._tls is not None:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        self.port, self._server = server.server_address[1], server
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def __enter__(self) -> VaultServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add_token(self, token: str, ttl: float, *, renewable: bool) -> None:
        self.tokens[token] = _Token(ttl, self.now() + ttl if ttl else 0.0, renewable)

    # Requests

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers: dict[str, str] = {"Content-Type": "application/json"}
        if self.say is not None:
            status, headers, answer = self.say
        else:
            try:
                with self._lock:
                    body = json.loads(content) if content else {}
                    path = handler.path.removeprefix("/v1/")
                    self.asked.append(f"{handler.command} {path}")
                    self.bodies.append(body)
                    found = self._handle(
                        handler.command, path, body, handler.headers.get("X-Vault-Token", "")
                    )
                status = 200 if found else 204
                answer = found if isinstance(found, bytes) else json.dumps(found).encode() if found else b""
            except RefusedError as refused:
                status, answer = refused.status, json.dumps({"errors": [str(refused)]}).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def _handle(self, method: str, path: str, body: dict[str, Any], token: str) -> Any:
        if self.sealed:
            raise RefusedError(503, "Vault is sealed")
        if path.endswith("/ca/pem"):
            mount = self._mount_of(path.removesuffix("/ca/pem"))
            return _pem(mount.issuers[mount.default].certificate).encode() if mount.default else b""
        known = self.tokens.get(token)
        is_over = known is None or (known.ends and known.ends <= self.now())
        if known is None or is_over or any(path.startswith(prefix) for prefix in self.denied):
            raise RefusedError(403, "1 error occurred:\n\t* permission denied\n\n")
        if path.startswith("auth/token/"):
            return self._token(path, token, known)
        if path.startswith("sys/mounts/"):
            return self._mounts(method, path.removeprefix("sys/mounts/"), body)
        mount = self._mount_of(path)
        name = next(name for name in self.mounts if path.startswith(f"{name}/"))
        if mount.kind != "pki":
            raise RefusedError(404, "")
        return self._pki(mount, path.removeprefix(f"{name}/"), body)

    def _token(self, path: str, token: str, known: _Token) -> Any:
        if path.endswith("lookup-self"):
            left = max(0, int(known.ends - self.now())) if known.ends else 0
            ends = datetime.fromtimestamp(known.ends, UTC).isoformat() if known.ends else None
            facts = {"ttl": left, "creation_ttl": int(known.ttl), "renewable": known.renewable}
            return {"data": {**facts, "expire_time": ends, "id": token}}
        if not known.renewable:
            raise RefusedError(400, "lease is not renewable")
        known.ends = self.now() + known.ttl
        return {"data": None, "auth": {"client_token": token, "lease_duration": int(known.ttl)}}

    def _mounts(self, method: str, name: str, body: dict[str, Any]) -> Any:
        if method == "GET":
            if not self.many:
                raise RefusedError(405, "unsupported operation")
            if name not in self.mounts:
                raise RefusedError(400, f"No secret engine mount at {name}/")
            return {"data": {"type": self.mounts[name].kind}}
        if name in self.mounts:
            raise RefusedError(400, f"path is already in use at {name}/")
        ttl = body.get("config", {}).get("max_lease_ttl")
        self.mounts[name] = _Mount(body["type"], _duration(ttl) if ttl else DEFAULT_MAX_TTL)
        return None

    def _mount_of(self, path: str) -> _Mount:
        for name, mount in self.mounts.items():
            if path == name or path.startswith(f"{name}/"):
                return mount
        raise RefusedError(404, f'no handler for route "{path}". route entry not found.')

    # The PKI engine

    def _pki(self, mount: _Mount, path: str, body: dict[str, Any]) -> Any:
        parts, issuer = path.split("/"), mount.default
        if parts[0] == "issuer":
            issuer, parts = parts[1], parts[2:]
            if issuer not in mount.issuers or not self.many:
                raise RefusedError(500, f"unable to find PKI issuer for reference: {issuer}")
        match parts:
            case ["root", "generate", "internal"]:
                return self._root(mount, body)
            case ["intermediate", "generate", "internal"]:
                return self._request(mount, body)
            case ["intermediate", "set-signed"]:
                return self._set_signed(mount, body)
            case ["roles", role]:
                mount.roles[role] = body
                return {"data": body}
            case ["root", "sign-intermediate"] | ["sign-intermediate"]:
                return self._sign_intermediate(mount, issuer, body)
            case ["root", "sign-self-issued"] | ["sign-self-issued"]:
                return self._sign_self_issued(mount, issuer, body)
            case ["sign", role]:
                return self._sign(mount, issuer, role, body)
        raise RefusedError(404, "unsupported path")

    def _root(self, mount: _Mount, body: dict[str, Any]) -> Any:
        if mount.issuers and not self.many:
            return None
        key = _new_key(body)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, body["common_name"])])
        ends = self.now() + min(_duration(body["ttl"]), mount.max_ttl)
        made = self._certificate(name, name, key.public_key(), ends, ca=True, uris=[body["uri_sans"]])
        certificate = made.sign(key, hashes.SHA256())
        issuer = self._keep(mount, certificate, key)
        return {
            "data": {"certificate": _pem(certificate), **({"issuer_id": issuer} if self.many else {})},
            "warnings": None,
        }

    def _keep(self, mount: _Mount, certificate: x509.Certificate, key: Any) -> str:
        issuer = str(uuid.uuid4())
        if not self.many:
            mount.issuers.clear()
        mount.issuers[issuer] = _Issuer(certificate, key)
        mount.default = mount.default if self.many and mount.default else issuer
        return issuer

    def _request(self, mount: _Mount, body: dict[str, Any]) -> Any:
        key = _new_key(body)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, body["common_name"])])
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(body["uri_sans"])])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).add_extension(names, False)
        mount.pending[_public(key.public_key())] = key
        return {"data": {"csr": request.sign(key, hashes.SHA256()).public_bytes(PEM).decode()}}

    def _set_signed(self, mount: _Mount, body: dict[str, Any]) -> Any:
        certificate = x509.load_pem_x509_certificate(body["certificate"].encode())
        key = mount.pending.pop(_public(certificate.public_key()), None)
        if key is None:
            raise RefusedError(400, "no matching private key found")
        issuer = self._keep(mount, certificate, key)
        return {"data": {"imported_issuers": [issuer]}} if self.many else None

    def _sign_intermediate(self, mount: _Mount, issuer: str, body: dict[str, Any]) -> Any:
        signer = self._signer(mount, issuer)
        request = x509.load_pem_x509_csr(body["csr"].encode())
        assert body["use_csr_values"]
        ends = self.now() + min(_duration(body["ttl"]), mount.max_ttl)
        self._refuse_after(signer, ends)
        uris = [name.value for name in request.extensions[0].value]
        made = self._certificate(
            request.subject, signer.certificate.subject, request.public_key(), ends, ca=True, uris=uris
        )
        signed = _with_issuer(made, signer).sign(signer.key, hashes.SHA256())
        return {"data": {"certificate": _pem(signed), "issuing_ca": _pem(signer.certificate)}}

    def _sign_self_issued(self, mount: _Mount, issuer: str, body: dict[str, Any]) -> Any:
        signer = self._signer(mount, issuer)
        given = x509.load_pem_x509_certificate(body["certificate"].encode())
        if given.subject != given.issuer:
            raise RefusedError(400, "given certificate is not self-issued")
        made = self._certificate(
            given.subject,
            signer.certificate.subject,
            given.public_key(),
            given.not_valid_after_utc.timestamp(),
            ca=True,
        )
        signed = _with_issuer(made, signer).sign(signer.key, hashes.SHA256())
        return {"data": {"certificate": _pem(signed), "issuing_ca": _pem(signer.certificate)}}

    def _sign(self, mount: _Mount, issuer: str, name: str, body: dict[str, Any]) -> Any:
        role = mount.roles.get(name)
        if role is None:
            raise RefusedError(400, f"unknown role: {name}")
        signer = self._signer(mount, issuer)
        request = x509.load_pem_x509_csr(body["csr"].encode())
        ends = self.now() + min(_duration(body["ttl"]), _duration(role["max_ttl"]), mount.max_ttl)
        self._refuse_after(signer, ends)
        san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = san.get_values_for_type(x509.UniformResourceIdentifier)
        if not all(uri.startswith("spiffe://") for uri in uris) or len(uris) != len([*san]):
            raise RefusedError(400, "subject alternate name not allowed by this role")
        common = body.get("common_name")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
        made = self._certificate(
            subject, signer.certificate.subject, request.public_key(), ends, ca=False, uris=uris
        )
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = _with_issuer(made, signer).add_extension(x509.ExtendedKeyUsage(uses), False)
        signed = made.sign(signer.key, hashes.SHA256())
        return {"data": {"certificate": _pem(signed), "issuing_ca": _pem(signer.certificate)}}

    def _signer(self, mount: _Mount, issuer: str) -> _Issuer:
        if issuer not in mount.issuers:
            raise RefusedError(500, "could not fetch the CA certificate (was one set?)")
        return mount.issuers[issuer]

    def _refuse_after(self, signer: _Issuer, ends: float) -> None:
        limit = signer.certificate.not_valid_after_utc
        if ends > limit.timestamp():
            raise RefusedError(
                400,
                "cannot satisfy request, as TTL would result in notAfter of "
                f"{_time(ends).isoformat()} that is beyond the expiration of the CA certificate at {limit.isoformat()}",
            )

    def _certificate(
        self, subject: x509.Name, issuer: x509.Name, key: Any, ends: float, *, ca: bool, uris: Any = ()
    ) -> x509.CertificateBuilder:
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_time(self.now()) - timedelta(seconds=30))
            .not_valid_after(_time(ends))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(_usage(ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            made = made.add_extension(names, critical=not subject.rdns)
        return made


def _with_issuer(made: x509.CertificateBuilder, signer: _Issuer) -> x509.CertificateBuilder:
    found = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)
    return made.add_extension(identifier, critical=False)


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not ca, False, not ca, False, False, ca, ca, False, False)


def _new_key(body: dict[str, Any]) -> Any:
    if body["key_type"] == "rsa":
        return rsa.generate_private_key(65537, body["key_bits"])
    return ec.generate_private_key({256: ec.SECP256R1(), 384: ec.SECP384R1()}[body["key_bits"]])


def _public(key: Any) -> bytes:
    return bytes(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(PEM).decode().strip()


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(int(at), UTC)


def _duration(text: str) -> float:
    return float(text[:-1]) * {"s": 1, "h": 3600}[text[-1]]
