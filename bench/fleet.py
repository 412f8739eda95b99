"""A large fleet that lives: so many sessions with one heartbeat every 30 seconds, with the services on.

python bench/fleet.py [--sessions 100000] [--seconds 300] [--server embedded] [--declared]

Tells whether the heartbeats kept up, and what they cost: CPU, write-ahead log, growth of the table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from servers import open_servers
from session_continuity import SessionContinuity
from session_continuity.services.automatic_checkpoints import AutomaticCheckpoints
from session_continuity.services.runner import Runner
from session_continuity.services.service import Pass, Service
from session_continuity.services.stale_sweep import StaleSweep

INTERVAL = 30.0
BATCH = 1_000
_FILL = """
INSERT INTO supervisor_sessions (
    instance_id, project, instance_type, host, last_heartbeat, last_sequence_num, heartbeat_interval_seconds
)
SELECT 'bench-PS-' || lpad(to_hex(s), 6, '0'), 'project-' || s %% 50, 'PS', 'host-' || s %% 200,
    now() - (s %% 30) * interval '1 second', 1, CASE WHEN %(declared)s THEN 30 END
FROM generate_series(1, %(sessions)s) s"""
_EVENTS = """
INSERT INTO event_store (instance_id, event_type, sequence_num, owner_epoch)
SELECT instance_id, 'instance_registered', 1, 1 FROM supervisor_sessions"""
_SIZES = """
SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, pg_table_size('supervisor_sessions'),
    pg_indexes_size('supervisor_sessions'), n_tup_upd, n_tup_hot_upd, n_dead_tup
FROM pg_stat_user_tables WHERE relname = 'supervisor_sessions'"""


@dataclass
class Timed:
    """A service whose passes are timed."""

    service: Service
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __getattr__(self, name: str):
        return getattr(self.service, name)

    def run_once(self, client: SessionContinuity) -> Pass:
        start = time.perf_counter()
        try:
            return self.service.run_once(client)
        finally:
            self.times[self.service.name].append(time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--server", default="embedded", choices=("embedded", "15"))
    parser.add_argument("--declared", action="store_true", help="every session declares its interval of 30 s")
    given = parser.parse_args()
    with (
        open_servers(given.server) as (server,),
        server.database("fleet", "library") as dsn,
        psycopg.connect(dsn, autocommit=True) as connection,
        SessionContinuity(dsn=dsn) as client,
    ):
        connection.execute(_FILL, {"sessions": given.sessions, "declared": given.declared})
        connection.execute(_EVENTS)
        connection.execute("VACUUM ANALYZE")
        live(connection, client, given.sessions, given.seconds)


def live(connection: psycopg.Connection, client: SessionContinuity, sessions: int, seconds: float) -> None:
    ids = [f"bench-PS-{number:06x}" for number in range(1, sessions + 1)]
    batches = [ids[start : start + BATCH] for start in range(0, sessions, BATCH)]
    services = [Timed(StaleSweep(client.settings)), Timed(AutomaticCheckpoints(client.settings))]
    running = Runner(client, services)
    data = Path(str(connection.execute("SHOW data_directory").fetchone()[0]))
    wal, table, indexes, updated, hot, _ = connection.execute(_SIZES).fetchone()
    ours, theirs = time.process_time(), cpu_of(data)
    running.start()
    start, sent, late, took = time.perf_counter(), 0, [], []
    pause = INTERVAL / len(batches)
    while (due := sent * pause) < seconds:
        waits = start + due - time.perf_counter()
        if waits > 0:
            time.sleep(waits)
        late.append(max(0.0, -waits))
        began = time.perf_counter()
        accepted = client.send_heartbeats(batches[sent % len(batches)])
        took.append(time.perf_counter() - began)
        assert len(accepted) == len(batches[sent % len(batches)])
        sent += 1
    elapsed = time.perf_counter() - start
    ours, theirs = time.process_time() - ours, cpu_of(data) - theirs
    running.stop(5)
    time.sleep(1)  # the statistics are written in the background
    wal_end, table_end, indexes_end, updated_end, hot_end, dead = connection.execute(_SIZES).fetchone()
    beats = sent * BATCH
    stale = connection.execute("SELECT count(*) FROM supervisor_sessions WHERE status = 'stale'").fetchone()[0]
    tell("sessions, seconds", f"{sessions:,}, {elapsed:.0f}")
    tell("heartbeats a second", f"{beats / elapsed:,.0f} of {sessions / INTERVAL:,.0f}")
    tell("a batch of 1,000, median / p99", f"{1e3 * statistics.median(took):.1f} / {1e3 * p99(took):.1f} ms")
    tell("batches behind their time, p99 / most", f"{p99(late):.2f} / {max(late):.2f} s")
    tell("CPU of one core: server / client", f"{100 * theirs / elapsed:.0f} % / {100 * ours / elapsed:.0f} %")
    tell("WAL bytes a heartbeat", f"{float(wal_end - wal) / beats:.0f}")
    tell("heap-only updates", f"{100 * (hot_end - hot) / max(1, updated_end - updated):.0f} %")
    tell("table, before and after", f"{table / 2**20:.0f}, {table_end / 2**20:.0f} MiB")
    tell("its indexes", f"{indexes / 2**20:.0f}, {indexes_end / 2**20:.0f} MiB")
    tell("dead rows left, living sessions marked stale", f"{dead:,}, {stale}")
    for timed in services:
        for name, times in timed.times.items():
            shown = (
                f"{len(times)} passes, median {1e3 * statistics.median(times):.0f} ms, most {1e3 * max(times):.0f}"
            )
            tell(name, shown)


def cpu_of(data: Path) -> float:
    """Seconds of CPU of the server's processes, and of those that it has seen end."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() != data:
                continue
            told = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, told[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def tell(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
