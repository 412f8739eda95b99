"""The resident server: how long a captured record waits until it is committed, and whether its memory stays flat.

A record is gone from the spool after its commit, so the time until it is gone is an upper bound for the time until
it was committed.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from harness import Bench
from session_continuity.capture.serving import find_resident
from session_continuity.capture.spool.spool import Spool
from session_continuity.web.tokens import CAPTURE, TokenFile

SESSIONS = 8
PAUSE = 0.1
"""Seconds between two hooks of a busy session."""

CAPTURES, FEWER, FEWEST = 1_000_000, 50_000, 2_000
TOOL_CALLS = 100
"""Of one session."""

MOST_WAITING = 2_000
POSTED = 100
"""Records of one request; each tenth session is posted, the others are spooled here."""


def run(bench: Bench) -> None:
    latency(bench)
    memory(bench)


@dataclass
class Resident:
    """`continuity serve` on a database of the bench."""

    home: Path
    pid: int
    url: str
    token: str
    spool: Spool = field(init=False)

    def __post_init__(self) -> None:
        self.spool = Spool(self.home / "spool")

    def memory(self) -> int:
        """Resident bytes of the process."""
        status = Path("/proc", str(self.pid), "status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1_024

    def drained(self, most: int = 0) -> None:
        while len(self.spool.names()) > most:
            time.sleep(0.05)

    def post(self, records: list[dict[str, object]]) -> None:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request("POST", "/capture", json.dumps({"records": records}), headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status != 200:
            raise RuntimeError(answer.decode())


@contextmanager
def resident(dsn: str) -> Iterator[Resident]:
    with tempfile.TemporaryDirectory(prefix="continuity-bench-") as folder:
        home = Path(folder, "home")
        token = TokenFile(home).create([CAPTURE])[0]
        environment = {**os.environ, "CONTINUITY_HOME": str(home), "CONTINUITY_DSN": dsn}
        command = [sys.executable, "-m", "session_continuity", "serve"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            said = process.stderr.readline()
            found = find_resident(home)
            if found is None:
                raise RuntimeError(said + process.stderr.read())
            yield Resident(home, found.pid, found.url, token)
        finally:
            process.terminate()
            process.wait()


def hooks_of(session: str) -> Iterator[tuple[str, bytes]]:
    """What the hooks of one session of Claude Code tell, with results of some kilobytes."""
    common = {"session_id": session, "cwd": "/srv/bench/project", "permission_mode": "default"}

    def hook(event: str, **told: object) -> tuple[str, bytes]:
        return event, json.dumps({**common, "hook_event_name": event, **told}).encode()

    yield hook("SessionStart", source="startup")
    yield hook("UserPromptSubmit", prompt="Run the tests until they pass.")
    for number in range(TOOL_CALLS):
        call = {
            "tool_name": "Bash",
            "tool_input": {"command": f"pytest -q tests/test_{number}.py", "description": "Run one test file"},
            "tool_use_id": f"toolu_{session}_{number}",
        }
        yield hook("PreToolUse", **call)
        result = {"stdout": f"{number} passed in 0.1{number}s\n" * 60, "stderr": "", "interrupted": False}
        yield hook("PostToolUse", **call, tool_response=result, duration_ms=24)
    yield hook("Stop", stop_hook_active=False)
    yield hook("SessionEnd", reason="exit")


def latency(bench: Bench) -> None:
    """8 sessions, a hook each tenth of a second. The figure is the 99th percentile over each round."""
    with bench.server.database("capture", "library") as dsn, resident(dsn) as server:
        numbers = count()

        def busy(seconds: float) -> float:
            until = time.monotonic() + max(5.0, seconds)
            put: dict[str, float] = {}
            waits: list[float] = []

            def session() -> None:
                hooks = hooks_of(f"busy-{next(numbers)}")
                while time.monotonic() < until:
                    event, payload = next(hooks)
                    began = time.monotonic()
                    put[server.spool.put("claude-code", event, payload)] = began
                    time.sleep(PAUSE)

            threads = [threading.Thread(target=session) for _ in range(SESSIONS)]
            for thread in threads:
                thread.start()
            while put or any(thread.is_alive() for thread in threads):
                time.sleep(0.01)
                known = list(put)
                waiting = set(os.listdir(server.spool.folder))
                now = time.monotonic()
                waits += [now - put.pop(name) for name in known if name not in waiting]
            return sorted(waits)[int(0.99 * len(waits))]

        figures = bench.measure({"product, p99 seconds": busy, "one second": lambda seconds: 1.0})
        what = f"spooled to committed, {SESSIONS} busy sessions"
        bench.compare(what, figures, "product, p99 seconds", "one second", at_most=1.0)


def memory(bench: Bench) -> None:
    """Resident memory in the last quarter of the captures, against the second one."""
    captures = FEWEST if bench.options.small else CAPTURES if bench.options.full else FEWER
    with bench.server.database("capture", "library") as dsn, resident(dsn) as server:
        samples: list[int] = []
        sent, sampled = 0, 0
        for session in count():
            hooks = list(hooks_of(f"session-{session}"))
            if session % 10 == 9:
                records = [form(f"session-{session}", number, *hook) for number, hook in enumerate(hooks)]
                for first in range(0, len(records), POSTED):
                    server.post(records[first : first + POSTED])
            else:
                for event, payload in hooks:
                    server.spool.put("claude-code", event, payload)
            sent += len(hooks)
            server.drained(MOST_WAITING)
            if sent - sampled >= captures / 100:
                samples.append(server.memory())
                sampled = sent
            if sent >= captures:
                break
        server.drained()
        quarantined = server.spool.status().quarantined
        quarter = max(1, len(samples) // 4)
        second, last = samples[quarter : 2 * quarter], samples[-quarter:]
        figures = {"last quarter": [max(last) / 2**20], "second quarter": [max(second) / 2**20]}
        what = f"memory (MiB) over {sent:,} captures"
        goal = None if bench.options.small else 1.05
        bench.compare(what, figures, "last quarter", "second quarter", at_most=goal)
        bench.check(f"none of {sent:,} captures quarantined", quarantined == 0, "0")


def form(session: str, number: int, event: str, payload: bytes) -> dict[str, object]:
    return {
        "name": f"claude-code@{event}@7@{number}-{session.rjust(24, '0')}",
        "harness": "claude-code",
        "event": event,
        "host": "far.example",
        "captured_at": time.time_ns(),
        "client_pid": 7,
        "payload": b64encode(payload).decode(),
    }
