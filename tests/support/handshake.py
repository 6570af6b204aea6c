"""A TLS handshake and a little traffic between two in-memory ends, as bytes."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@cache
def handshake(
    version: ssl.TLSVersion, *, asks: bool = False, has_certificate: bool = False
) -> tuple[bytes, bytes]:
    """All bytes of the client and all bytes of the server, with 20 bytes of application data each way.

    ``asks`` for a certificate of the client, which ``has_certificate`` or not.
    """
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as directory:
        pem = certificate(Path(directory))
        server_context.load_cert_chain(pem)
        if has_certificate:
            client_context.load_cert_chain(pem)
        if asks:
            server_context.verify_mode = ssl.CERT_OPTIONAL
            server_context.load_verify_locations(pem)
    for context in (server_context, client_context):
        context.minimum_version = context.maximum_version = version
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = {
        "client": (client_context.wrap_bio(to_client, to_server), to_server),
        "server": (server_context.wrap_bio(to_server, to_client, server_side=True), to_client),
    }
    sent = {"client": b"", "server": b""}
    todo = {name: ["handshake", "write"] for name in ends}
    # The pipes are read by the other end directly, so each is copied before it is filled again.
    while any(todo.values()):
        for name, (end, pipe) in ends.items():
            step = todo[name][0] if todo[name] else ""
            try:
                if step == "handshake":
                    end.do_handshake()
                elif step == "write":
                    end.write(b"x" * 20)
                todo[name] = todo[name][1:]
            except ssl.SSLWantReadError:
                pass
            data = pipe.read()
            sent[name] += data
            pipe.write(data)
    return sent["client"], sent["server"]


def certificate(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server.dc1.consul")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    path = directory / "both.pem"
    pkcs8 = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
