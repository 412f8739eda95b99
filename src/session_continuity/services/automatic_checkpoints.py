"""Automatic checkpoints where no capture takes them.

Purpose: a session written by the plain library is resumed as cheaply as a captured one, and loses nothing when it
dies. Options: `context_threshold_percent` (80), `idle_checkpoint_minutes` (10). A pass looks at one page of the
sessions that may still run and reports how many checkpoints it took, by cause; after the last page it rests.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import structlog

from session_continuity.client import SessionContinuity
from session_continuity.domain.automatic_checkpoints import FIRST_PLACE, Place
from session_continuity.domain.errors import Conflict, NotFound, SessionContinuityError, Unavailable
from session_continuity.services.service import Pass
from session_continuity.settings import Settings

INTERVAL_SECONDS = 30.0
PAGE = 2_000

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AutomaticCheckpoints:
    """Goes through the sessions page by page. For one thread."""

    name = "automatic_checkpoints"
    fleet_wide = True

    def __init__(
        self, settings: Settings, *, interval_seconds: float = INTERVAL_SECONDS, page: int = PAGE
    ) -> None:
        self.interval_seconds = interval_seconds
        self._threshold = settings.context_threshold_percent
        self._idle_after = timedelta(minutes=settings.idle_checkpoint_minutes)
        self._page = page
        self._place: Place = FIRST_PLACE

    def run_once(self, client: SessionContinuity) -> Pass:
        """One page. Raises what the client raises."""
        found = client.find_checkpoints_due(
            threshold_percent=self._threshold, idle_after=self._idle_after, after=self._place, page=self._page
        )
        taken: Counter[str] = Counter()
        for due in found.due:
            try:
                client.take_due_checkpoint(due)
            except (Conflict, NotFound):
                taken["moved_on"] += 1  # looked at again in the next round
            except Unavailable:
                raise
            except SessionContinuityError as error:  # one session keeps no other from being saved
                _log.warning(
                    "not_saved", instance_id=due.instance_id, code=error.stable_code, reason=error.message
                )
                taken["failed"] += 1
            else:
                taken[due.cause.replace(" ", "_")] += 1
        self._place = found.next_place or FIRST_PLACE
        done = taken.total() - taken["moved_on"] - taken["failed"]
        return Pass(done=done, more=found.next_place is not None, report=dict(taken))
