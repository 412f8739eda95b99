"""A small real store: every record becomes one event of its session, exactly once by the record's name.

The payload is `{"session": ..., "number": ...}`; `"poison": true` can't be stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from session_continuity import SessionContinuity
from session_continuity.capture.spool.drain import Rejected
from session_continuity.capture.spool.spool import SpoolRecord


class SmallStore:
    """With `by_name` off it forgets what makes a record single, as a control."""

    def __init__(self, client: SessionContinuity, *, by_name: bool = True) -> None:
        self._client, self._by_name = client, by_name
        self._known: set[str] = set()

    def store(self, records: Sequence[SpoolRecord]) -> list[Rejected | None]:
        return [self._store(record) for record in records]

    def watch(self) -> None:
        """Nothing to look at."""

    def _store(self, record: SpoolRecord) -> Rejected | None:
        payload = json.loads(record.payload)
        if payload.get("poison"):
            return Rejected(code="poison", reason="it can't be stored")
        instance_id = instance_of(record.host, payload["session"])
        if instance_id not in self._known:
            self._client.register_session("small", instance_id=instance_id, operation="register")
            self._known.add(instance_id)
        data = {"number": payload["number"], "host": record.host, "at": record.captured_at.isoformat()}
        self._client.append_event(
            instance_id, "note_recorded", data, operation=record.name if self._by_name else None
        )
        return None


def instance_of(host: str | None, session: str) -> str:
    return f"small-PS-{hashlib.sha256(f'{host}/{session}'.encode()).hexdigest()[:6]}"


def stored_numbers(client: SessionContinuity, host: str | None, session: str) -> list[int]:
    """What is stored of a session, in its order."""
    numbers: list[int] = []
    after = 0
    while events := client.read_events(instance_of(host, session), after=after, limit=1_000):
        numbers += [event.event_data["number"] for event in events if event.event_type == "note_recorded"]
        after = events[-1].sequence_num
    return numbers
