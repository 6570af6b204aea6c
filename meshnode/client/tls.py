"""The TLS context of calls to the agent, made again when one of its files is another: a renewed certificate is used
without a restart, for connections from then on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from meshnode.base.errors import ConfigError
from meshnode.client.endpoint import TlsFiles, tls_context
from meshnode.runtime.file_marks import Marks, file_marks

if TYPE_CHECKING:
    import ssl

__all__ = ["RenewedContext"]

_log: Final = logging.getLogger("meshnode.client")


class RenewedContext:
    """Of ``files``, which are looked at each time that the context is asked for."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._marks: Marks = ()
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        """The context of the files as they are now: the same object until one of them is another.

        Raises :class:`ConfigError` when they could never be used. Later the last good context stays: the certificate
        may be there before its key is.
        """
        marks = file_marks(self._paths())
        if self._context is not None and marks == self._marks:
            return self._context
        try:
            context = tls_context(self._files)
        except ConfigError as error:
            if self._context is None:
                raise
            _log.warning("the TLS files for the agent changed and are not used yet: %s", error)
        else:
            if self._context is not None:
                _log.info("the TLS files for the agent changed: new connections use them")
            self._context = context
        self._marks = marks
        return self._context

    def _paths(self) -> list[str]:
        files = self._files
        return [path for path in (files.ca_file, files.ca_path, files.certificate, files.key) if path]
