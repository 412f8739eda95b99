"""One line that says what an entry of the timeline is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import orjson

from session_continuity.domain.text import shorten
from session_continuity.domain.timeline import TimelineEntry

LONGEST = 240
_TELLING = (
    "command", "prompt", "text", "message", "summary", "file_path", "path", "pattern", "query", "url",
    "description", "name", "title", "reason", "epic_name", "epic_id", "sha", "trigger", "cwd",
)  # fmt: skip
"""The members that tell most, the first one found."""


def summary(entry: TimelineEntry) -> str:
    """What the entry is about, in at most 240 characters; nothing where its name says it all."""
    detail = entry.detail
    if entry.kind == "checkpoint":
        return "" if entry.context_window_percent is None else f"context {entry.context_window_percent} %"
    if not isinstance(detail, Mapping):
        return "" if detail is None else _short(detail)
    data = cast("Mapping[str, Any]", detail)
    if entry.name == "context_window_updated" and "percent" in data:
        return f"{data['percent']} %"
    if entry.name == "plan_updated" and isinstance(data.get("items"), list):
        return _plan(cast("list[Any]", data["items"]))
    if entry.name == "files_changed" and isinstance(data.get("files"), list):
        files = cast("list[Any]", data["files"])
        return _short(", ".join(str(_member(each, "path")) for each in files))
    told = next((data[name] for name in _TELLING if isinstance(data.get(name), str) and data[name].strip()), None)
    if told is not None:
        text = _one_line(told)
        return "" if text == entry.name else shorten(text, LONGEST)
    return _short(data) if data else ""


def _plan(items: list[Any]) -> str:
    done = sum(_member(item, "status") in ("completed", "done") for item in items)
    now = next((_member(item, "text") for item in items if _member(item, "status") == "in_progress"), None)
    told = f"{done} of {len(items)} done"
    return shorten(f"{told}, now: {_one_line(str(now))}" if now else told, LONGEST)


def _member(value: Any, name: str) -> Any:
    return cast("Mapping[str, Any]", value).get(name, "") if isinstance(value, Mapping) else value


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return shorten(_one_line(text), LONGEST)


def _one_line(text: str) -> str:
    return " ".join(text[: 4 * LONGEST].split())
