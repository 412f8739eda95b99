"""The private folder of captured records that are not stored yet; each is one file, whole or not there.

<harness>@<event>@...   the records: content as the harness told it, modification time when it was captured
.<name>                 a draft: renamed when it is whole; left behind by a hook that was killed
quarantine/             records that can't be stored; quarantine/reasons/ says why
lost/                   an empty file for each record that could not be kept
fenced/                 one file for each session that was taken over (written by the live recorder)
full                    there while the spool holds more than its capacity: hooks then count a loss
lock                    held by the one who drains
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from session_continuity.capture.spool.files import check_private, flush_path, moment, read_file, write_file
from session_continuity.capture.spool.names import is_name, make_name, parse_name
from session_continuity.domain.errors import InvalidInput, NotFound, Refused
from session_continuity.settings import Settings

FOLDER = "spool"
RECORD_LIMIT = 64 * 2**20
"""Most bytes of one record; hook.sh keeps the same limit."""

_TORN_AFTER_SECONDS = 86_400
_REASON_CHARACTERS = 1_000

_Place = tuple[int, int, str, str]
"""Where a record stands in the order: time in ns, turn, random part, name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolRecord:
    """One captured hook call. `name` is its identity for ever; host None means this machine."""

    name: str
    harness: str
    event: str
    client_pid: int | None
    host: str | None
    captured_at: datetime
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRecord:
    """A record that waits to be stored, without its payload."""

    name: str
    captured_at: datetime
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedRecord:
    """A record that could not be stored, and why."""

    name: str
    captured_at: datetime
    bytes: int
    code: str
    reason: str
    quarantined_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStatus:
    """waiting, quarantined: records. bytes: of both. oldest: the first that waits. lost: records that could not be
    kept. drafts: of hooks that are at work or were killed. foreign: files that are no records. full: hooks
    keep nothing now."""

    waiting: int
    bytes: int
    oldest: datetime | None
    quarantined: int
    lost: int
    drafts: int
    foreign: int
    full: bool


def open_spool(settings: Settings) -> Spool:
    """The spool of the data folder. Raises Refused when others can enter it."""
    return Spool(settings.home / FOLDER, capacity=settings.spool_bytes)


