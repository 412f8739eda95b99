"""The overview: its queries over many sessions and events, and twenty open pages while everything changes.

The pages are open in one real Chromium, the server is a process of its own; the time runs from the commit of a
change to the moment at which a page shows it.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

from harness import Bench
from session_continuity import SessionContinuity
from session_continuity.web.sign_in import SignIns
from workload import connect

LOOKS = 60
PAGES, CHANGES_A_SECOND, MARKS = 20, 80, 25
ACTIVE = 60

_SESSIONS = """
INSERT INTO supervisor_sessions
    (instance_id, project, instance_type, status, last_heartbeat, created_at, last_sequence_num, context_percent)
SELECT 'bench-PS-' || lpad(to_hex(s), 6, '0'), 'project-' || s %% 50, 'PS',
    CASE WHEN s <= %(active)s THEN 'active' WHEN s %% 200 = 0 THEN 'stale' ELSE 'closed' END,
    now() - s * interval '1 minute', now() - s * interval '2 minutes', %(events)s / %(sessions)s, s %% 100
FROM generate_series(1, %(sessions)s) s"""
_EVENTS = """
INSERT INTO event_store (instance_id, event_type, sequence_num, event_data, timestamp, created_at, owner_epoch)
SELECT 'bench-PS-' || lpad(to_hex(1 + n %% %(sessions)s), 6, '0'), 'task_spawned', 1 + n / %(sessions)s,
    '{"task_id": "7", "description": "look through the tests"}', now() - (%(events)s - n) * interval '100 ms',
    now() - (%(events)s - n) * interval '100 ms', 1
FROM generate_series(0, %(events)s - 1) n"""
_COMMANDS = """
INSERT INTO command_log
    (instance_id, command_type, action, success, outcome, execution_time_ms, created_at, owner_epoch, operation_id)
SELECT 'bench-PS-' || lpad(to_hex(1 + n %% %(sessions)s), 6, '0'), 'tool', 'run', n %% 20 <> 0,
    CASE WHEN n %% 20 = 0 THEN 'failure' ELSE 'success' END, n %% 7000, now() - n * interval '1 second', 1,
    gen_random_uuid()
FROM generate_series(1, %(events)s / 10) n"""


def run(bench: Bench) -> None:
    queries(bench, bench.options.rows(10_000, 500), bench.options.rows(5_000_000, 20_000))
    pages(bench)


def queries(bench: Bench, sessions: int, events: int) -> None:
    """All that the first page asks the database, again and again."""
    with bench.server.database("dashboard", "library") as dsn:
        sizes = {"sessions": sessions, "events": events, "active": ACTIVE}
        with connect(dsn) as connection:
            for fill in (_SESSIONS, _EVENTS, _COMMANDS):
                connection.execute(fill, sizes)
            connection.execute("VACUUM ANALYZE")
        with SessionContinuity(dsn=dsn) as client:
            what = f"first page, {sessions:,} sessions, {events:,} events"
            for name, minutes in (("by a server that just started", 120), ("later", 7)):
                taken = sorted(_first_page(client, minutes) for _ in range(LOOKS))
                p95 = taken[int(0.95 * LOOKS)]
                bench.check(f"{what}, {name}: queries {p95 * 1_000:.0f} ms at p95", p95 <= 0.05, "50 ms at p95")


def _first_page(client: SessionContinuity, minutes: int) -> float:
    began = time.perf_counter()
    client.get_overview(limit=201)
    client.get_system_health()
    client.count_events_by_minute(minutes)
    client.list_projects()
    return time.perf_counter() - began


def pages(bench: Bench) -> None:
    """Twenty pages, eighty changes a second: when each page shows a change, and what the server needs."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        bench.skip("twenty open pages", "chromium is not installed")
        return
    from playwright.sync_api import sync_playwright

    with ExitStack() as held:
        dsn = held.enter_context(bench.server.database("pages", "library"))
        client = held.enter_context(SessionContinuity(dsn=dsn))
        sessions = [client.register_session(f"project-{n % 6}").instance_id for n in range(ACTIVE)]
        home, url, process = held.enter_context(_serving(dsn))
        browser = held.enter_context(sync_playwright()).chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        opened = []
        for _ in range(PAGES):
            page = browser.new_context().new_page()  # a browser of its own: no stream is shared
            code = SignIns(home).create_link("bench", scope="read")
            page.goto(f"{url}/sign-in?{urlencode({'code': code})}")
            page.wait_for_selector("[data-link-text]:text('live')")
            page.evaluate(_WATCH, sessions[0])
            opened.append(page)
        stop = threading.Event()
        changing = threading.Thread(target=_change, args=(client, sessions[1:], stop))
        changing.start()
        spent = _cpu(process.pid)
        began = time.time()
        written = []
        for mark in range(1, MARKS + 1):
            client.send_heartbeat(sessions[0], context_percent=mark)
            written.append(time.time() * 1_000)
            time.sleep(random.uniform(0.4, 1.2))
        time.sleep(2)
        busy = (_cpu(process.pid) - spent) / (time.time() - began)
        memory = _memory(process.pid)
        stop.set()
        changing.join()
        delays = []
        for page in opened:
            seen = page.evaluate("window.seen")
            delays += [seen[str(mark)] - written[mark - 1] for mark in range(1, MARKS + 1) if str(mark) in seen]
        browser.close()
    missed = PAGES * MARKS - len(delays)
    median = statistics.median(delays)
    p95 = sorted(delays)[int(0.95 * len(delays))]
    what = f"{PAGES} open pages, {CHANGES_A_SECOND} changes a second"
    told = f"{median:.0f} ms at the median, {p95:.0f} at p95, {missed} of {PAGES * MARKS} passed over"
    bench.check(f"{what}: {told}", median <= 1_000, "1 s at the median")
    bench.check(f"{what}: server {memory:.0f} MB, {100 * busy:.0f} % of a core", memory < 120, "120 MB")


_WATCH = """(id) => {
  window.seen = {};
  new MutationObserver(() => {
    const shown = parseInt(document.getElementById(id)?.querySelector('.percent')?.textContent);
    if (shown && !(shown in window.seen)) window.seen[shown] = Date.now();
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def _change(client: SessionContinuity, sessions: list[str], stop: threading.Event) -> None:
    """Events, commands and heartbeats, so many a second."""
    number = 0
    next_at = time.monotonic()
    while not stop.is_set():
        session = sessions[number % len(sessions)]
        if number % 3:
            client.append_event(session, "task_spawned", {"task_id": str(number)})
        else:
            client.send_heartbeat(session, context_percent=number % 100)
        number += 1
        next_at += 1 / CHANGES_A_SECOND
        time.sleep(max(0.0, next_at - time.monotonic()))


@contextmanager
def _serving(dsn: str) -> Iterator[tuple[Path, str, subprocess.Popen[bytes]]]:
    home = Path(tempfile.mkdtemp(prefix="continuity-dashboard-"))
    environment = {**os.environ, "CONTINUITY_HOME": str(home), "CONTINUITY_DSN": dsn}
    process = subprocess.Popen(
        [sys.executable, "-m", "session_continuity", "serve"], env=environment, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        url = process.stderr.readline().decode().split()[2].rstrip(";")
        yield home, url, process
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(home)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1_024 / 1e6
