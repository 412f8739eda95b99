"""Copies that were taken over and go on writing, a third of them while the resume holds the row lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from tests.client.records import new_session, note, waits_for_lock
from tests.faults.killing import wait_until

from session_continuity import Fenced, SessionContinuity

WRITES: dict[str, Callable[[SessionContinuity, str], Any]] = {
    "append_event": lambda c, s: c.append_event(s, "note_recorded", {"text": "zombie"}),
    "append_events": lambda c, s: c.append_events(s, [note("zombie") for _ in range(3)]),
    "take_checkpoint": lambda c, s: c.take_checkpoint(s),
    "send_heartbeat": lambda c, s: c.send_heartbeat(s, context_percent=99),
    "send_heartbeats": lambda c, s: c.send_heartbeats([s], [99]),
    "close_session": lambda c, s: c.close_session(s, reason="zombie"),
}


UNTOUCHED = (1, None, 1, 0)


@dataclass
class Zombies:
    """How many tried which write, how many of them were blocked on the row lock, and which were accepted."""

    tried: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WRITES, 0))
    blocked: int = 0
    accepted: list[str] = field(default_factory=list)


def accepted_of(client: SessionContinuity, database: str, zombies: int) -> Zombies:
    """Resume a session, then let its old copy write; every third begins its write before the resume commits."""
    figures = Zombies()
    for number in range(zombies):
        write = list(WRITES)[number // 3 % len(WRITES)]
        figures.tried[write] += 1
        session = new_session(client)
        if number % 3:
            client.resume_session(session)
            answer = attempt(client, write, session)
        else:
            answer = blocked_attempt(client, database, write, session)
            figures.blocked += 1
        if not isinstance(answer, Fenced) and answer != []:
            figures.accepted.append(f"{write} of zombie {number}: {answer!r}")
        if traces(database, session) != UNTOUCHED:
            figures.accepted.append(f"{write} of zombie {number} left a trace")
    return figures


def attempt(client: SessionContinuity, write: str, session: str) -> Any:
    try:
        return WRITES[write](client, session)
    except Exception as error:
        return error


def blocked_attempt(client: SessionContinuity, database: str, write: str, session: str) -> Any:
    """Hold the row, queue the resume for it and then the zombie's write, let go: the lock is handed on in turn."""
    answers: dict[str, Any] = {}

    def resume() -> None:
        answers["resume"] = client.resume_session(session)

    def zombie() -> None:
        answers["zombie"] = attempt(client, write, session)

    with psycopg.connect(database) as holder:
        holder.execute("SELECT 1 FROM supervisor_sessions WHERE instance_id = %s FOR UPDATE", (session,))
        threads = [threading.Thread(target=resume), threading.Thread(target=zombie)]
        for waiting, thread in enumerate(threads, 1):
            thread.start()
            assert wait_until(lambda waiting=waiting: waits_for_lock(database) >= waiting, 10)
        holder.rollback()
        for thread in threads:
            thread.join(30)
    assert "resume" in answers
    return answers["zombie"]


def traces(database: str, session: str) -> tuple[Any, ...] | None:
    """Everything that a write would change: the last number, the context percentage, events and checkpoints."""
    with psycopg.connect(database) as connection:
        return connection.execute(
            "SELECT last_sequence_num, context_percent,"
            " (SELECT count(*) FROM event_store e WHERE e.instance_id = s.instance_id),"
            " (SELECT count(*) FROM checkpoints c WHERE c.instance_id = s.instance_id)"
            " FROM supervisor_sessions s WHERE instance_id = %s",
            (session,),
        ).fetchone()


def accepted_by_reading_first(client: SessionContinuity, database: str, zombies: int) -> int:
    """The careless way: is the epoch still mine? then insert. Resumed in between."""
    accepted = 0
    with psycopg.connect(database, autocommit=True) as zombie:
        zombie.execute("ALTER TABLE event_store DISABLE TRIGGER admit_plain_event")
        for _ in range(zombies):
            session = new_session(client)
            row = zombie.execute(
                "SELECT last_sequence_num FROM supervisor_sessions"
                " WHERE instance_id = %s AND owner_epoch = 1 AND superseded_by IS NULL",
                (session,),
            ).fetchone()
            client.resume_session(session)
            assert row is not None
            accepted += zombie.execute(
                "INSERT INTO event_store (instance_id, event_type, sequence_num) VALUES (%s, 'note_recorded', %s)",
                (session, row[0] + 1),
            ).rowcount
    return accepted
