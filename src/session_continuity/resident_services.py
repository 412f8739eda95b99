"""The services that a resident process of this machine runs."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from session_continuity.capture.spool.spool import FOLDER, open_spool
from session_continuity.client import SessionContinuity
from session_continuity.domain.payload import storable_text
from session_continuity.processes import is_running, process_from_json
from session_continuity.services.alert_delivery import AlertDelivery
from session_continuity.services.alerts import Alerts
from session_continuity.services.archive import Archiving
from session_continuity.services.automatic_checkpoints import AutomaticCheckpoints
from session_continuity.services.heartbeat import Heartbeat
from session_continuity.services.machine_alerts import MachineAlerts
from session_continuity.services.search import Search
from session_continuity.services.service import Service
from session_continuity.services.stale_sweep import StaleSweep
from session_continuity.settings import Settings


def wanted_services(settings: Settings) -> list[Service]:
    """Those that a resident process runs: the archive only where there is a policy, so that one of those machines
    does that work."""
    return [each for each in services_of(settings) if settings.retention.is_set or each.name != Archiving.name]


def services_of(settings: Settings) -> list[Service]:
    """Every service, with the settings' options."""
    return [
        Heartbeat(_host(), _runs, waits_since=lambda: waiting_records(settings)[1]),
        StaleSweep(settings),
        AutomaticCheckpoints(settings),
        Archiving(settings),
        Alerts(settings),
        MachineAlerts(settings, _host(), partial(waiting_records, settings)),
        AlertDelivery(settings),
        Search(),
    ]


def sweep_now(client: SessionContinuity, *, release: bool = False) -> dict[str, int]:
    """Look at the processes of this machine, then at all sessions: how many became stale as silent (`marked`) or
    with their process (`gone`), and how many are `held` back (none with `release`). Raises as the client."""
    sweep = StaleSweep(client.settings, release=release)
    totals = {"marked": 0, "gone": 0, "held": 0, "brought_back": 0, "checkpoints": 0}
    more = True
    totals = _added(totals, Heartbeat(_host(), _runs).run_once(client).report)
    while more:
        done = sweep.run_once(client)
        totals, more = _added(totals, done.report), done.more
    return totals


def _host() -> str:
    return storable_text(socket.gethostname())


def waiting_records(settings: Settings) -> tuple[int, datetime | None]:
    """How many captured records wait in the spool of this home, and since when the oldest does."""
    if not (settings.home / FOLDER).exists():
        return 0, None
    status = open_spool(settings).status()
    return status.waiting, status.oldest


def _added(totals: dict[str, int], report: Mapping[str, int | str]) -> dict[str, int]:
    return {name: total + int(report.get(name, 0)) for name, total in totals.items()}


def _runs(kept: dict[str, Any]) -> bool | None:
    process = process_from_json(kept)
    return None if process is None else is_running(process)
