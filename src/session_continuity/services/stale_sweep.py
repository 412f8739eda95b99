"""The stale sweep: marks silent sessions stale and saves their state.

Purpose: whoever looks at the registry sees which sessions are dead. Options: `stale_after_minutes` (30), from a
session's own interval where it declared one; `stale_hold_minutes` (10). It reports how many it marked, how many
checkpoints it took, and how many sessions it holds back.

When more than half of the active sessions fall silent at once, it is rather the clock that jumped, the database
that was away or the machine that slept. Then none is marked for a while: whoever lives sends a heartbeat
meanwhile, and who is still silent when the hold ends is really so. The hold is counted on this process's own
clock, which does not jump.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import Conflict, NotFound, SessionContinuityError, Unavailable
from session_continuity.domain.stale_sweep import SilentCount
from session_continuity.services.service import Pass
from session_continuity.settings import Settings

INTERVAL_SECONDS = 15.0
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

BATCH = 200
"""Most sessions marked in one pass."""

HELD_FROM = 10
"""Fewer silent sessions are marked at once, however few the others are."""


class StaleSweep:
    """Sweeps all sessions. With `release` it marks without a hold. For one thread."""

    name = "stale_sweep"
    fleet_wide = True

    def __init__(
        self,
        settings: Settings,
        *,
        release: bool = False,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval_seconds = interval_seconds
        self._stale_after = timedelta(minutes=settings.stale_after_minutes)
        self._hold_seconds = settings.stale_hold_minutes * 60
        self._release, self._clock = release, clock
        self._held_since: float | None = None
        self._released = False

    def run_once(self, client: SessionContinuity) -> Pass:
        """One batch. Raises what the client raises."""
        report = {"brought_back_from_future": len(client.bring_back_from_future())}
        count = client.count_silent(stale_after=self._stale_after)
        marked = 0
        if self._is_held(count):
            report |= {"held": count.silent, "held_for_seconds": round(self._clock() - (self._held_since or 0.0))}
        elif count.silent:
            marked = report["marked"] = len(client.mark_silent(stale_after=self._stale_after, limit=BATCH))
        saved = report["checkpoints"] = save_stale(client)
        told = {name: figure for name, figure in report.items() if figure or name.startswith("held")}
        return Pass(done=marked + saved, more=marked == BATCH, report=told)

    def _is_held(self, count: SilentCount) -> bool:
        """Once begun, a hold goes on until nobody is silent or its time is over: while the living come back one by
        one, those who have not yet are soon less than half."""
        if count.silent == 0:
            self._held_since, self._released = None, False
            return False
        if self._release or self._released or not self._hold_seconds:
            return False
        if self._held_since is None:
            if count.silent < HELD_FROM or count.silent <= count.others:
                return False
            self._held_since = self._clock()
        self._released = self._clock() - self._held_since >= self._hold_seconds
        return not self._released


def save_stale(client: SessionContinuity) -> int:
    """Take the automatic checkpoint of each session that became stale and has none since, whoever marked it; how
    many there were. Raises what the client raises."""
    saved = 0
    for stale in client.find_stale_unsaved(limit=2 * BATCH):
        try:
            client.take_checkpoint(
                stale.instance_id,
                checkpoint_type="automatic",
                reason=f"stale: {stale.reason}",
                operation=f"checkpoint of the stale event {stale.sequence_num}",
            )
        except (Conflict, NotFound):
            continue  # taken over, forgotten or deleted meanwhile
        except Unavailable:
            raise
        except SessionContinuityError as error:  # one session keeps no other from being saved
            _log.warning("not_saved", session=stale.instance_id, code=error.stable_code, reason=error.message)
            continue
        saved += 1
    return saved
