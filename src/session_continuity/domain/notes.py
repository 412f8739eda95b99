"""Notes: what an agent wants the next one to know, appended as a `note_recorded` event and folded into the work
state, where the brief finds it."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from session_continuity.domain.event_store import Appended, PreparedAppend, append_prepared, prepare_event
from session_continuity.domain.operation import Operation
from session_continuity.domain.payload import check_text
from session_continuity.domain.session_registry import check_choice

NoteKind = Literal["decision", "constraint", "rejected", "note"]
NOTE_KINDS = ("decision", "constraint", "rejected", "note")

NOTE_LIMIT = 2_000
"""Most characters of a note: as many as the work state keeps, so that no brief cuts one in silence."""


def prepare_note(
    instance_id: str, text: str, *, kind: NoteKind = "note", operation: UUID | str | None = None
) -> PreparedAppend:
    """Check everything of a note that can be checked without the store. Raises InvalidInput."""
    described = {
        "kind": check_choice("kind", kind, NOTE_KINDS),
        "text": check_text("text", text, NOTE_LIMIT),
    }
    return prepare_event(instance_id, "note_recorded", described, operation=operation)


def record_note(
    instance_id: str, text: str, *, kind: NoteKind = "note", operation: UUID | str | None = None
) -> Operation[Appended]:
    """Append a note: a decision, a constraint, a way that was rejected, or anything else worth keeping; at most
    2,000 characters. Raises NotFound, Fenced, OperationConflict, InvalidInput."""
    return append_prepared(prepare_note(instance_id, text, kind=kind, operation=operation))
