"""Drives the steps of an operation with plain rows: no database, no waiting."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import settings

from session_continuity.domain.event_store import Event
from session_continuity.domain.operation import Operation, Rows, Statement

T = TypeVar("T")
Answer = Rows | Exception

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
THREAD = UUID(int=7)

calm = settings(deadline=None)
"""Properties run on busy machines: how long one example takes says nothing."""


def drive(operation: Operation[T], *answers: Answer) -> tuple[T, list[Statement]]:
    """The result of the operation when the store answers so, and what it asked. Every answer must be used."""
    asked: list[Statement] = []
    given = list(answers)
    steps = operation.steps()
    try:
        statement = next(steps)
        while True:
            asked.append(statement)
            assert given, f"asked for more than was answered: {[one.name for one in asked]}"
            answer = given.pop(0)
            statement = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
    except StopIteration as done:
        assert not given, f"never asked for {given}"
        return done.value, asked
    finally:
        steps.close()


def session_row(instance_id: str, **changed: Any) -> tuple[Any, ...]:
    """A row of the session columns."""
    row: dict[str, Any] = {
        "instance_id": instance_id,
        "project": "demo",
        "instance_type": "PS",
        "status": "active",
        "context_percent": None,
        "current_epic": None,
        "last_heartbeat": NOW,
        "created_at": NOW,
        "closed_at": None,
        "thread_id": THREAD,
        "owner_epoch": 1,
        "superseded_by": None,
        "last_sequence_num": 1,
        "parent_instance_id": None,
        "parent_sequence_num": None,
        "relation": None,
        "harness": None,
        "harness_session_id": None,
        "host": None,
        "pid": None,
        "cwd": None,
        "git_branch": None,
        "git_head": None,
        "heartbeat_interval_seconds": None,
        "metadata": {},
        "legal_hold": False,
        "process_seen_at": None,
    }
    assert changed.keys() <= row.keys()
    return tuple((row | changed).values())


def event(sequence_num: int, event_type: str, event_data: Any, instance_id: str = "demo-PS-aaaaaa") -> Event:
    """An event as it is read from the store."""
    return Event(UUID(int=sequence_num), instance_id, event_type, sequence_num, event_data, {}, NOW, NOW, 1)
