"""The delivery of alerts: tells each channel of this machine's settings what it has not been told.

Purpose: an alert reaches a person. Options: `webhook` and `notify` in `[alerts]`. Two machines with the same
channel deliver each alert once: a row is claimed before it is sent. What fails is tried again, with up to an hour
between. It reports how many messages arrived and how many did not.
"""

from __future__ import annotations

import structlog

from session_continuity.client import SessionContinuity
from session_continuity.services.channels import Message, channels_of
from session_continuity.services.service import BoundClient, Pass
from session_continuity.settings import Settings

INTERVAL_SECONDS = 5.0
_AT_ONCE = 20

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AlertDelivery:
    """Delivers what is due."""

    name = "alert_delivery"
    fleet_wide = False

    def __init__(self, settings: Settings, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.interval_seconds = interval_seconds
        self._channels = channels_of(settings.alerts)

    def run_once(self, client: SessionContinuity) -> Pass:
        """One batch. Raises what the client raises."""
        delivered = failed = 0
        # What was sent must be noted, also when the pass has to end meanwhile: else it would be sent again.
        noting = client.unbound if isinstance(client, BoundClient) else client
        for channel in self._channels:
            while delivered + failed < _AT_ONCE and (due := client.claim_delivery(channel.name)):
                failure = channel.send(Message.of(due))
                noting.settle_delivery(due, channel.name, error=failure)
                if failure is None:
                    delivered += 1
                else:
                    failed += 1
                    _log.warning("alert_not_delivered", channel=channel.name, reason=failure)
        more = delivered + failed >= _AT_ONCE
        report = {"delivered": delivered, "failed": failed}
        return Pass(
            done=delivered + failed, more=more, report={name: count for name, count in report.items() if count}
        )
