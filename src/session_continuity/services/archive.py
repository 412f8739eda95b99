"""The archive: moves old rows into files by the retention policy.

Purpose: the tables hold what is worked with, and nothing is lost. Options: `[retention]`, `archive_folder` and
`archive_format`; without a policy it does nothing. It reports the archives made, their rows, those that stayed,
the archives deleted past their age, and how many problems need a person: `continuity archive run` tells them.
"""

from __future__ import annotations

from session_continuity.archive.archiving import run_archive
from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import Refused
from session_continuity.services.service import Pass
from session_continuity.settings import Settings

INTERVAL_SECONDS = 600.0


class Archiving:
    """Makes at most one archive in a pass."""

    name = "archive"
    fleet_wide = True

    def __init__(self, settings: Settings, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.interval_seconds = interval_seconds
        self._is_set = settings.retention.is_set

    def run_once(self, client: SessionContinuity) -> Pass:
        """One archive. Raises what the client raises, and OSError when the disk is full: nothing was deleted."""
        if not self._is_set:
            return Pass(done=0)
        try:
            made = run_archive(client, most_archives=1)
        except Refused as refusal:
            if refusal.stable_code != "archive_busy":
                raise
            return Pass(done=0)  # a person's own run does this work
        figures = {
            "archives": len(made.archives),
            "rows": made.rows,
            "rows_kept": made.rows_kept,
            "deleted": len(made.deleted),
            "erased": len(made.erased),
            "problems": len(made.problems),
        }
        told = {name: figure for name, figure in figures.items() if figure}
        return Pass(done=len(made.archives) + len(made.deleted), more=made.more, report=told)
