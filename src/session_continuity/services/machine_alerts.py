"""Alerts of one machine: its spool, its disks, and whether it reaches the database.

Purpose: what no statement can find. Options: the table `[alerts]`. Every resident process looks at its own
machine. That the database can't be reached goes straight to the channels: there is nobody else to tell it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from session_continuity.client import SessionContinuity
from session_continuity.deployment import Deployment
from session_continuity.domain.alert_rules import DATABASE_UNREACHABLE, DISK_FULL, SPOOL_OLD, Rule
from session_continuity.domain.errors import Unavailable
from session_continuity.domain.payload import storable_text
from session_continuity.services.alerts import tell
from session_continuity.services.channels import Channel, Message, channels_of
from session_continuity.services.service import Pass
from session_continuity.settings import Settings

INTERVAL_SECONDS = 15.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class MachineAlerts:
    """`waiting` tells how many captured records wait in the spool, and since when the oldest does. For one
    thread."""

    name = "machine_alerts"
    fleet_wide = False

    def __init__(
        self,
        settings: Settings,
        host: str,
        waiting: Callable[[], tuple[int, datetime | None]],
        *,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self.interval_seconds = interval_seconds
        self._settings, self._host, self._waiting = settings.alerts, host, waiting
        self._folders = [settings.home, *filter(None, [settings.archive_folder])]
        self._deployment = Deployment(settings)
        self._channels = channels_of(settings.alerts)
        self._outage: _Outage | None = None

    def run_once(self, client: SessionContinuity) -> Pass:
        """One look. Raises what the client raises."""
        try:
            changed = self._settle(client)
        except Unavailable:
            self._note_unreachable()
            raise
        self._note_reached()
        return Pass(done=changed, report={"changed": changed} if changed else {})

    def _settle(self, client: SessionContinuity) -> int:
        changed = 0
        for rule, details in ((SPOOL_OLD, self._spool()), (DISK_FULL, self._disks())):
            if rule.name not in self._settings.off:
                settled = client.settle_machine_alert(rule, self._host, details)
                tell(rule, settled)
                changed += len(settled.raised) + len(settled.resolved)
        return changed

    def _spool(self) -> dict[str, Any] | None:
        waiting, oldest = self._waiting()
        minutes = 0.0 if oldest is None else (datetime.now(UTC) - oldest).total_seconds() / 60
        if minutes < self._value(SPOOL_OLD, "spool_old_minutes"):
            return None
        return {"waiting": waiting, "minutes": round(minutes)}

    def _disks(self) -> dict[str, Any] | None:
        """Of the disks under our folders the fullest, if it is too full."""
        found: list[dict[str, Any]] = []
        for folder in filter(None, [*self._folders, self._deployment.data_folder()]):
            with suppress(FileNotFoundError):  # not made yet
                found.append(self._disk(folder))
        low = [disk for disk in found if self._is_low(disk)]
        return min(low, key=lambda disk: disk["free_percent"], default=None)

    def _disk(self, folder: Path) -> dict[str, Any]:
        usage = shutil.disk_usage(folder)
        percent = round(100 * usage.free / max(1, usage.total), 1)
        return {"folder": storable_text(str(folder)), "free_mb": round(usage.free / 1e6), "free_percent": percent}

    def _is_low(self, disk: Mapping[str, Any]) -> bool:
        # Both must be low: five percent of a large disk are plenty.
        return all(disk[name] <= self._value(DISK_FULL, f"disk_{name}") for name in ("free_percent", "free_mb"))

    def _value(self, rule: Rule, name: str) -> float:
        return self._settings.values_of(rule)[name]

    def _note_unreachable(self) -> None:
        if DATABASE_UNREACHABLE.name in self._settings.off:
            return
        self._outage = self._outage or _Outage()
        seconds = time.monotonic() - self._outage.since
        if seconds >= self._value(DATABASE_UNREACHABLE, "database_unreachable_seconds"):
            if not self._outage.is_logged:
                self._outage.is_logged = True
                _log.error("alert_raised", rule=DATABASE_UNREACHABLE.name, subject=self._host)
            untold = [channel for channel in self._channels if channel.name not in self._outage.told]
            for channel in untold:  # whom the network does not reach now is told later
                if self._tell(channel, "raised", {"seconds": round(seconds)}):
                    self._outage.told.add(channel.name)

    def _note_reached(self) -> None:
        if self._outage is not None and self._outage.is_logged:
            _log.info("alert_resolved", rule=DATABASE_UNREACHABLE.name, subject=self._host)
            for channel in self._channels:
                if channel.name in self._outage.told:
                    self._tell(channel, "resolved", {"seconds": 0})
        self._outage = None

    def _tell(self, channel: Channel, news: str, details: Mapping[str, Any]) -> bool:
        assert self._outage is not None  # noqa: S101
        message = Message.of_machine(DATABASE_UNREACHABLE, news, self._host, details, alert_id=self._outage.id)
        failure = channel.send(message)
        if failure is not None:
            _log.warning("alert_not_delivered", channel=channel.name, reason=failure)
        return failure is None


@dataclass(slots=True)
class _Outage:
    """Since when the database is not reached, and who has been told."""

    since: float = field(default_factory=time.monotonic)
    id: str = field(default_factory=lambda: str(uuid4()))
    is_logged: bool = False
    told: set[str] = field(default_factory=set[str])
