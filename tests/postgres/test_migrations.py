"""Migrations: each once, all or nothing, whoever else migrates, and back again."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.postgres.schema import describe_schema

from session_continuity import SessionContinuity
from session_continuity.domain.errors import InvalidInput, Refused, SessionContinuityError
from session_continuity.postgres import migrations
from session_continuity.postgres.migrations import Migration, read_migration

REPORT_FILES = [
    "1769700000000_session_registry.sql",
    "1769710000000_command_log.sql",
    "1769720000000_event_store.sql",
    "1769730000000_checkpoints.sql",
]
ALL = migrations.migrations()
ROLLBACK_PLAN = """
DROP TABLE IF EXISTS checkpoints CASCADE;
DROP TABLE IF EXISTS command_log CASCADE;
DROP TABLE IF EXISTS event_store CASCADE;
DROP TABLE IF EXISTS supervisor_sessions CASCADE;
"""
UPGRADE = """
import sys, psycopg
from session_continuity.postgres import migrations
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    print("ready", flush=True)
    sys.stdin.readline()
    print(*[migration.version for migration in migrations.upgrade(connection)])
"""
UPGRADE_SLOWLY = """
import sys, psycopg
from session_continuity.postgres import migrations
slow = migrations.Migration(version="1799000000000", name="slow", checksum="0", down="",
    up="CREATE TABLE half_done (); SELECT pg_sleep(60); CREATE TABLE other_half ();")
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    migrations.upgrade(connection, (*migrations.migrations(), slow))
"""


def an_extra(up: str, down: str = "") -> Migration:
    return Migration(version="1799000000000", name="extra", up=up, down=down, checksum="0")


def versions(connection: psycopg.Connection[Any]) -> list[str]:
    rows = connection.execute("SELECT version FROM schema_migrations ORDER BY version").fetchall()
    return [row[0] for row in rows]


def start(script: str, conninfo: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, conninfo],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_first_four_files_are_those_of_the_report() -> None:
    assert [migration.file for migration in ALL][:4] == REPORT_FILES


def test_each_migration_is_applied_once_and_recorded_with_its_checksum(
    connection: psycopg.Connection[Any],
) -> None:
    assert migrations.upgrade(connection) == []
    assert migrations.is_current(connection)
    rows = connection.execute("SELECT version, name, checksum, took_ms >= 0 FROM schema_migrations ORDER BY 1")
    assert rows.fetchall() == [(m.version, m.name, m.checksum, True) for m in ALL]


def test_six_processes_that_upgrade_at_once_apply_each_migration_once(empty_database: str) -> None:
    processes = [start(UPGRADE, empty_database) for _ in range(6)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, answers
    applied = sorted(version for answer, _ in answers for version in answer.split())
    assert applied == [migration.version for migration in ALL]


def test_a_process_killed_in_mid_migration_leaves_nothing_half_applied(empty_database: str) -> None:
    process = start(UPGRADE_SLOWLY, empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        asleep = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        until = time.monotonic() + 60
        while not connection.execute(asleep).fetchall():
            assert time.monotonic() < until, process.poll()
            time.sleep(0.05)
        process.kill()
        process.communicate()
        # The server notices the dead client within a second; until then the lock is still held.
        again = an_extra("CREATE TABLE half_done (); CREATE TABLE other_half ();")
        assert migrations.upgrade(connection, (*ALL, again)) == [again]
        assert versions(connection) == [*(migration.version for migration in ALL), again.version]


def test_a_migration_that_fails_leaves_nothing_and_the_next_try_goes_on(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        broken = an_extra("CREATE TABLE half_done (); SELECT 1 / 0;")
        with pytest.raises(InvalidInput):
            migrations.upgrade(connection, (*ALL, broken))
        assert migrations.is_current(connection)
        assert connection.execute("SELECT to_regclass('half_done')").fetchone() == (None,)


def test_a_migration_that_can_not_be_recorded_is_not_applied(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        forestalled = an_extra(
            "CREATE TABLE half_done (); INSERT INTO schema_migrations (version) VALUES ('1799000000000')"
        )
        with pytest.raises(SessionContinuityError):
            migrations.upgrade(connection, (*ALL, forestalled))
        assert migrations.is_current(connection)
        assert connection.execute("SELECT to_regclass('half_done')").fetchone() == (None,)


def test_a_file_changed_after_it_was_applied_is_refused_by_name(connection: psycopg.Connection[Any]) -> None:
    changed = (replace(ALL[0], checksum="0" * 64), *ALL[1:])
    with pytest.raises(Refused, match=f"{REPORT_FILES[0]} was changed") as caught:
        migrations.upgrade(connection, changed)
    assert caught.value.stable_code == "migration_changed"


def test_a_database_newer_than_this_release_is_refused(connection: psycopg.Connection[Any]) -> None:
    connection.execute("INSERT INTO schema_migrations (version) VALUES ('1999000000000')")
    for attempt in (migrations.upgrade, lambda c: migrations.downgrade(c, None)):
        with pytest.raises(Refused, match="1999000000000") as caught:
            attempt(connection)
        assert caught.value.stable_code == "migration_unknown"
    assert [each.state for each in migrations.status(connection)] == ["applied"] * len(ALL) + ["unknown"]


@pytest.mark.parametrize("to", [None, *(migration.version for migration in ALL)])
def test_down_to_any_version_and_up_again_gives_the_same_schema(
    connection: psycopg.Connection[Any], to: str | None
) -> None:
    fresh = describe_schema(connection)
    planned = migrations.plan_downgrade(connection, to)
    undone = migrations.downgrade(connection, to)
    assert undone == planned == [m for m in reversed(ALL) if to is None or m.version > to]
    assert versions(connection) == [m.version for m in ALL if to is not None and m.version <= to]
    assert migrations.upgrade(connection) == list(reversed(undone))
    assert describe_schema(connection) == fresh


def test_everything_undone_leaves_an_empty_schema(connection: psycopg.Connection[Any]) -> None:
    migrations.downgrade(connection, None)
    left = describe_schema(connection)
    assert [name for name, *_ in left["relations"]] == ["schema_migrations"]
    assert left["functions"] == left["triggers"] == []


def test_the_reports_rows_survive_a_partial_downgrade(
    connection: psycopg.Connection[Any], client: SessionContinuity
) -> None:
    session = client.register_session("consilio-s").instance_id
    client.append_event(session, "epic_started", {"epic_id": "1"})
    client.take_checkpoint(session)
    migrations.downgrade(connection, "checkpoints")
    stored = "SELECT count(*) FROM event_store"
    assert connection.execute(stored).fetchone() == (3,)
    migrations.upgrade(connection)
    assert client.append_event(session, "epic_completed", {"epic_id": "1"}).last_sequence_num == 4


def test_a_downgrade_to_nowhere_is_refused(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(InvalidInput, match="no migration 'yesterday'"):
        migrations.downgrade(connection, "yesterday")
    assert migrations.is_current(connection)


def test_upgrade_brings_everything_back_after_the_rollback_plan(connection: psycopg.Connection[Any]) -> None:
    fresh = describe_schema(connection)
    connection.execute(ROLLBACK_PLAN.encode())
    assert migrations.upgrade(connection) == list(ALL)
    assert describe_schema(connection) == fresh


def test_downgrade_after_the_rollback_plan_has_nothing_left_to_drop(connection: psycopg.Connection[Any]) -> None:
    connection.execute(ROLLBACK_PLAN.encode())
    assert migrations.downgrade(connection, None) == []
    assert migrations.upgrade(connection) == list(ALL)


def test_half_a_rollback_plan_is_refused_and_not_taken_for_current(connection: psycopg.Connection[Any]) -> None:
    connection.execute("DROP TABLE checkpoints CASCADE")
    with pytest.raises(Refused, match="checkpoints") as caught:
        migrations.upgrade(connection)
    assert caught.value.stable_code == "tables_missing"
    connection.execute(ROLLBACK_PLAN.encode())
    assert migrations.upgrade(connection) == list(ALL)


def test_only_the_schema_public_is_migrated_whatever_the_search_path_says(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA mine")
        connection.execute("SET search_path = mine, public")
        migrations.upgrade(connection)
        placed = (
            "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('event_store', 'schema_migrations')"
        )
        assert connection.execute(placed).fetchall() == [("public",)]
        assert migrations.is_current(connection)


def test_a_role_that_owns_nothing_may_still_find_that_nothing_is_pending(
    connection: psycopg.Connection[Any],
) -> None:
    connection.execute("SET ROLE supervisor")
    assert migrations.upgrade(connection) == []


def test_files_have_the_form_that_dbmate_reads() -> None:
    folder = Path(migrations.__file__).parent / "migrations"
    files = sorted(folder.glob("*.sql"))
    assert [file.name for file in files] == [migration.file for migration in ALL]
    for file in files:
        assert re.fullmatch(r"\d+_\w+\.sql", file.name)
        marks = re.findall(r"(?m)^-- migrate:(\w+)$", file.read_text("utf-8"))
        assert marks == ["up", "down"], file.name


def test_a_database_made_by_dbmate_is_taken_over(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute('CREATE TABLE "public"."schema_migrations" (version varchar(128) PRIMARY KEY)')
        for migration in ALL:
            connection.execute(migration.up.encode())
            connection.execute(
                'INSERT INTO "public"."schema_migrations" (version) VALUES (%s)', (migration.version,)
            )
        assert migrations.is_current(connection)
        assert migrations.upgrade(connection) == []


def test_dbmate_can_take_a_database_over(connection: psycopg.Connection[Any]) -> None:
    listed = connection.execute(
        'SELECT version FROM "public"."schema_migrations" ORDER BY version DESC'
    ).fetchall()
    assert [row[0] for row in listed] == [migration.version for migration in reversed(ALL)]
    connection.execute('INSERT INTO "public"."schema_migrations" (version) VALUES (\'1799000000000\')')
    connection.execute('DELETE FROM "public"."schema_migrations" WHERE version = \'1799000000000\'')


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.sql", "-- migrate:up\n-- migrate:down\n"),
        ("17_x.sql", "-- migrate:up\nSELECT 1;\n"),
        ("17_x.sql", "SELECT 1;\n-- migrate:up\n-- migrate:down\n"),
    ],
)
def test_a_file_that_is_no_migration_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="is not a migration"):
        read_migration(name, text.encode())
