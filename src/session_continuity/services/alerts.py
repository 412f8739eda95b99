"""Alerts of the fleet: evaluates the rules over the records and samples the tables' sizes.

Purpose: who watches is told what needs a person, once. Options: the table `[alerts]`. It reports how many alerts
it raised and resolved; each is a line of the log, too.
"""

from __future__ import annotations

import time

import structlog

from session_continuity.client import SessionContinuity
from session_continuity.domain.alert_rules import DATABASE_RULES, Rule
from session_continuity.domain.alerts import Settled
from session_continuity.services.service import Pass
from session_continuity.settings import Settings

INTERVAL_SECONDS = 15.0
_SAMPLE_SECONDS = 600.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Alerts:
    """Evaluates what is due. For one thread."""

    name = "alerts"
    fleet_wide = True

    def __init__(self, settings: Settings, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.interval_seconds = interval_seconds
        self._settings, self._archive_is_set = settings.alerts, settings.retention.is_set
        self._due: dict[str, float] = {}
        self._sample_at = 0.0

    def run_once(self, client: SessionContinuity) -> Pass:
        """Every rule that is due. Raises what the client raises."""
        raised = resolved = 0
        if time.monotonic() >= self._sample_at:
            client.sample_storage()
            client.drop_old_alerts()
            self._sample_at = time.monotonic() + _SAMPLE_SECONDS
        for rule in DATABASE_RULES:
            if rule.name in self._settings.off or time.monotonic() < self._due.get(rule.name, 0.0):
                continue
            settled = client.evaluate_rule(rule, self._settings, archive_is_set=self._archive_is_set)
            self._due[rule.name] = time.monotonic() + rule.every_seconds
            tell(rule, settled)
            raised, resolved = raised + len(settled.raised), resolved + len(settled.resolved)
        report = {"raised": raised, "resolved": resolved}
        return Pass(done=raised + resolved, report={name: count for name, count in report.items() if count})


def tell(rule: Rule, settled: Settled) -> None:
    """The lines of the log: whoever raised or resolved an alert writes them, so each is there once."""
    for subject in settled.raised:
        _log.warning("alert_raised", rule=rule.name, subject=subject, severity=rule.severity)
    for subject in settled.resolved:
        _log.info("alert_resolved", rule=rule.name, subject=subject)
