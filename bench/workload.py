"""The rows that all subjects write, and the hand-written psycopg that the product is measured against."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson
import psycopg

from session_continuity import SessionContinuity
from session_continuity.domain.identity import new_operation_id

EVENT_TYPE = "commit_created"
EVENT: dict[str, Any] = {
    "sha": "3f786850e387550fdab836ed7e6dc881de23001b",
    "branch": "feature/session-continuity",
    "message": "Give every event its number in the statement that checks the fence, so that no copy slips in",
    "files": ["src/session_continuity/domain/event_store.py", "tests/domain/test_event_store.py"],
    "insertions": 57,
    "deletions": 13,
    "signed": True,
}
"""About 300 bytes of JSON."""

INSERT = (
    "INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)"
    " VALUES (%b, %b, %b, %b, %s::jsonb, 1)"
)
INSERT_ON_REPORT = (
    "INSERT INTO event_store (instance_id, event_type, sequence_num, event_data) VALUES (%b, %b, %b, %s::jsonb)"
)
INSERT_MANY_ON_REPORT = (
    "INSERT INTO event_store (instance_id, event_type, sequence_num, event_data)"
    " SELECT %b, type, %b + part, data::jsonb"
    " FROM unnest(%b::text[], %b::text[]) WITH ORDINALITY AS e (type, data, part)"
)
COPY_ON_REPORT = "COPY event_store (instance_id, event_type, sequence_num, event_data) FROM STDIN"
INSERT_NUMBERED = """
WITH head AS (
    UPDATE supervisor_sessions SET last_sequence_num = last_sequence_num + 1
    WHERE instance_id = %b AND superseded_by IS NULL RETURNING last_sequence_num, owner_epoch
)
INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)
SELECT %b, %b, %b, last_sequence_num, %s::jsonb, owner_epoch FROM head RETURNING sequence_num"""
INSERT_MANY = (
    "INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)"
    " SELECT id, %b, type, %b + part, data::jsonb, 1"
    " FROM unnest(%b::uuid[], %b::text[], %b::text[]) WITH ORDINALITY AS e (id, type, data, part)"
)
COPY = "COPY event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch) FROM STDIN"


def connect(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=0)


def register(client: SessionContinuity, count: int = 1) -> list[str]:
    """Fresh sessions."""
    return [client.register_session("bench").instance_id for _ in range(count)]


class Plain:
    """Plain psycopg on one session, whose numbers this caller gives itself."""

    def __init__(self, dsn: str, instance_id: str) -> None:
        self._connection = connect(dsn)
        self._cursor = self._connection.cursor()
        self._instance_id = instance_id
        # Above what the session holds already, so that two callers never meet.
        self._number = time.time_ns()

    def close(self) -> None:
        self._connection.close()

    def append(self) -> None:
        self._number += 1
        event = (new_operation_id(), self._instance_id, EVENT_TYPE, self._number, orjson.dumps(EVENT).decode())
        self._cursor.execute(INSERT, event)

    def append_numbered(self) -> None:
        """The store gives the number: one statement, as the report's users would write it at best."""
        event = (
            self._instance_id,
            new_operation_id(),
            self._instance_id,
            EVENT_TYPE,
            orjson.dumps(EVENT).decode(),
        )
        self._cursor.execute(INSERT_NUMBERED, event).fetchone()

    def append_many(self, count: int) -> None:
        first, self._number = self._number, self._number + count
        columns = (
            _keys(count),
            [EVENT_TYPE for _ in range(count)],
            [orjson.dumps(EVENT).decode() for _ in range(count)],
        )
        self._cursor.execute(INSERT_MANY, (self._instance_id, first, *columns))

    def copy_many(self, count: int) -> None:
        with self._cursor.copy(COPY) as copy:
            for key in _keys(count):
                self._number += 1
                copy.write_row((key, self._instance_id, EVENT_TYPE, self._number, orjson.dumps(EVENT).decode(), 1))


class PlainOnReport(Plain):
    """Plain psycopg on the report's schema as printed, which makes the keys: the base of the design's figures for
    appending, since they were measured against it (research on performance, sections 5 and 7)."""

    def __init__(self, dsn: str, instance_id: str) -> None:
        super().__init__(dsn, instance_id)
        self._cursor.execute(
            "INSERT INTO supervisor_sessions (instance_id, project, instance_type) VALUES (%b, 'bench', 'PS')",
            (instance_id,),
        )

    def append(self) -> None:
        self._number += 1
        self._cursor.execute(
            INSERT_ON_REPORT, (self._instance_id, EVENT_TYPE, self._number, orjson.dumps(EVENT).decode())
        )

    def append_many(self, count: int) -> None:
        first, self._number = self._number, self._number + count
        columns = ([EVENT_TYPE for _ in range(count)], [orjson.dumps(EVENT).decode() for _ in range(count)])
        self._cursor.execute(INSERT_MANY_ON_REPORT, (self._instance_id, first, *columns))

    def copy_many(self, count: int) -> None:
        with self._cursor.copy(COPY_ON_REPORT) as copy:
            for _ in range(count):
                self._number += 1
                copy.write_row((self._instance_id, EVENT_TYPE, self._number, orjson.dumps(EVENT).decode()))


def _keys(count: int) -> list[UUID]:
    first = new_operation_id().int
    return [UUID(int=first + part) for part in range(count)]


def many(step: Callable[[int], object], count: int) -> Callable[[], object]:
    return lambda: step(count)
