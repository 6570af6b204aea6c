"""Access logs in Envoy's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meshnode.xds.schema import message, packed
from meshnode.xds.settings import AccessLog

__all__ = ["log_messages"]

_STREAMS: Final = {"stdout": "StdoutAccessLog", "stderr": "StderrAccessLog"}


def log_messages(logs: Sequence[AccessLog]) -> list[Any]:
    """The ``AccessLog`` messages of a listener."""
    return [_message(log) for log in logs]


def _message(log: AccessLog) -> Any:
    form = None
    if log.text_format or log.json_format:
        form = message("config.core.v3.SubstitutionFormatString")()
        if log.text_format:
            form.text_format_source.inline_string = log.text_format.rstrip("\n") + "\n"
        for name, value in log.json_format:
            form.json_format.fields[name].string_value = value
    if log.type == "file":
        config = message("extensions.access_loggers.file.v3.FileAccessLog")(path=log.path, log_format=form)
    else:
        config = message(f"extensions.access_loggers.stream.v3.{_STREAMS[log.type]}")(log_format=form)
    return message("config.accesslog.v3.AccessLog")(
        name=f"envoy.access_loggers.{log.type}", typed_config=packed(config)
    )
