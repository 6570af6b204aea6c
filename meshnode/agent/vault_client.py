"""Calls of Vault's HTTP API through hvac, which is an optional dependency and synchronous: each runs in a thread.

Every failure is a sentence with the address and the fix, and none has the token. Redirects are not followed, and
neither proxies nor other settings are read from the environment: the token goes to the configured address only.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeVar

from meshnode.base.errors import MeshError
from meshnode.connect.vault import VaultSettings

if TYPE_CHECKING:
    from requests import Response, Session

__all__ = ["MAX_CALLS", "MISSING_HVAC", "VaultClient", "VaultError"]

T = TypeVar("T")
MISSING_HVAC: Final = (
    "the CA provider vault needs the package hvac, which is not installed on this server: "
    "run pip install 'meshnode[vault]' there"
)
#: Seconds for a connection, between two pieces of an answer, and for a call as a whole.
CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 20.0
CALL_TIMEOUT: Final = 30.0
#: Calls at one time; further ones wait for their turn, within ``CALL_TIMEOUT``.
MAX_CALLS: Final = 8
#: Bytes of an answer; a chain of certificates is a tenth of it.
MAX_ANSWER_BYTES: Final = 1024 * 1024
MAX_WORDS_CHARS: Final = 300


class VaultError(MeshError):
    """Vault could not be asked, or said no; ``status`` is that of HTTP, 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class VaultClient:
    """One Vault with one token. Raises :class:`VaultError` when hvac is missing, as each call when a file is."""

    def __init__(self, settings: VaultSettings) -> None:
        if importlib.util.find_spec("hvac") is None:
            raise VaultError(MISSING_HVAC)
        self.settings = settings
        self._where = f"Vault at {settings.address}"
        self._session: Session | None = None
        self._opening = threading.Lock()
        self._slots = asyncio.Semaphore(MAX_CALLS)

    def __repr__(self) -> str:
        """Without the token."""
        return f"VaultClient({self.settings.address})"

    async def read(self, path: str) -> Mapping[str, Any]:
        """``GET``: the answer's ``data``."""
        return self._data(path, *await self._call("GET", path, None))

    async def write(self, path: str, **body: Any) -> Mapping[str, Any]:
        """``POST``: the answer's ``data``, empty when there is none."""
        status, content = await self._call("POST", path, body)
        return self._data(path, status, content) if content else {}

    async def read_text(self, path: str) -> str:
        """``GET`` of what isn't JSON; empty when there is nothing."""
        return (await self._call("GET", path, None))[1].decode(errors="replace")

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                status, content, location = await self._in_thread(lambda: self._ask(method, path, body))
        except TimeoutError:
            raise VaultError(
                f"{self._where} did not answer within {CALL_TIMEOUT:g} seconds: is it overloaded, or the network?"
            ) from None
        if status >= 300:
            raise VaultError(self._refusal(method, path, status, content, location), status)
        return status, content

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes, str]:
        """In a thread."""
        # Here, not above: hvac needn't be there, and takes its time to be loaded.
        import hvac
        import requests

        with self._opening:
            if self._session is None:
                self._session = _session(self.settings)
        client = hvac.Client(
            url=self.settings.address,
            token=self.settings.token,
            namespace=self.settings.namespace or None,
            session=self._session,
            verify=True,
            adapter=hvac.adapters.RawAdapter,
            allow_redirects=False,
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
        )
        try:
            response = client.adapter.request(
                method.lower(), f"/v1/{path}", json=body, stream=True, raise_exception=False
            )
            with response:
                return response.status_code, self._content(response), response.headers.get("Location", "")
        except requests.RequestException as error:
            raise VaultError(f"{self._where} {_why_not(error, self.settings)}") from None

    def _content(self, response: Response) -> bytes:
        content = bytearray()
        for part in response.iter_content(65_536):
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise VaultError(
                    f"{self._where} answered with more than {MAX_ANSWER_BYTES} bytes: is it Vault?"
                )
        return bytes(content)

    def _data(self, path: str, status: int, content: bytes) -> Mapping[str, Any]:
        answer = _parsed(content)
        data = answer.get("data")
        if data is None and isinstance(answer.get("auth"), Mapping):
            data = answer["auth"]
        if not isinstance(data, Mapping):
            raise VaultError(
                f"{self._where} answered to {path} with status {status} and no data: is it Vault?"
            )
        return data

    def _refusal(self, method: str, path: str, status: int, content: bytes, location: str) -> str:
        words = self._words(content)
        if status == 503 and "sealed" in words:
            return f"{self._where} is sealed: unseal it, and this goes on by itself"
        if status in (301, 302, 307, 308):
            return f"{self._where} sends us on to {location[:200]!r}: write the address of the active node as Address"
        if status == 403:
            return (
                f"{self._where} does not let us {method} {path}: permission denied. "
                "The token must be valid, and its policies must allow that"
            )
        return (
            f"{self._where} answered to {method} {path} with status {status}: {words or 'without a reason'}"
        )

    def _words(self, content: bytes) -> str:
        """Its own, in one line, bounded, and without the token."""
        answer = _parsed(content)
        told = [*_list(answer.get("errors")), *_list(answer.get("warnings"))]
        text = "; ".join(map(str, told)) if told else content[:MAX_WORDS_CHARS].decode(errors="replace")
        text = re.sub(r"[\s*]+", " ", text.replace(self.settings.token, "(token)"))
        return "".join(char for char in text if char.isprintable()).strip()[:MAX_WORDS_CHARS]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """In a thread of its own, which nobody waits for at the end of the process.

        The threads of the loop would be used up, for all who need one, by a Vault that doesn't answer.
        """
        await self._slots.acquire()
        loop, outcome = asyncio.get_running_loop(), Future[T]()
        # Who stops to wait doesn't end the thread, so it keeps its slot.
        outcome.set_running_or_notify_cancel()

        def run() -> None:
            try:
                outcome.set_result(work())
            except Exception as error:  # noqa: BLE001 - it is raised where the call is waited for
                outcome.set_exception(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._slots.release)

        threading.Thread(target=run, name="vault", daemon=True).start()
        return await asyncio.wrap_future(outcome)


