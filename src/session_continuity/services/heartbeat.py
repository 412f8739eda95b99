"""Heartbeats without the model: the sessions of this host whose very process runs are kept alive, those whose
process is gone become stale at once.

Purpose: a session in a long tool call, or one that waits for its user, is not silent; a killed one is known within
seconds. Options: how often it looks (5 s) and how often a session is given a heartbeat (15 s). It reports how many
processes run and how many are gone; one statement for the heartbeats of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import SessionContinuityError, Unavailable
from session_continuity.domain.stale_sweep import QUIET_FOR, SeenProcess
from session_continuity.services.service import Pass
from session_continuity.services.stale_sweep import save_stale

LOOK_SECONDS = 5.0
_POLL_SECONDS = 1.0

T = TypeVar("T")


class Heartbeat:
    """Looks at the processes of one host. `runs` tells of a process as the registry keeps it whether it runs, or
    None when it can't be told. `waits_since` tells since when the oldest captured record of the host waits to be
    stored, or None: while one waits from before a process was seen to be gone, its session may have ended in good
    order. For one thread."""

    name = "heartbeat"
    fleet_wide = False

    def __init__(
        self,
        host: str,
        runs: Callable[[dict[str, Any]], bool | None],
        *,
        waits_since: Callable[[], datetime | None] = lambda: None,
        interval_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.interval_seconds = interval_seconds
        self._host, self._runs, self._waits_since = host, runs, waits_since
        self._gone_since: dict[tuple[str, str], datetime] = {}
        self._known_gone: set[tuple[str, str]] = set()

    def run_once(self, client: SessionContinuity) -> Pass:
        """One look at every process. Raises what the client raises."""
        running: list[SeenProcess] = []
        gone: list[SeenProcess] = []
        for seen in client.find_processes(self._host):
            runs = self._runs(seen.process)
            if runs is not None:
                (running if runs else gone).append(seen)
        due = [seen.instance_id for seen in running if seen.beat_due or seen.status == "stale"]
        if due:
            client.send_heartbeats(due, process_seen=True)
        brought_back = sum(seen.status == "stale" for seen in running)
        marked = self._mark_gone(client, gone)
        report = {"running": len(running), "brought_back": brought_back, "gone": marked}
        return Pass(done=brought_back + marked, report={name: count for name, count in report.items() if count})

    def _mark_gone(self, client: SessionContinuity, gone: list[SeenProcess]) -> int:
        # Each process once: one that looks gone from here alone, and is heard of again, is not ours to judge.
        told = {(seen.instance_id, repr(seen.process)) for seen in gone}
        self._known_gone &= told
        now = datetime.now(UTC)
        self._gone_since = {key: self._gone_since.get(key, now) for key in told}
        fresh = [
            (seen.instance_id, seen.process)
            for seen in gone
            if seen.status == "active" and (seen.instance_id, repr(seen.process)) not in self._known_gone
        ]
        if fresh and (waits_since := self._waits_since()) is not None:
            fresh = [(key, kept) for key, kept in fresh if self._gone_since[key, repr(kept)] < waits_since]
        if not fresh:
            return 0
        marked = client.mark_gone(fresh)
        ids = {stale.instance_id for stale in marked}
        self._known_gone |= {key for key in told if key[0] in ids}
        if marked:
            save_stale(client)
        return len(marked)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAlive:
    """How keeping a session alive ended: its process did, or no heartbeat was taken any more, for the `reason`."""

    ended: Literal["process_gone", "refused"]
    marked_stale: bool = False
    reason: str = ""


def keep_alive(
    client: SessionContinuity, instance_id: str, runs: Callable[[], bool], *, every_seconds: float
) -> KeptAlive:
    """Send heartbeats of one session for as long as `runs` says so, through outages of the database, too. When it
    does not, the session becomes stale at once and its state is saved, unless it is heard of from elsewhere."""
    next_beat = 0.0
    while runs():
        if time.monotonic() >= next_beat:
            try:
                if not client.send_heartbeats([instance_id], process_seen=True):
                    client.send_heartbeat(instance_id)  # says why
            except Unavailable:
                pass
            except SessionContinuityError as refused:
                return KeptAlive(ended="refused", reason=refused.message)
            next_beat = time.monotonic() + every_seconds
        time.sleep(min(_POLL_SECONDS, every_seconds))
    until = time.monotonic() + QUIET_FOR.total_seconds() + 2 * _POLL_SECONDS
    while not _through_outages(lambda: client.mark_gone([(instance_id, None)])):
        if time.monotonic() >= until:
            return KeptAlive(ended="process_gone")
        time.sleep(_POLL_SECONDS)
    _through_outages(lambda: save_stale(client))
    return KeptAlive(ended="process_gone", marked_stale=True)


def _through_outages(work: Callable[[], T]) -> T:
    while True:
        try:
            return work()
        except Unavailable:
            time.sleep(_POLL_SECONDS)
