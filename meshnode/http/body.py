"""Request bodies: strict JSON into fields of known types, as Go programs read it. Every refusal is a 400.

Use ``fields = Fields(decode_object(request.body))`` and then ``fields.text("Name")`` and so on.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from meshnode.base.json_fields import JsonFields, json_type
from meshnode.http.errors import HttpError

__all__ = ["MAX_NUMBER_CHARS", "Fields", "decode_json", "decode_object"]

#: Longest number that is looked at: more digits than any 64-bit number or double has.
MAX_NUMBER_CHARS: Final = 400
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Fields(JsonFields):
    """The fields of an object of a body; raises 400 ``Request decode failed: <field>: expected string, got number``."""

    __slots__ = ()

    def error(self, message: str) -> Exception:
        """An :class:`HttpError` 400."""
        return _failed(message)


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object that ``body`` is; ``null`` is an empty one, as in Go. Raises :class:`HttpError` 400."""
    value = decode_json(body)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _failed(f"expected object, got {json_type(value)}")
    return value


def decode_json(body: bytes) -> Any:
    """The one JSON value in ``body``; bytes that are not UTF-8 become U+FFFD, as in Go. Raises 400."""
    if not body.strip():
        raise _failed("the body is empty, send JSON")
    text = body.decode("utf-8", "replace")
    try:
        value = _DECODER.decode(text)
        return _without_surrogates(value) if "\\u" in text else value
    except json.JSONDecodeError as error:
        raise _failed(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _failed("the JSON is nested too deeply") from None


def _failed(message: str) -> HttpError:
    return HttpError(400, f"Request decode failed: {message}")


def _number(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise _failed(f"a number has more than {MAX_NUMBER_CHARS} digits")
    return int(text)


def _not_json(text: str) -> NoReturn:
    raise _failed(f"{text} is not JSON")


def _without_surrogates(value: Any) -> Any:
    """Half a surrogate pair can't be written back as UTF-8; Go reads it as U+FFFD."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


_DECODER: Final = json.JSONDecoder(parse_int=_number, parse_constant=_not_json)