class Spool:
    """The spool in `folder`, made if it is missing. Raises Refused when it is not a private folder of this user.

    capacity: bytes of waiting and quarantined records from which on nothing more is taken.
    """

    def __init__(self, folder: Path, *, capacity: int = 2**30) -> None:
        self.folder, self.capacity = folder, capacity
        self._quarantine, self._lost = folder / "quarantine", folder / "lost"
        self._reasons, self._full = self._quarantine / "reasons", folder / "full"
        folder.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder, self._lost, self._quarantine, self._reasons):
            with suppress(FileExistsError):
                each.mkdir(mode=0o700)
            check_private(each)

    def put(
        self,
        harness: str,
        event: str,
        payload: bytes,
        *,
        client_pid: int | None = None,
        host: str | None = None,
        captured_at: datetime | None = None,
        name: str | None = None,
        flush: bool = False,
    ) -> str:
        """Keep a record; returns its name. With `flush` it survives power loss. A forwarded record brings the
        `name` that it has on its own machine and the `host`; to put it again changes nothing, but it is flushed.

        Raises InvalidInput (record_name, payload_too_large), Refused (spool_full), OSError; then nothing is kept.
        """
        given = make_name(harness, event, client_pid=client_pid, host=host)
        if name is not None:
            own = parse_name(name)
            if (own.harness, own.event) != (harness, event) or own.host not in (None, host):
                raise InvalidInput(f"{name!r} is not a name for {event} of {harness}", code="record_name")
            given = own._replace(host=host)
        if len(payload) > RECORD_LIMIT:
            raise InvalidInput(
                f"a record may have {RECORD_LIMIT:,} bytes, not {len(payload):,}", code="payload_too_large"
            )
        whole = self.folder / str(given)
        if name is not None and (self.holds(str(given)) or self.is_quarantined(str(given))):
            if flush:
                self._flush_known(str(given))
            return str(given)
        if self._full.exists():
            raise Refused("the spool is full; see `continuity spool list`", code="spool_full")
        draft = self.folder / f".{make_name(harness, event)}"
        try:
            write_file(draft, payload, captured_at, flush)
            draft.rename(whole)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        if flush:
            flush_path(self.folder)
        return str(given)

    def count_loss(self, harness: str, event: str) -> None:
        """Count a record that could not be kept."""
        (self._lost / str(make_name(harness, event))).touch(mode=0o600)

    def names(self) -> list[str]:
        """The records that wait, oldest first.

        A folder that is listed while hooks write into it may show a record and not the one before it. One that
        was there when the first listing ended is in the second: nothing is named that comes after such a one.
        """
        listed = self._listed()
        missed = [self._place(name) for name in os.listdir(self.folder) if name not in listed and is_name(name)]
        earliest = min(filter(None, missed), default=None)
        places = sorted(listed.values())
        return [place[-1] for place in places if earliest is None or place < earliest]

    def waiting(self, limit: int) -> list[WaitingRecord]:
        """The oldest records that wait, without their payload."""
        found: list[WaitingRecord] = []
        for name in self.names()[:limit]:
            with suppress(FileNotFoundError):
                at = (self.folder / name).lstat()
                found.append(WaitingRecord(name=name, captured_at=moment(at.st_mtime_ns), bytes=at.st_size))
        return found

    def read(self, name: str) -> SpoolRecord:
        """A record that waits or is in quarantine. Raises NotFound, InvalidInput, OSError."""
        parts = parse_name(name)
        path = self.folder / name if self.holds(name) else self._quarantine / name
        try:
            payload, captured_at = read_file(path, RECORD_LIMIT)
        except FileNotFoundError:
            raise NotFound(f"there is no record {name} in the spool", code="record_not_found") from None
        return SpoolRecord(
            name=name,
            harness=parts.harness,
            event=parts.event,
            client_pid=parts.client_pid or None,
            host=parts.host,
            captured_at=captured_at,
            payload=payload,
        )

    def pending(self, limit: int = 500) -> list[SpoolRecord]:
        """The oldest records that wait. Raises InvalidInput, OSError for one that can't be read."""
        return [self.read(name) for name in self.names()[:limit]]

    def holds(self, name: str) -> bool:
        """Whether this record waits."""
        return os.path.lexists(self.folder / str(parse_name(name)))

    def is_quarantined(self, name: str) -> bool:
        """Whether this record is in quarantine."""
        return os.path.lexists(self._quarantine / str(parse_name(name)))

    def remove(self, name: str) -> None:
        """Take a record out that is stored; nothing happens when it is gone."""
        (self.folder / str(parse_name(name))).unlink(missing_ok=True)

    def quarantine(self, name: str, code: str, reason: str) -> None:
        """Set a record aside that can't be stored; nothing happens when it is gone."""
        parse_name(name)
        told = {"code": code, "reason": reason[:_REASON_CHARACTERS], "at": datetime.now(UTC).isoformat()}
        with suppress(OSError):  # on a full disk the record is set aside all the same
            (self._reasons / name).write_bytes(json.dumps(told).encode())
        with suppress(FileNotFoundError):
            (self.folder / name).rename(self._quarantine / name)

    def quarantined(self) -> list[QuarantinedRecord]:
        """What is in quarantine, oldest first."""
        found = [self._quarantined(entry) for entry in os.scandir(self._quarantine) if is_name(entry.name)]
        return sorted(found, key=lambda record: (record.captured_at, record.name))

    def retry(self, name: str) -> None:
        """Let a record out of quarantine: the next drain tries it again. Raises NotFound, InvalidInput."""
        try:
            (self._quarantine / str(parse_name(name))).rename(self.folder / name)
        except FileNotFoundError:
            raise _not_quarantined(name) from None
        (self._reasons / name).unlink(missing_ok=True)

    def drop(self, name: str) -> None:
        """Delete a record that is in quarantine. Raises NotFound, InvalidInput."""
        try:
            (self._quarantine / str(parse_name(name))).unlink()
        except FileNotFoundError:
            raise _not_quarantined(name) from None
        (self._reasons / name).unlink(missing_ok=True)

    def acknowledge_losses(self) -> int:
        """Forget the losses counted so far; returns how many."""
        names = os.listdir(self._lost)
        for name in names:
            (self._lost / name).unlink(missing_ok=True)
        return len(names)

    def remove_torn(self) -> int:
        """Remove the drafts of hooks that were killed more than a day ago; returns how many."""
        removed, until = 0, time.time() - _TORN_AFTER_SECONDS
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):
                # Its modification time may be set already: a forwarded record keeps that of its own machine.
                if entry.name.startswith(".") and entry.stat(follow_symlinks=False).st_ctime < until:
                    os.unlink(entry.path)
                    removed += 1
        return removed

    def status(self) -> SpoolStatus:
        """What the spool holds."""
        waiting, held, oldest, drafts, foreign = 0, 0, None, 0, 0
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):
                if is_name(entry.name):
                    at = entry.stat(follow_symlinks=False)
                    waiting, held = waiting + 1, held + at.st_size
                    oldest = at.st_mtime_ns if oldest is None else min(oldest, at.st_mtime_ns)
                elif entry.name.startswith("."):
                    drafts += 1
                elif entry.name not in ("quarantine", "lost", "fenced", "full", "lock"):
                    foreign += 1
        quarantined = self.quarantined()
        return SpoolStatus(
            waiting=waiting,
            bytes=held + sum(record.bytes for record in quarantined),
            oldest=None if oldest is None else moment(oldest),
            quarantined=len(quarantined),
            lost=len(os.listdir(self._lost)),
            drafts=drafts,
            foreign=foreign,
            full=self._full.exists(),
        )

    def keep_capacity(self) -> SpoolStatus:
        """Set or take away the mark that the spool is full; returns the status with it."""
        status = self.status()
        full = status.bytes >= self.capacity
        if full and not status.full:
            self._full.touch(mode=0o600)
        elif not full:
            self._full.unlink(missing_ok=True)
        return self.status() if full != status.full else status

    @contextmanager
    def locked(self, wait: float = 0.0) -> Generator[bool]:
        """Hold the lock of the one who drains, or be told False when another has held it for `wait` seconds. The
        operating system frees it when its holder dies."""
        until = time.monotonic() + wait
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while not (held := _try_lock(lock)) and time.monotonic() < until:
                time.sleep(0.01)
            yield held
        finally:
            os.close(lock)

    def _flush_known(self, name: str) -> None:
        """Flush a record that is here already: whoever put it may have died before its flush."""
        folder = self.folder if self.holds(name) else self._quarantine
        with suppress(FileNotFoundError):  # it was stored meanwhile
            flush_path(folder / name)
        flush_path(folder)

    def _listed(self) -> dict[str, _Place]:
        places: dict[str, _Place] = {}
        for name in os.listdir(self.folder):
            if is_name(name) and (place := self._place(name)):
                places[name] = place
        return places

    def _place(self, name: str) -> _Place | None:
        parts = parse_name(name)
        try:
            return (self.folder / name).lstat().st_mtime_ns, parts.turn, parts.random, name
        except FileNotFoundError:
            return None

    def _quarantined(self, entry: os.DirEntry[str]) -> QuarantinedRecord:
        try:
            told: dict[str, Any] = json.loads((self._reasons / entry.name).read_bytes())
        except (OSError, ValueError):
            told = {"code": "unknown", "reason": "the reason could not be written down", "at": None}
        at = entry.stat(follow_symlinks=False)
        return QuarantinedRecord(
            name=entry.name,
            captured_at=moment(at.st_mtime_ns),
            bytes=at.st_size,
            code=told["code"],
            reason=told["reason"],
            quarantined_at=told["at"] and datetime.fromisoformat(told["at"]),
        )


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _not_quarantined(name: str) -> NotFound:
    return NotFound(f"{name} is not in quarantine; `continuity spool list` shows what is", code="record_not_found")
