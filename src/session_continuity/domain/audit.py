"""The audit: what people did to the records, by name. A change and its entry are stored together or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

from session_continuity.domain.identity import new_operation_id
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps
from session_continuity.domain.paging import Place, check_limit, check_place
from session_continuity.domain.payload import check_text, encode_object
from session_continuity.domain.session_registry import check_choice

T = TypeVar("T")

Via = Literal["dashboard", "cli"]
VIAS = ("dashboard", "cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A row of audit_actions: who did what to what, and by which face. `subject` is an instance id, or the name of
    an alert, an archive or a token. Times are aware, from the database clock."""

    action_id: UUID
    at: datetime
    person: str
    via: Via
    action: str
    subject: str
    details: dict[str, Any]


def audited(
    change: Operation[T],
    action: str,
    subject: str,
    *,
    person: str,
    via: Via,
    details: Mapping[str, Any] | None = None,
) -> Operation[T]:
    """The change with its entry in the audit, in one transaction. Raises what the change raises; InvalidInput."""
    made = change if change.locked is None else change.under_lock()
    parameters = {
        "action_id": new_operation_id(),
        "person": check_text("person", person, 100),
        "via": check_choice("via", via, VIAS),
        "action": check_text("action", action, 100),
        "subject": check_text("subject", subject, 200),
        "details": encode_object("details", details or {}),
    }

    def steps() -> Steps[T]:
        done = yield from made.steps()
        yield Statement("record_action", parameters)
        return done

    return Operation(change.name, steps, atomic=True)


def record_action(
    action: str, subject: str, *, person: str, via: Via, details: Mapping[str, Any] | None = None
) -> Operation[None]:
    """The entry of a change that is not made in the database. Raises InvalidInput."""

    def nothing() -> Steps[None]:
        yield from ()

    return audited(Operation("record_action", nothing), action, subject, person=person, via=via, details=details)


def list_actions(
    *, subject: str | None = None, before: Place | None = None, limit: int = 100
) -> Operation[list[Action]]:
    """What was done, to one subject or to any, the latest first. `before` pages on: (at, action_id) of the last
    one. Raises InvalidInput."""
    parameters = {
        **ALL_PROJECTS,
        "subject": subject,
        **check_place(before, UUID(int=0)),
        "limit": check_limit(limit, 1_000),
    }

    def steps() -> Steps[list[Action]]:
        rows = yield Statement("list_actions", parameters)
        return [Action(**dict(zip(_FIELDS, row, strict=True))) for row in rows]

    return Operation("list_actions", steps)


_FIELDS = tuple(Action.__dataclass_fields__)
