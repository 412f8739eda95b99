"""The index of the search: takes in what was recorded since, in batches, off the way of every write.

Purpose: words are found within seconds of being recorded. Options: none. Every pass looks at the sessions with a
heartbeat within the hour, and now and then at all of them. It reports how many documents it took in.
"""

from __future__ import annotations

import time

from session_continuity.client import SessionContinuity
from session_continuity.services.service import Pass

INTERVAL_SECONDS = 5.0
ALL_SECONDS = 300.0


class Search:
    """Indexes one batch in a pass. For one thread."""

    name = "search"
    fleet_wide = True

    def __init__(self, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.interval_seconds = interval_seconds
        self._all_at = 0.0

    def run_once(self, client: SessionContinuity) -> Pass:
        """One batch. Raises what the client raises."""
        look_at_all = time.monotonic() >= self._all_at
        indexed = client.index_records(all_sessions=look_at_all)
        if look_at_all and not indexed.more:
            self._all_at = time.monotonic() + ALL_SECONDS
        report = {"documents": indexed.documents} if indexed.documents else {}
        return Pass(done=indexed.documents, more=indexed.more, report=report)
