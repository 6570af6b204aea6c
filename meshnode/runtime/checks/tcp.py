"""TCP checks: a connection that is made passes, and is closed at once; one with TLS after its handshake."""

from __future__ import annotations

import asyncio
import ssl

from meshnode.base.errors import MeshError
from meshnode.local.check_status import CRITICAL, PASSING, Result, tcp_output
from meshnode.local.check_type import TcpCheck, effective_timeout, split_host_port
from meshnode.runtime.checks.dial import DialError, dial, error_words, open_stream
from meshnode.runtime.checks.http_client import close
from meshnode.runtime.checks.tls_words import CheckContexts, new_context, tls_failure

__all__ = ["check_tcp"]


async def check_tcp(check: TcpCheck, contexts: CheckContexts) -> Result:
    """Run ``check`` once; its definition has no fault. ``contexts`` is asked with ``use_tls`` only."""
    place, timeout = split_host_port(check.address), effective_timeout(check)
    assert place is not None, "a check without a fault has an address"
    if not check.use_tls:
        try:
            (await dial(*place, timeout)).close()
        except DialError as error:
            return Result(CRITICAL, str(error))
        return Result(PASSING, tcp_output(check.address))
    name = check.tls_server_name or place[0]
    try:
        async with asyncio.timeout(timeout):
            context = await new_context(contexts, skip_verify=check.tls_skip_verify)
            _, writer = await open_stream(*place, timeout, context, name)
    except TimeoutError:
        words = f"the TLS handshake took more than {timeout:g} s: is it a TLS server?"
        return Result(CRITICAL, f"dial tcp {check.address}: i/o timeout: {words}")
    except ssl.SSLError as error:
        return Result(CRITICAL, f"{check.address}: {tls_failure(error, name)}")
    except MeshError as error:
        return Result(CRITICAL, str(error))
    except OSError as error:
        return Result(CRITICAL, f"dial tcp {check.address}: {error_words(error)}")
    await close(writer)
    return Result(PASSING, tcp_output(check.address))
