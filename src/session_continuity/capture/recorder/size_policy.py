"""How much of a captured value is stored: what is too long is kept as its head and tail, with its size and hash.

Applied after redaction, so neither the text nor the hash holds what was taken out.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from session_continuity.domain.payload import storable

STORED_TEXT = 20_000
"""Characters of the longest text that is stored whole, unless the settings say otherwise."""

_PAYLOAD = 400_000


def clipped(value: Any, longest: int = STORED_TEXT) -> Any:
    """A captured JSON value as it is stored: storable, every text of at most about `longest` characters, the
    whole within the store's bounds. A value that is too large even so becomes an object of `head`, `tail`, `bytes`
    and `sha256` of its JSON."""
    shortened = _clip(storable(value), longest)
    encoded = orjson.dumps(shortened)
    if len(encoded) <= _PAYLOAD:
        return shortened
    half = min(longest, STORED_TEXT) // 2
    return {
        "head": encoded[:half].decode("utf-8", "ignore"),
        "tail": encoded[-half:].decode("utf-8", "ignore"),
        "bytes": len(encoded),
        "sha256": hashlib.sha256(encoded).hexdigest(),
    }


def clipped_text(text: str, longest: int = STORED_TEXT) -> str:
    """A storable text as it is stored: its head and tail, and between them what was left out."""
    if len(text) <= longest:
        return text
    half = longest // 2
    encoded = text.encode()
    left_out = f"{len(text) - 2 * half:,} characters left out of {len(encoded):,} bytes"
    return f"{text[:half]}\n[{left_out}, sha256 {hashlib.sha256(encoded).hexdigest()}]\n{text[-half:]}"


def _clip(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return clipped_text(value, longest)
    if isinstance(value, dict):
        return {name: _clip(item, longest) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_clip(item, longest) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
