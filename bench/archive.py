"""A million events archived and restored, against plain COPY of the same rows, out into a file and in again.

Plain COPY proves nothing: it neither reads its file back, nor compares, nor packs. Each side runs in a process of
its own, so that its memory is its own, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import psycopg

from harness import Bench, Figures
from session_continuity import SessionContinuity, load_settings
from session_continuity.archive.archiving import run_archive
from session_continuity.archive.restoring import restore_archive
from session_continuity.domain.archives import list_archives

SESSIONS = 1_000
MEMORY_MB = 300
PAIRS = ("plain out", "plain in"), ("archive", "restore")
ROUNDS = 3
"""At most so many, of a minute or more each."""
POLICY = {"archive_sessions_after": "30d"}
COLUMNS = (
    "event_id, instance_id, event_type, sequence_num, event_data, metadata, timestamp, created_at, owner_epoch"
)

_FILL = """
INSERT INTO event_store (
    event_id, instance_id, event_type, sequence_num, event_data, timestamp, created_at, owner_epoch
)
SELECT gen_random_uuid(), s.instance_id, 'commit_created', n, jsonb_build_object(
    'sha', md5(n::text || s.instance_id), 'message', 'Step ' || n || ' of ' || s.instance_id, 'branch', 'main',
    'files', jsonb_build_array('src/module_' || n %% 80 || '.py', 'tests/test_' || n %% 90 || '.py')
), now() - interval '60 days' + n * interval '1 second', now() - interval '60 days' + n * interval '1 second', 1
FROM supervisor_sessions s, generate_series(2, %(last)s) n"""
_HASH = """
SELECT count(*), sha256(string_agg(sha256(convert_to(e::text, 'UTF8')), '' ORDER BY instance_id, sequence_num))
FROM event_store e"""


def run(bench: Bench) -> None:
    with bench.server.database("archive", "library") as dsn, tempfile.TemporaryDirectory() as folder:
        each = bench.options.rows(1_000_000, 20_000) // SESSIONS
        _fill(dsn, each)
        with psycopg.connect(dsn, autocommit=True) as connection:
            before = connection.execute(_HASH).fetchone()
            figures: Figures = {name: [] for pair in PAIRS for name in pair}
            memory = 0.0
            for turn in range(min(bench.options.rounds, ROUNDS)):
                for name in (name for pair in PAIRS[:: -1 if turn % 2 else 1] for name in pair):
                    connection.execute("VACUUM ANALYZE")
                    connection.execute("CHECKPOINT")
                    answer = _child(name, dsn, folder)
                    figures[name].append(answer["seconds"])
                    memory = max(memory, answer["megabytes"]) if name in PAIRS[1] else memory
                connection.execute("DELETE FROM archives")
                shutil.rmtree(Path(folder, "archive"))
            after = connection.execute(_HASH).fetchone()
        for name, (out, back) in zip(("plain", "ours"), PAIRS, strict=True):
            figures[name] = [sum(both) for both in zip(figures[out], figures[back], strict=True)]
        rows = f"{each * SESSIONS:,} events"
        bench.compare(f"{rows} archived and restored, seconds", figures, "ours", "plain", at_most=1.5)
        bench.compare("archived: written, read back, compared, deleted", figures, "archive", "plain out")
        bench.compare("restored", figures, "restore", "plain in")
        bench.check(f"peak memory {memory:.0f} MB", memory < MEMORY_MB, f"< {MEMORY_MB} MB")
        bench.check("every row as it was", before == after and before is not None, "equal hashes")


def _fill(dsn: str, each: int) -> None:
    with SessionContinuity(dsn=dsn) as client, psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(SESSIONS):
            client.register_session("bench")
        connection.execute(_FILL, {"last": each - 1})
        connection.execute("UPDATE supervisor_sessions SET last_sequence_num = %s", (each - 1,))
        for (session,) in connection.execute("SELECT instance_id FROM supervisor_sessions").fetchall():
            client.take_checkpoint(session)
        connection.execute(
            "UPDATE supervisor_sessions SET status = 'closed', closed_at = now() - interval '50 days'"
        )


def _child(name: str, dsn: str, folder: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, name, dsn, folder], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def _plain_out(connection: psycopg.Connection, file: Path) -> None:
    query = f"COPY (SELECT {COLUMNS} FROM event_store ORDER BY instance_id, sequence_num) TO STDOUT"
    with file.open("wb") as out:
        with connection.cursor().copy(query) as copy:
            for block in copy:
                out.write(block)
        out.flush()
        os.fsync(out.fileno())
    connection.execute("DELETE FROM event_store")


def _plain_in(connection: psycopg.Connection, file: Path) -> None:
    with file.open("rb") as source, connection.cursor().copy(f"COPY event_store ({COLUMNS}) FROM STDIN") as copy:
        while block := source.read(2**17):
            copy.write(block)


def main() -> None:
    name, dsn, folder = sys.argv[1:]
    start = time.perf_counter()
    if name.startswith("plain"):
        with psycopg.connect(dsn, autocommit=True) as connection:
            (_plain_out if name == "plain out" else _plain_in)(connection, Path(folder, "plain"))
    else:
        with SessionContinuity(load_settings(dsn=dsn, home=folder, retention=POLICY)) as client:
            if name == "archive":
                run_archive(client)
            else:
                for archive in client.run(list_archives()):
                    restore_archive(client, archive)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "megabytes": getrusage(RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
