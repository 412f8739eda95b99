"""The full engine of secret detection, when the `secrets` extra is installed: kingfisher's rules, in this process.

It never uses the network here: nothing is validated or revoked.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from session_continuity.capture.redaction.secret_shapes import Span

_NO_TYPE = re.compile(r"[^a-z0-9]+")


class SecretEngine(Protocol):
    """Finds secrets in a text."""

    def find(self, text: str) -> list[Span]: ...


def load_engine(cache: Path) -> SecretEngine | None:
    """The engine, one for the process, or None when it is not installed. Its compiled rules are kept in the folder
    `cache`, which saves three seconds of the next start."""
    with _loading:
        if not _loaded:
            _loaded.append(_load(cache))
    return _loaded[0]


_loading = Lock()
_loaded: list[SecretEngine | None] = []


def _load(cache: Path) -> SecretEngine | None:
    try:
        from kingfisher_sdk import Rules, Scanner
    except ImportError:
        return None
    return _Kingfisher(Scanner(Rules(cache_dir=str(cache))))


class _Kingfisher:
    def __init__(self, scanner: Any) -> None:
        self._scanner = scanner

    def find(self, text: str) -> list[Span]:
        """The secrets in a text. Raises whatever the engine raises."""
        data = text.encode("utf-8", "replace")
        found = [
            (finding.location["start_offset"], finding.location["end_offset"], _type(finding.rule_id), finding)
            for finding in self._scanner.scan(data)
            if finding.visible
        ]
        if not found:
            return []
        places = _characters(data, {offset for start, end, *_ in found for offset in (start, end)})
        return [
            Span(places[start], places[end], kind, finding.secret if finding.is_base64_encoded else None)
            for start, end, kind, finding in found
        ]


def _type(rule_id: str) -> str:
    return _NO_TYPE.sub("-", rule_id.rpartition(".")[2].lower()).strip("-")[:40].strip("-") or "secret"


def _characters(data: bytes, offsets: set[int]) -> dict[int, int]:
    """Offsets in UTF-8 as places in the text."""
    places, at = dict[int, int](), 0
    for before, offset in itertools.pairwise((0, *sorted(offsets))):
        at += len(data[before:offset].decode("utf-8", "replace"))
        places[offset] = at
    return places