def _session(settings: VaultSettings) -> Session:
    import requests
    from requests.adapters import HTTPAdapter

    context = _context(settings)

    class Adapter(HTTPAdapter):
        """TLS as the settings say, and nothing else."""

        def init_poolmanager(
            self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
        ) -> None:
            pool_kwargs["ssl_context"] = context
            if settings.tls_server_name:
                pool_kwargs["server_hostname"] = settings.tls_server_name
            super().init_poolmanager(connections, maxsize, block, **pool_kwargs)

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """All is in the context: without this, public CAs would be trusted beside the configured one."""

    session = requests.Session()
    session.trust_env = False
    session.mount("https://", Adapter(pool_maxsize=MAX_CALLS))
    session.mount("http://", HTTPAdapter(pool_maxsize=MAX_CALLS))
    return session


def _context(settings: VaultSettings) -> ssl.SSLContext:
    """Raises :class:`VaultError` that names the file which can't be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    what, file = "CAFile", settings.ca_file
    try:
        if settings.ca_file:
            context.load_verify_locations(settings.ca_file)
        if settings.ca_path:
            what, file = "CAPath", settings.ca_path
            for name in sorted(os.listdir(settings.ca_path)):
                file = os.path.join(settings.ca_path, name)
                if os.path.isfile(file):
                    context.load_verify_locations(file)
        if not settings.ca_file and not settings.ca_path:
            context.load_default_certs()
        if settings.cert_file:
            what, file = "CertFile and KeyFile", f"{settings.cert_file} and {settings.key_file}"
            context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: "")
    except ssl.SSLError:
        raise VaultError(f"{what}: {file} can't be used: write PEM, without a passphrase") from None
    except OSError as error:
        raise VaultError(f"{what}: {file} can't be read on this server: {error.strerror}") from None
    return context


def _why_not(error: Exception, settings: VaultSettings) -> str:
    """The end of a sentence that begins with the address."""
    import requests

    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            fix = "TLSServerName" if cause.verify_code in (62, 64) else "CAFile"
            return f"shows a certificate that isn't trusted ({cause.verify_message}): look at {fix}"
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or "handshake failed").replace("_", " ").lower()
            return f"can't be reached with TLS ({reason}): is Address right, http or https, and CertFile?"
    if isinstance(error, requests.Timeout):
        return "does not answer in time: is it up, and is Address right?"
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return f"can't be reached ({cause.strerror.lower()}): is it up, and is Address right?"
    return f"can't be reached ({type(error).__name__}): is it up, and is Address right?"


def _causes(error: BaseException) -> list[BaseException]:
    """The error and those that it came from, as requests and urllib3 nest them; bounded."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting and len(found) < 20:
        each = waiting.pop()
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return found


def _parsed(content: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
