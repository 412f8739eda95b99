"""A process that runs the services for the fault tests, to be killed at any moment.

keeper.py DSN leased|free|naive WEBHOOK: with leases; without, so that all sweep at once; or the control, which
reads first and updates then. Alerts are delivered to the webhook.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import psycopg

from session_continuity import SessionContinuity
from session_continuity.domain.alert_rules import AlertSettings
from session_continuity.services.alert_delivery import AlertDelivery
from session_continuity.services.alerts import Alerts
from session_continuity.services.automatic_checkpoints import AutomaticCheckpoints
from session_continuity.services.runner import Runner
from session_continuity.services.service import Pass
from session_continuity.services.stale_sweep import StaleSweep

INTERVAL, LEASE_SECONDS = 0.05, 1.0


def naive(dsn: str) -> None:
    """As a sweep is often written."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        print("ready", flush=True)
        while True:
            silent = connection.execute(
                "SELECT instance_id FROM supervisor_sessions"
                " WHERE status = 'active' AND last_heartbeat < now() - interval '30 minutes'"
            ).fetchall()
            for (instance_id,) in silent:
                connection.execute(
                    "INSERT INTO event_store (instance_id, event_type) VALUES (%s, 'instance_stale')",
                    (instance_id,),
                )
                connection.execute(
                    "UPDATE supervisor_sessions SET status = 'stale' WHERE instance_id = %s", (instance_id,)
                )
            time.sleep(INTERVAL)


class Eager(Alerts):
    """Evaluates its rules in every pass."""

    def run_once(self, client: SessionContinuity) -> Pass:
        self._due.clear()
        return super().run_once(client)


def main() -> None:
    dsn, mode, webhook = sys.argv[1:]
    if mode == "naive":
        naive(dsn)
    with SessionContinuity(dsn=dsn) as client:
        channel = replace(client.settings, alerts=AlertSettings(webhook=webhook))
        services = [
            StaleSweep(client.settings, release=True, interval_seconds=INTERVAL),
            AutomaticCheckpoints(client.settings, interval_seconds=INTERVAL, page=50),
            Eager(client.settings, interval_seconds=INTERVAL),
            AlertDelivery(channel, interval_seconds=INTERVAL),
        ]
        if mode == "free":
            for service in services:
                service.fleet_wide = False
        Runner(client, services, lease_seconds=LEASE_SECONDS).start()
        time.sleep(3_600)


if __name__ == "__main__":
    main()
