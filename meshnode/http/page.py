"""The web page under ``/ui/``: files by name, each with its type, a tag of its content, and a strict policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from meshnode.base.errors import LocalProtocolError
from meshnode.http.message import Headers, Request, Response
from meshnode.http.render import compressed

__all__ = ["POLICY", "ROOT", "TYPES", "Page"]

ROOT: Final = "/ui/"
INDEX: Final = "index.html"
#: Suffix of a file -> its media type (RFC 9239 for scripts).
TYPES: Final[Mapping[str, str]] = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
#: Only this agent's own files and answers; no inline script or style, no frames (CSP Level 3).
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final[Headers] = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    # Asked for again each time, and answered with 304 while it is the same: a new release shows at once.
    ("Cache-Control", "no-cache"),
)
#: An unknown name with one of these is a file that isn't there; any other is a place inside the page (Consul).
_FILES: Final = (*(f".{suffix}" for suffix in TYPES), ".map", ".ico", ".png", ".json", ".txt", ".woff2")
_ALLOW: Final = "GET, HEAD, OPTIONS"


class Page:
    """The files of the page as answers, each made once; ``files`` maps a path below ``/ui/`` to its content.

    Raises :class:`LocalProtocolError` for a file of an unknown type, or without ``index.html``.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        if INDEX not in files:
            raise LocalProtocolError(f"the web page has no {INDEX}: install meshnode again")
        self._files = {name: _response(name, content) for name, content in files.items()}
        index = self._files[INDEX]
        index.headers = (*index.headers, *_preload(files))

    def answer(self, request: Request) -> Response | None:
        """The answer for a path that no route has; ``None`` where the page has none either."""
        path = request.path
        if path != "/" and path != "/ui" and not path.startswith(ROOT):
            return None
        if request.method == "OPTIONS":
            return Response(200, headers=(("Allow", _ALLOW),))
        if request.method not in ("GET", "HEAD"):
            return Response.text(405, f"method {request.method} not allowed", (("Allow", _ALLOW),))
        if not path.startswith(ROOT):
            return Response(301, headers=(("Location", ROOT),))
        name = path.removeprefix(ROOT)
        found = self._files.get(name)
        if found is None:
            if name.lower().endswith(_FILES):
                return Response.text(404, "the web page has no such file", _HEADERS)
            found = self._files[INDEX]
        if _known(request, found):
            return Response(304, headers=found.headers)
        return compressed(request, found)


def _response(name: str, content: bytes) -> Response:
    suffix = name.rpartition(".")[2]
    if suffix not in TYPES:
        raise LocalProtocolError(f"{name}: a file of the web page of an unknown type")
    # Weak: the same for the file and for its compressed form (RFC 9110 8.8.1).
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Response(200, content, TYPES[suffix], (*_HEADERS, ("ETag", tag)))


def _preload(files: Iterable[str]) -> Headers:
    """Modules import one another over several levels: named at once, none is waited for (HTML, ``modulepreload``)."""
    scripts = sorted(name for name in files if name.endswith(".js"))
    links = ", ".join(f"<{ROOT}{name}>; rel=modulepreload" for name in scripts)
    return (("Link", links),) if links else ()


def _known(request: Request, found: Response) -> bool:
    """Whether ``If-None-Match`` names what would be sent (RFC 9110 13.1.2)."""
    wanted = request.header(b"if-none-match")
    if not wanted:
        return False
    tag = dict(found.headers)["ETag"].removeprefix("W/")
    return wanted.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in wanted.split(","))
