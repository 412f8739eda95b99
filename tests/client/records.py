"""What a test needs beside the client: a session, a look at the tables, and threads that start together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg

from session_continuity import Event, NewEvent, SessionContinuity

T = TypeVar("T")


def new_session(client: SessionContinuity, project: str = "demo", **options: Any) -> str:
    return client.register_session(project, **options).instance_id


def note(text: str, **options: Any) -> NewEvent:
    return NewEvent(event_type="note_recorded", event_data={"text": text}, **options)


def texts(events: Sequence[Event]) -> list[str]:
    """The texts of the notes, in the order of their numbers."""
    return [event.event_data["text"] for event in events if event.event_type == "note_recorded"]


def numbers(client: SessionContinuity, instance_id: str) -> list[int]:
    return [event.sequence_num for event in client.read_events(instance_id, limit=10_000)]


def is_whole(client: SessionContinuity, instance_id: str) -> bool:
    """Whether the session's numbers are 1..n and its row agrees."""
    found = numbers(client, instance_id)
    last = client.get_session(instance_id).last_sequence_num
    return found == list(range(1, last + 1))


def contents(database: str) -> list[tuple[Any, ...]]:
    """Every row of the four tables, to see whether anything changed."""
    with psycopg.connect(database) as connection:
        return [
            connection.execute(
                f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"
            ).fetchone()
            or ()
            for table in ("supervisor_sessions", "command_log", "event_store", "checkpoints")
        ]


def together(calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """What each call returned or raised, all started at the same moment."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        barrier.wait()
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def waits_for_lock(database: str) -> int:
    """How many backends wait for a lock at this moment."""
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return row[0] if row else 0
