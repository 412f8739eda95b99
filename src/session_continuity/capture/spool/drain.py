"""Stores what the spool holds: in order, exactly once, by one drainer at a time.

A record is removed after it was stored. Who dies in between leaves it, and it is stored again under the same name:
what it becomes carries operation ids made from the name, so that nothing is doubled.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from session_continuity.capture.spool.spool import Spool, SpoolRecord, SpoolStatus
from session_continuity.domain.errors import InvalidInput, NotFound, Refused, SessionContinuityError, Unavailable

BATCH_RECORDS = 500
BATCH_BYTES = 16 * 2**20

_MACHINE = frozenset(
    (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EAGAIN,
    )
)
"""Errors that say nothing of the record at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Why a record can't be stored, now or ever; `reason` quotes nothing of it."""

    code: str
    reason: str


Store: TypeAlias = Callable[[Sequence[SpoolRecord]], Sequence[Rejected | None]]
"""Stores a batch of records in its order and says for each one why it can't be stored, or None. It keeps each
record once by its name. Raises Unavailable or Refused when nothing can be stored at this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReport:
    """What a drain did. stopped: why records still wait. locked_out: another one drains. torn: drafts removed.
    spool: what the spool holds now, None when locked out."""

    stored: int = 0
    quarantined: int = 0
    torn: int = 0
    locked_out: bool = False
    stopped: str | None = None
    spool: SpoolStatus | None = None


def drain(
    spool: Spool, store: Store, *, until_empty: bool = True, wait: float = 0.0, seconds: float | None = None
) -> DrainReport:
    """Store what waits, oldest first: all of it, or with `until_empty` off one batch. Waits `wait` seconds for
    another drainer to end; begins no batch after `seconds`. Raises OSError when the spool can't be used."""
    until = None if seconds is None else time.monotonic() + seconds
    with spool.locked(wait) as held:
        if not held:
            return DrainReport(locked_out=True)
        stored = quarantined = 0
        stopped = None
        try:
            for batch in _batches(spool):
                verdicts = _store(store, batch.records)
                for record, verdict in zip(batch.records, verdicts, strict=True):
                    if verdict is None:
                        spool.remove(record.name)
                    else:
                        spool.quarantine(record.name, verdict.code, verdict.reason)
                rejected = sum(verdict is not None for verdict in verdicts)
                stored += len(verdicts) - rejected
                quarantined += batch.unreadable + rejected
                if not until_empty or (until is not None and time.monotonic() > until):
                    break
        except (Unavailable, Refused) as error:
            stopped = error.message
        except OSError as error:
            if error.errno not in _MACHINE:
                raise
            stopped = str(error)
        return DrainReport(
            stored=stored,
            quarantined=quarantined,
            torn=spool.remove_torn(),
            stopped=stopped,
            spool=spool.keep_capacity(),
        )


@dataclass(slots=True)
class _Batch:
    """Records to store together; those that could not even be read are in quarantine already."""

    records: list[SpoolRecord]
    bytes: int = 0
    unreadable: int = 0


def _batches(spool: Spool) -> Generator[_Batch]:
    """Everything that waits in batches, until nothing does."""
    while names := spool.names():
        batch = _Batch([])
        for name in names:
            try:
                record = spool.read(name)
            except NotFound:
                continue
            except (InvalidInput, OSError) as error:
                if isinstance(error, OSError) and error.errno in _MACHINE:
                    raise
                code = error.stable_code if isinstance(error, InvalidInput) else "record_unreadable"
                spool.quarantine(name, code, str(error))
                batch.unreadable += 1
                continue
            batch.records.append(record)
            batch.bytes += len(record.payload)
            if len(batch.records) == BATCH_RECORDS or batch.bytes >= BATCH_BYTES:
                yield batch
                batch = _Batch([])
        if batch.records or batch.unreadable:
            yield batch


def _store(store: Store, records: list[SpoolRecord]) -> Sequence[Rejected | None]:
    """What `store` says; when it breaks, the records are tried one by one, so that one which can't be dealt with
    does not keep the others back."""
    if not records:
        return []
    try:
        return store(records)
    except (Unavailable, Refused):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _MACHINE:
            raise
        if len(records) == 1:
            return [_broken(error)]
    return [verdict for record in records for verdict in _store(store, [record])]


def _broken(error: Exception) -> Rejected:
    if isinstance(error, SessionContinuityError):
        return Rejected(code=error.stable_code, reason=error.message)
    return Rejected(code="internal", reason=f"{type(error).__name__} while it was stored: a defect")
