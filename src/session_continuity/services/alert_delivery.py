"""The delivery of alerts: tells each channel of this machine's settings what it has not been told.

Purpose: an alert reaches a person. Options: `webhook` and `notify` in `[alerts]`. Two machines with the same
channel deliver each alert once: a row is claimed before it is sent. What fails is tried again, with up to an hour
between; a channel that failed rests for this pass. It reports how many messages arrived and how many did not.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import structlog

from session_continuity.client import SessionContinuity
from session_continuity.domain.alerts import MOST_ATTEMPTS
from session_continuity.services.channels import Channel, Message, channels_of
from session_continuity.services.service import BoundClient, Pass
from session_continuity.settings import Settings

INTERVAL_SECONDS = 5.0
_AT_ONCE, _SECONDS_AT_ONCE = 20, 10.0
"""Of one channel in one pass: a slow one holds up the others no longer than that and one message."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AlertDelivery:
    """Delivers what is due."""

    name = "alert_delivery"
    fleet_wide = False

    def __init__(self, settings: Settings, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.interval_seconds = interval_seconds
        self._channels = channels_of(settings.alerts)

    def run_once(self, client: SessionContinuity) -> Pass:
        """One batch for each channel. Raises what the client raises."""
        batches = [self._deliver(client, channel) for channel in self._channels]
        report = {
            "delivered": sum(batch.delivered for batch in batches),
            "failed": sum(batch.failed for batch in batches),
        }
        return Pass(
            done=sum(report.values()),
            more=any(batch.more for batch in batches),
            report={name: count for name, count in report.items() if count},
        )

    def _deliver(self, client: SessionContinuity, channel: Channel) -> _Batch:
        """What one channel is told, up to the first failure: the others are not to wait for it again and again."""
        # What was sent must be noted, also when the pass has to end meanwhile: else it would be sent again.
        noting = client.unbound if isinstance(client, BoundClient) else client
        until = time.monotonic() + _SECONDS_AT_ONCE
        for delivered in range(_AT_ONCE):
            due = client.claim_delivery(channel.name) if time.monotonic() < until else None
            if due is None:
                return _Batch(delivered, 0, more=time.monotonic() >= until)
            failure = channel.send(Message.of(due))
            noting.settle_delivery(due, channel.name, error=failure)
            if failure is not None:
                _log.warning("alert_not_delivered", channel=channel.name, reason=failure)
                if due.attempts >= MOST_ATTEMPTS:
                    _log.error(
                        "alert_given_up", channel=channel.name, rule=due.alert.rule, subject=due.alert.subject
                    )
                return _Batch(delivered, 1, more=False)
        return _Batch(_AT_ONCE, 0, more=True)


class _Batch(NamedTuple):
    """How many messages arrived and how many did not, and whether more may be due."""

    delivered: int
    failed: int
    more: bool
