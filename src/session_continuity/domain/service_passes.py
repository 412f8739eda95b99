"""What the services did: the last passes of each, and who holds its lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from session_continuity.domain.identity import operation_id
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.payload import check_text, encode_object


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePass:
    """A row of service_passes: one bounded pass. `done` counts what it changed, `report` holds its figures in
    plain words, `error` says why it failed. Times are aware, from the database clock."""

    service: str
    holder: str
    started_at: datetime
    finished_at: datetime
    done: int
    report: dict[str, Any]
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """A service: who does its fleet-wide work now, if anybody does, and its last pass anywhere. `epoch` counts how
    often its lease was taken; all three are None of a service that every host does for itself."""

    name: str
    holder: str | None
    epoch: int | None
    expires_at: datetime | None
    last_pass: ServicePass | None


_FIELDS = tuple(ServicePass.__dataclass_fields__)


def record_pass(
    service: str,
    *,
    holder: str,
    seconds: float,
    done: int,
    report: Mapping[str, int | str],
    error: str | None = None,
    operation: UUID | str | None = None,
) -> Operation[ServicePass]:
    """Keep what a pass did that has just ended after `seconds`. Of a holder's passes that did nothing only the
    last is kept, of the others the last thousand. Raises InvalidInput."""
    parameters = {
        "pass_id": operation_id(service, operation),
        "service": check_text("service", service, 100),
        "holder": check_text("holder", holder, 200),
        "seconds": max(0.0, seconds),
        "done": done,
        "report": encode_object("report", report),
        "error": error and check_text("error", error, 2_000),
    }

    def steps() -> Steps[ServicePass]:
        rows = yield Statement("record_pass", parameters)
        return _pass_from_row(rows[0])

    return Operation("record_pass", steps)


def list_services() -> Operation[list[ServiceState]]:
    """Every service that ever ran, by name."""

    def steps() -> Steps[list[ServiceState]]:
        rows = yield Statement("list_services", {})
        return [
            ServiceState(
                name=name,
                holder=holder,
                epoch=epoch,
                expires_at=expires_at,
                last_pass=None if last[0] is None else _pass_from_row(tuple(last)),
            )
            for name, holder, epoch, expires_at, *last in rows
        ]

    return Operation("list_services", steps)


def _pass_from_row(row: tuple[Any, ...]) -> ServicePass:
    return ServicePass(**dict(zip(_FIELDS, row, strict=True)))
