"""JSON payloads, texts and times: what the store keeps is exactly what can be read back.

PostgreSQL's jsonb refuses some of what JSON parsers accept (NUL, lone surrogates) and stores some of what
they can't read again (deep nesting, huge numbers). Everything is checked here, before it is sent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from session_continuity.domain.errors import InvalidInput

PAYLOAD_LIMIT = 1_048_576
"""Largest payload in bytes of UTF-8 JSON."""

DEPTH_LIMIT = 200
"""Deepest nesting of a payload."""


_EARLIEST, _LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def encode_payload(name: str, value: Any) -> str:
    """The JSON text of a payload. Raises InvalidInput with one of the codes payload_not_json,
    payload_not_finite, payload_number_out_of_range, payload_lone_surrogate, payload_nul,
    payload_too_deep, payload_too_large."""
    try:
        encoded = orjson.dumps(value)
    except TypeError as error:
        raise _refusal(name, str(error)) from None
    if len(encoded) > PAYLOAD_LIMIT:
        raise InvalidInput(
            f"{name} has {len(encoded):,} bytes, {PAYLOAD_LIMIT:,} are allowed; store a part or a reference",
            code="payload_too_large",
            field=name,
            bytes=len(encoded),
            limit=PAYLOAD_LIMIT,
        )
    if b"\\u0000" in encoded and _any_value(value, _has_nul):
        raise InvalidInput(
            f"{name} holds a NUL character, which jsonb can't store", code="payload_nul", field=name
        )
    if b"null" in encoded and _any_value(value, _not_finite):
        raise InvalidInput(f"{name} holds NaN or an infinite number", code="payload_not_finite", field=name)
    if encoded.count(b"{") + encoded.count(b"[") > DEPTH_LIMIT and _depth(encoded) > DEPTH_LIMIT:
        raise _too_deep(name)
    return encoded.decode()


def encode_object(name: str, value: Any) -> str:
    """Like encode_payload, for payloads that must be JSON objects (code payload_not_object)."""
    if not isinstance(value, dict):
        raise InvalidInput(
            f"{name} must be a JSON object, not {type(value).__name__}", code="payload_not_object", field=name
        )
    return encode_payload(name, cast("dict[str, Any]", value))


def decode_payload(name: str, text: str) -> Any:
    """Parse JSON text that a person or program typed. Raises InvalidInput as encode_payload does."""
    try:
        return json.loads(text)
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        if not isinstance(error, json.JSONDecodeError):  # an integer of more digits than Python reads
            raise _out_of_range(name) from None
        raise InvalidInput(f"{name} is not JSON: {error}", code="payload_not_json", field=name) from None


def check_text(name: str, value: str, limit: int = 10_000) -> str:
    """A text for a column: not empty, no NUL, no lone surrogate, at most `limit` characters. Raises
    InvalidInput with text_empty, text_nul, text_lone_surrogate or text_too_long."""
    if not value:
        raise InvalidInput(f"{name} is empty", code="text_empty", field=name)
    if len(value) > limit:
        raise InvalidInput(
            f"{name} has {len(value):,} characters, {limit:,} are allowed", code="text_too_long", field=name
        )
    if "\0" in value:
        raise InvalidInput(f"{name} holds a NUL character", code="text_nul", field=name)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} holds half a surrogate pair", code="text_lone_surrogate", field=name) from None
    return value


def storable_text(value: str) -> str:
    """The text with what PostgreSQL can't store replaced by U+FFFD: for captured text, which is never refused."""
    return _UNSTORABLE.sub("\ufffd", value)


def storable(value: Any, depth: int = 0) -> Any:
    """A captured JSON value with what can't be stored made storable: NUL and lone surrogates become U+FFFD,
    numbers out of range and nesting below DEPTH_LIMIT / 2 become text."""
    if depth > DEPTH_LIMIT // 2:
        return "[nested too deeply]"
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {storable_text(str(key)): storable(item, depth + 1) for key, item in items}
    if isinstance(value, list | tuple):
        return [storable(item, depth + 1) for item in cast("list[Any]", value)]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value) if value.bit_length() < 4096 else "[number out of range]"
    return value


def _refusal(name: str, reason: str) -> InvalidInput:
    lowered = reason.lower()
    if "surrogate" in lowered or "utf-8" in lowered:
        return InvalidInput(f"{name} holds half a surrogate pair", code="payload_lone_surrogate", field=name)
    if "64-bit" in lowered:
        return _out_of_range(name)
    if "recursion" in lowered:
        return _too_deep(name)
    return InvalidInput(f"{name} is not JSON: {reason}", code="payload_not_json", field=name)


def _out_of_range(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} holds an integer beyond 64 bits; pass it as text", code="payload_number_out_of_range", field=name
    )


def _too_deep(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} is nested deeper than {DEPTH_LIMIT} levels",
        code="payload_too_deep",
        field=name,
        limit=DEPTH_LIMIT,
    )


def _has_nul(value: Any) -> bool:
    return isinstance(value, str) and "\0" in value


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _any_value(value: Any, matches: Callable[[Any], bool]) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if matches(item):
            return True
        if isinstance(item, dict):
            pending.extend(cast("dict[Any, Any]", item).keys())
            pending.extend(cast("dict[Any, Any]", item).values())
        elif isinstance(item, list | tuple):
            pending.extend(cast("list[Any]", item))
    return False


def _depth(encoded: bytes) -> int:
    deepest = level = 0
    in_text = escaped = False
    for byte in encoded:
        if in_text:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_text = False
        elif byte == 0x22:
            in_text = True
        elif byte in (0x5B, 0x7B):
            level += 1
            deepest = max(deepest, level)
        elif byte in (0x5D, 0x7D):
            level -= 1
    return deepest


def check_time(name: str, value: datetime | None) -> datetime | None:
    if value is not None and value.tzinfo is None:
        raise InvalidInput(f"{name} has no time zone", code="time_without_zone", field=name)
    try:
        if value is not None and not _EARLIEST < value.astimezone(UTC) < _LATEST:
            raise OverflowError
    except OverflowError:
        raise InvalidInput(f"{name} lies outside the years 1 to 9999", code="time_range", field=name) from None
    return value
