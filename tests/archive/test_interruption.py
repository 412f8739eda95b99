"""A run that ends at any statement or file operation: the tables and the archives together hold all, and the next
run finishes. And at random, with many sessions, by SIGKILL."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.archive.aged import Connection, age, make_sessions, open_client, rows
from tests.archive.conftest import Dying

from session_continuity import SessionContinuity
from session_continuity.archive.archiving import run_archive
from session_continuity.archive.reading import verify_archives
from session_continuity.archive.restoring import restore_archive
from session_continuity.domain.archives import list_archives


def complete(client: SessionContinuity, connection: Connection, before: dict[str, dict[str, bytes]]) -> None:
    """Every row is in the tables as it was, or in a whole archive."""
    present = rows(connection)
    for archive in client.run(list_archives(limit=100)):
        if archive.state in ("written", "finished"):
            restore_archive(client, archive)
    restored = rows(connection)
    assert all(found.items() <= before[kind].items() for kind, found in present.items())
    assert restored == before


FORMATS = pytest.mark.parametrize("archive_format", ["parquet", "json-lines"])


@FORMATS
def test_wherever_a_run_is_killed_nothing_is_lost_and_the_next_one_finishes(
    database: str, connection: Connection, tmp_path: Path, dying: Dying, archive_format: str
) -> None:
    kill_at_each(database, connection, tmp_path / "home", dying, archive_format, every=17)


@pytest.mark.faults
@pytest.mark.timeout(1_800)
@FORMATS
def test_a_run_is_killed_at_each_of_its_operations(
    database: str, connection: Connection, tmp_path: Path, dying: Dying, archive_format: str
) -> None:
    kill_at_each(database, connection, tmp_path / "home", dying, archive_format, every=1)


def kill_at_each(
    database: str, connection: Connection, home: Path, dying: Dying, archive_format: str, every: int
) -> None:
    with open_client(database, home, archive_format=archive_format) as client:
        make_sessions(client, 2, events=4)
        age(connection)
        before = rows(connection)

        def check(at: int) -> None:
            complete(client, connection, before)
            connection.execute("UPDATE archived_sessions SET restored_at = NULL")
            assert run_archive(client).problems == [], at
            assert [one.problems for one in verify_archives(client) if one.problems] == [], at
            complete(client, connection, before)

        dying.kill_at_each(
            "archive", home, archive_format, every, start=lambda: start_anew(connection, home), check=check
        )


def start_anew(connection: Connection, home: Path) -> None:
    """Without the archives, whose rows are all in the tables again."""
    connection.execute("DELETE FROM archives")
    shutil.rmtree(home / "archive", ignore_errors=True)


RUN = """
import sys
from pathlib import Path
from tests.archive.aged import open_client
from session_continuity.archive.archiving import run_archive
with open_client(sys.argv[1], Path(sys.argv[2])) as client:
    run_archive(client, most_rows=int(sys.argv[3]))
"""


def start(database: str, home: Path, most_rows: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", RUN, database, str(home), str(most_rows)]
    return subprocess.Popen(words, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)


@pytest.mark.faults
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(("archivers", "rounds"), [(2, 33), (4, 17), (8, 9)])
def test_two_hundred_kills_of_several_archivers(
    database: str, connection: Connection, client: SessionContinuity, tmp_path: Path, archivers: int, rounds: int
) -> None:
    """Really killed, at random moments, each at work in a folder of its own."""
    chance = random.Random(archivers)
    make_sessions(client, 60, events=60)
    age(connection)
    before = rows(connection)
    homes = [tmp_path / f"machine {number}" for number in range(archivers)]
    for _ in range(rounds):
        running = [start(database, home, 400) for home in homes]
        time.sleep(chance.uniform(0.3, 1.5))
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait()
        connection.execute("UPDATE archived_sessions SET restored_at = NULL")
    for home in homes:
        with open_client(database, home) as archiver:
            run_archive(archiver)
            problems = [one.problems for one in verify_archives(archiver) if one.problems]
            assert problems == []
    kept = rows(connection)
    found = client.run(list_archives(limit=10_000))
    events = sum(one.events for one in found)
    print(f"{archivers * rounds} kills of {archivers}, {len(found)} archives, {events} events archived")
    for kind in before:
        archived = sum(getattr(one, kind) for one in found if one.state == "finished")
        assert archived == len(before[kind]) - len(kept[kind]), "each row was archived once"
    for home in homes:
        with open_client(database, home) as archiver:
            for archive in found:
                if archive.folder == str(home / "archive"):
                    restore_archive(archiver, archive)
    assert rows(connection) == before


@pytest.mark.faults
@pytest.mark.timeout(1_800)
def test_ten_thousand_sessions_come_back_with_equal_hashes(
    database: str, connection: Connection, tmp_path: Path
) -> None:
    with open_client(database, tmp_path / "home") as client:
        connection.execute(
            """
            WITH sessions AS (
                INSERT INTO supervisor_sessions
                    (instance_id, project, instance_type, status, closed_at, last_heartbeat, last_sequence_num)
                SELECT 'shop-PS-' || lpad(n::text, 6, '0'), 'shop', 'PS', 'closed', now(), now(), 21
                FROM generate_series(1, 10000) n RETURNING instance_id
            )
            INSERT INTO event_store (instance_id, event_type, sequence_num, event_data, owner_epoch)
            SELECT instance_id, 'note_recorded', n, jsonb_build_object('text', md5(instance_id || n)), 1
            FROM sessions, generate_series(1, 21) n"""
        )
        for row in connection.execute("SELECT instance_id FROM supervisor_sessions").fetchall():
            client.take_checkpoint(row[0])
        age(connection)
        before = rows(connection)
        states = {one: client.recover_state(one).work_state for one in ("shop-PS-000001", "shop-PS-010000")}
        while run_archive(client).archives:
            pass
        archives = client.run(list_archives(limit=100))
        assert sum(archive.sessions for archive in archives) >= 10_000
        assert len(rows(connection)["events"]) < 10_000
        for archive in archives:
            restore_archive(client, archive)
        assert rows(connection) == before
        assert {one: client.recover_state(one).work_state for one in states} == states
        print(
            f"10,000 sessions in {len(archives)} archives, {len(before['events'])} events back with equal hashes"
        )
