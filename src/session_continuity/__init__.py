"""Records AI agent sessions in PostgreSQL and gives the next session an exact, checkable brief."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from session_continuity.async_client import AsyncSessionContinuity
    from session_continuity.client import SessionContinuity
    from session_continuity.domain.checkpoints import Checkpoint, Recovery
    from session_continuity.domain.command_log import Command, NewCommand
    from session_continuity.domain.errors import (
        Ambiguous,
        Conflict,
        DeadlineExceeded,
        Fenced,
        Forbidden,
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
    "Forbidden",
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

# Loaded when asked for: `continuity --help` and the agents' hooks must not wait for the database driver.
_HOMES = {
    "Ambiguous": "domain.errors",
    "Appended": "domain.event_store",
    "AsyncSessionContinuity": "async_client",
    "Checkpoint": "domain.checkpoints",
    "Command": "domain.command_log",
    "Conflict": "domain.errors",
    "Continued": "domain.threads",
    "DeadlineExceeded": "domain.errors",
    "EVENT_TYPES": "domain.event_store",
    "Event": "domain.event_store",
    "Fenced": "domain.errors",
    "Forbidden": "domain.errors",
    "InvalidInput": "domain.errors",
    "NewCommand": "domain.command_log",
    "NewEvent": "domain.event_store",
    "NotFound": "domain.errors",
    "OperationConflict": "domain.errors",
    "Origin": "domain.session_registry",
    "Recovery": "domain.checkpoints",
    "Refused": "domain.errors",
    "SequenceConflict": "domain.errors",
    "Session": "domain.session_registry",
    "SessionContinuity": "client",
    "SessionContinuityError": "domain.errors",
    "Settings": "settings",
    "TimelineEntry": "domain.timeline",
    "Unavailable": "domain.errors",
    "WorkState": "domain.work_state",
    "load_settings": "settings",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
