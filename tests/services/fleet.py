"""Sessions for the services to look at."""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


def silence(connection: Connection, instance_id: str, interval: str) -> None:
    """As if the last heartbeat had been so long ago."""
    connection.execute(
        "UPDATE supervisor_sessions SET last_heartbeat = now() - %s::interval WHERE instance_id = %s",
        (interval, instance_id),
    )


def shift_clock(connection: Connection, interval: str) -> None:
    """As if the database clock had been moved on by that: all that is stored lies further back."""
    for table, columns in {
        "supervisor_sessions": ("last_heartbeat", "created_at", "process_seen_at"),
        "event_store": ("timestamp", "created_at"),
        "checkpoints": ("timestamp", "created_at"),
        "service_leases": ("acquired_at", "expires_at"),
    }.items():
        changes = ", ".join(f"{column} = {column} - %(by)s::interval" for column in columns)
        connection.execute(f"UPDATE {table} SET {changes}".encode(), {"by": interval})


def many(connection: Connection, count: int, *, silent: int = 0, prefix: str = "fleet") -> list[str]:
    """Sessions with their first event, the first `silent` of them without a heartbeat for over two hours."""
    rows = connection.execute(
        """
        WITH sessions AS (
            INSERT INTO supervisor_sessions
                (instance_id, project, instance_type, last_heartbeat, last_sequence_num)
            SELECT %(prefix)s || '-PS-' || lpad(n::text, 6, '0'), %(prefix)s, 'PS', CASE WHEN n <= %(silent)s
                THEN now() - interval '2 hours' - n * interval '1 second' ELSE now() END, 1
            FROM generate_series(1, %(count)s) n
            RETURNING instance_id
        ), events AS (
            INSERT INTO event_store (instance_id, event_type, sequence_num, owner_epoch)
            SELECT instance_id, 'instance_registered', 1, 1 FROM sessions
        )
        SELECT instance_id FROM sessions ORDER BY 1""",
        {"prefix": prefix, "count": count, "silent": silent},
    ).fetchall()
    return [row[0] for row in rows]


def statuses(connection: Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT status, count(*) FROM supervisor_sessions GROUP BY 1").fetchall())


def event_types(connection: Connection, instance_id: str) -> list[str]:
    """The events of a session in order; their numbers must be 1 to n."""
    rows = connection.execute(
        "SELECT sequence_num, event_type FROM event_store WHERE instance_id = %s ORDER BY 1", (instance_id,)
    ).fetchall()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    return [row[1] for row in rows]
