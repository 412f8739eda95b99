"""Records AI agent sessions in PostgreSQL and gives the next session an exact, checkable brief."""

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.client import SessionContinuity
from session_continuity.domain.checkpoints import Checkpoint, Recovery
from session_continuity.domain.command_log import Command, NewCommand
from session_continuity.domain.errors import (
    Ambiguous,
    Conflict,
    DeadlineExceeded,
    Fenced,
    InvalidInput,
    NotFound,
    OperationConflict,
    Refused,
    SequenceConflict,
    SessionContinuityError,
    Unavailable,
)
from session_continuity.domain.event_store import EVENT_TYPES, Appended, Event, NewEvent
from session_continuity.domain.session_registry import Origin, Session
from session_continuity.domain.threads import Continued
from session_continuity.domain.timeline import TimelineEntry
from session_continuity.domain.work_state import WorkState
from session_continuity.settings import Settings, load_settings

__all__ = [
    "EVENT_TYPES",
    "Ambiguous",
    "Appended",
    "AsyncSessionContinuity",
    "Checkpoint",
    "Command",
    "Conflict",
    "Continued",
    "DeadlineExceeded",
    "Event",
    "Fenced",
    "InvalidInput",
    "NewCommand",
    "NewEvent",
    "NotFound",
    "OperationConflict",
    "Origin",
    "Recovery",
    "Refused",
    "SequenceConflict",
    "Session",
    "SessionContinuity",
    "SessionContinuityError",
    "Settings",
    "TimelineEntry",
    "Unavailable",
    "WorkState",
    "load_settings",
]
