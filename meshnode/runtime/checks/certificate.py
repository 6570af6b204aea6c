"""Certificate checks: one read from a file, or shown in a TLS handshake whose verification is not the point.

Nothing is sent after the handshake and nothing that the server says is trusted: only the dates are judged.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from meshnode.base.errors import MeshError
from meshnode.local.check_certificate import MAX_CERTIFICATE_BYTES, judge_certificate, parse_certificate
from meshnode.local.check_status import CRITICAL, Result
from meshnode.local.check_type import CertificateCheck, effective_timeout, split_host_port
from meshnode.runtime.checks.clock import Clock
from meshnode.runtime.checks.dial import DialError, error_words, open_stream
from meshnode.runtime.checks.http_client import close
from meshnode.runtime.checks.tls_words import tls_failure

__all__ = ["check_certificate"]


async def check_certificate(check: CertificateCheck, clock: Clock) -> Result:
    """Run ``check`` once; its definition has no fault."""
    place, timeout = check.target, effective_timeout(check)
    try:
        async with asyncio.timeout(timeout):
            if place.startswith("/"):
                data = await asyncio.get_running_loop().run_in_executor(None, _read_file, place)
            else:
                data = await _shown_by(check)
        return judge_certificate(parse_certificate(data), place, clock.at())
    except TimeoutError:
        words = f"nothing came in {timeout:g} s: is it a TLS server, or a file that can be read?"
    except ssl.SSLError as error:
        words = tls_failure(error, place)
    except (DialError, MeshError) as error:
        words = str(error)
    except OSError as error:
        words = f"can't be read: {error_words(error)}"
    return Result(CRITICAL, f"Certificate {place}: {words}")


def _read_file(path: str) -> bytes:
    if not Path(path).is_file() and Path(path).exists():
        raise MeshError("is not a file: write the path of a certificate in PEM or DER")
    with Path(path).open("rb") as stream:
        return stream.read(MAX_CERTIFICATE_BYTES + 1)


async def _shown_by(check: CertificateCheck) -> bytes:
    place = split_host_port(check.target)
    assert place is not None, "a check without a fault has a path or an address"
    _, writer = await open_stream(*place, effective_timeout(check) + 1, _unverified(), check.tls_server_name)
    shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
    data = shown.getpeercert(binary_form=True) or b""
    # In order, so that the server logs no broken handshake at every run.
    await close(writer)
    return data


def _unverified() -> ssl.SSLContext:
    """Also for old servers: what they show is looked at, nothing is sent to them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
