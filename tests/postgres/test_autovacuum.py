"""The tables that grow are vacuumed by a small share of theirs, so that what an archive removed is used again."""

from __future__ import annotations

from typing import Any

import psycopg

from session_continuity.postgres import migrations

Connection = psycopg.Connection[Any]

_APPENDED = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
}
SETTINGS = {
    "supervisor_sessions": {
        "fillfactor": "50",
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_vacuum_threshold": "500",
        "autovacuum_analyze_scale_factor": "0.05",
    },
    "event_store": _APPENDED,
    "command_log": _APPENDED,
    "checkpoints": {
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_insert_scale_factor": "0.05",
        "toast.autovacuum_vacuum_scale_factor": "0.02",
    },
    "service_leases": {"fillfactor": "50"},
}
"""Of every table that has any; the others are small, or nothing pays for them (bench/bloat.py)."""


def settings_of(connection: Connection) -> dict[str, dict[str, str]]:
    rows = connection.execute(
        "SELECT c.relname, c.reloptions, t.reloptions"
        " FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'"
    ).fetchall()
    found = {
        name: dict(each.split("=") for each in (*(own or ()), *(f"toast.{each}" for each in of_toast or ())))
        for name, own, of_toast in rows
    }
    return {name: options for name, options in found.items() if options}


def test_every_migration_together_sets_them(connection: Connection) -> None:
    assert settings_of(connection) == SETTINGS


def test_a_downgrade_takes_them_back(connection: Connection) -> None:
    migrations.downgrade(connection, "services")
    assert settings_of(connection) == {
        "supervisor_sessions": {"fillfactor": "50"},
        "service_leases": {"fillfactor": "50"},
    }
