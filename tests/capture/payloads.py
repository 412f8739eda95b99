"""What the tests of the hook adapters share: payloads of our own, and captured ones where they are present."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from session_continuity.capture.facts.facts import HookFacts
from session_continuity.capture.harnesses.hooks import ADAPTERS, HookCall

T = TypeVar("T")

FIXTURES = Path(__file__).parent / "fixtures"
RECORDINGS = Path(os.environ.get("CONTINUITY_RECORDINGS") or Path(__file__).parents[3] / "shared" / "data")
CAPTURED = {
    "claude": "claude-code",
    "claude-statusline": "claude-code",
    "codex": "codex",
    "gemini": "gemini-cli",
    "opencode": "opencode",
}
"""Folders of captured payloads, and whose they are."""

PAYLOADS: dict[str, dict[str, dict[str, Any]]] = {
    harness: json.loads((FIXTURES / "hooks" / f"{harness}.json").read_text("utf-8")) for harness in ADAPTERS
}
AT = datetime(2026, 5, 4, 10, 0, 5, tzinfo=UTC)


def call(key: str = "record", *, host: str | None = None) -> HookCall:
    return HookCall(key=key, at=AT, pid=4711, host=host)


def told(harness: str, event: str, *, host: str | None = None, **changes: Any) -> HookFacts:
    """The facts of our own payload of an event, with some fields changed; None takes a field away."""
    payload = {**PAYLOADS[harness][event], **changes}
    payload = {name: value for name, value in payload.items() if value is not None}
    return ADAPTERS[harness].read_hook(event, payload, call(host=host))


def one(kind: type[T], found: HookFacts) -> T:
    """The only fact of a kind."""
    (fact,) = of_type(kind, found)
    return fact


def of_type(kind: type[T], found: HookFacts) -> list[T]:
    return [fact for fact in found.facts if isinstance(fact, kind)]


def captured(folder: str) -> list[tuple[str, str, dict[str, Any]]]:
    """File, event and payload of what a real client's hooks received, in order."""
    paths = sorted((RECORDINGS / "hooks" / folder).glob("[0-9]*.json"))
    return [(path.name, path.stem.partition("-")[2], json.loads(path.read_text("utf-8"))) for path in paths]


def read_captured(folder: str) -> list[HookFacts]:
    adapter = ADAPTERS[CAPTURED[folder]]
    return [adapter.read_hook(event, payload, call(name)) for name, event, payload in captured(folder)]
