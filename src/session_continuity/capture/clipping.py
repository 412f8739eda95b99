"""Captured values as they are stored: storable, long texts cut in the middle, the whole within bounds."""

from __future__ import annotations

from typing import Any

import orjson

from session_continuity.domain.payload import storable

_STRING, _PAYLOAD = 20_000, 400_000


def clipped(value: Any) -> Any:
    """A captured JSON value as it is stored."""
    shortened = _clip(storable(value))
    encoded = orjson.dumps(shortened)
    if len(encoded) <= _PAYLOAD:
        return shortened
    head = encoded[:_STRING].decode("utf-8", "ignore")
    return {"clipped_bytes": len(encoded), "head": head}


def _clip(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _STRING:
        half = _STRING // 2
        return f"{value[:half]}\n[{len(value) - 2 * half:,} characters left out]\n{value[-half:]}"
    if isinstance(value, dict):
        return {name: _clip(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_clip(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
