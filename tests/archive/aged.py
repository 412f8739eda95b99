"""Sessions that ended long ago, and what the tables hold of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from session_continuity import SessionContinuity, load_settings
from session_continuity.domain.command_log import NewCommand

Connection = psycopg.Connection[Any]

POLICY = {"archive_sessions_after": "30d", "delete_archives_after": "300d"}
ROWS = {
    kind: f"SELECT {key}::text, sha256(convert_to(r::text, 'UTF8')) FROM {table} r"
    for kind, table, key in (
        ("events", "event_store", "event_id"),
        ("commands", "command_log", "id"),
        ("checkpoints", "checkpoints", "checkpoint_id"),
    )
}
HOSTILE = '"; DROP TABLE event_store; --\\N\t\r\n\\\\, {"a": "\\u202e"} \x1b[31m ünï ' + "\u2028"


def open_client(database: str, folder: Path, **settings: Any) -> SessionContinuity:
    """A client whose policy archives closed sessions after 30 days, and deletes archives after 300."""
    options = {"retention": POLICY, "archive_format": "parquet", **settings}
    return SessionContinuity(load_settings(home=folder, dsn=database, **options))


def make_sessions(client: SessionContinuity, count: int = 3, events: int = 12, project: str = "shop") -> list[str]:
    """Closed sessions with events, commands and two checkpoints, the last after nearly all of it."""
    return [_make(client, project, number, events) for number in range(count)]


def _make(client: SessionContinuity, project: str, number: int, events: int) -> str:
    session = client.register_session(project).instance_id
    client.append_event(session, "prompt_submitted", {"text": f"{HOSTILE} needle{number}"})
    client.take_checkpoint(session)
    for step in range(events):
        client.append_event(
            session, "note_recorded", {"text": f"step {step}", "kind": "note", "value": 0.1 + step}
        )
    commands = [
        NewCommand(
            command_type="tool", action="bash", parameters={"command": HOSTILE}, outcome="success", result=None
        )
        for _ in range(110)
    ]
    client.record_commands(session, commands)
    client.take_checkpoint(session)
    client.append_event(session, "note_recorded", {"text": "the last word"})
    client.close_session(session)
    return session


def age(connection: Connection, interval: str = "40 days") -> None:
    """As if all that is stored had happened so much earlier."""
    for table, columns in {
        "supervisor_sessions": ("last_heartbeat", "created_at", "closed_at"),
        "event_store": ("timestamp", "created_at"),
        "command_log": ("created_at",),
        "checkpoints": ("timestamp", "created_at"),
    }.items():
        changes = ", ".join(f"{column} = {column} - %(by)s::interval" for column in columns)
        connection.execute(f"UPDATE {table} SET {changes}".encode(), {"by": interval})


def rows(connection: Connection, *, but: str = "") -> dict[str, dict[str, bytes]]:
    """The hash of each row, by kind and key; `but` those of a session."""
    return {
        kind: dict(connection.execute(f"{query} WHERE instance_id <> %s".encode(), (but,)).fetchall())
        for kind, query in ROWS.items()
    }
