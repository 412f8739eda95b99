"""The slow road of a hook: keeps the record, waits until it is stored, and may answer the agent.

    python -I -m session_continuity.capture.hook.hook HARNESS EVENT CLIENT_PID HOME

hook.sh takes it at session start and before compaction, and for every event while a session is fenced. It
never fails the agent: what goes wrong is told in `<home>/logs/hook.log`. The exit code is not 0 only when standard
input was not read; then hook.sh keeps the record. What is not needed for that is imported afterwards.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from session_continuity.capture.hook.command import ANSWERED, SESSION_STARTS
from session_continuity.capture.spool.spool import FOLDER, RECORD_LIMIT, Spool, SpoolRecord
from session_continuity.domain.errors import Refused, SessionContinuityError, Unavailable
from session_continuity.domain.text import printable

if TYPE_CHECKING:
    from session_continuity.client import SessionContinuity
    from session_continuity.settings import Settings

_LOG_BYTES = 2**20


class OutOfTime(BaseException):
    """The hook's time is used up. Not an Exception: a drain takes those for faults of a record."""


def main(arguments: Sequence[str]) -> int:
    """Keep the record on standard input, then answer."""
    harness, event, client, home = arguments[0], arguments[1], int(arguments[2]), Path(arguments[3])
    log = HookLog(home / "logs" / "hook.log", f"{harness} {event}")
    try:
        spool = Spool(home / FOLDER)
    except (SessionContinuityError, OSError) as error:
        log.write(error)
        return 1
    payload = sys.stdin.buffer.read(RECORD_LIMIT + 1)
    try:
        record = _keep(spool, harness, event, client, payload, log)
        answer = _answer(home, spool, record, log) if payload else None
        if answer is not None:
            sys.stdout.write(answer + "\n")
            sys.stdout.flush()
    except (Exception, OutOfTime) as error:
        log.write(error)
    return 0


class HookLog:
    """The log of the hooks, for `continuity doctor` and people; it quotes nothing of a payload."""

    def __init__(self, file: Path, call: str) -> None:
        self._file, self._call = file, call

    def write(self, error: BaseException) -> None:
        """One line for what went wrong; a log that can't be written must not stop the agent."""
        said = ": ".join(filter(None, (type(error).__name__, _quotable(error))))
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, exist_ok=True)
            if self._file.exists() and self._file.stat().st_size > _LOG_BYTES:
                self._file.replace(self._file.with_suffix(".log.1"))
            with open(self._file, "a", encoding="utf-8", opener=_private) as log:
                log.write(
                    f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {self._call}: {printable(said)}\n"
                )


def _quotable(error: BaseException) -> str:
    """Messages of these kinds quote nothing that was captured; of others, the place must do."""
    if isinstance(error, Unavailable | Refused | OSError | ImportError | OutOfTime):
        return str(error)
    code = error.stable_code if isinstance(error, SessionContinuityError) else ""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{code} at {Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else code


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _keep(spool: Spool, harness: str, event: str, client: int, payload: bytes, log: HookLog) -> SpoolRecord:
    """The record, under its name in the spool; under none when it could not be kept, which is counted."""
    name = ""
    try:
        if payload:
            name = spool.put(harness, event, payload, client_pid=client, flush=True)
    except (SessionContinuityError, OSError) as error:
        with suppress(OSError):
            spool.count_loss(harness, event)
        log.write(error)
    return SpoolRecord(
        name=name,
        harness=harness,
        event=event,
        client_pid=client,
        host=None,
        captured_at=datetime.now(UTC),
        payload=payload,
    )


def _answer(home: Path, spool: Spool, record: SpoolRecord, log: HookLog) -> str | None:
    """What the harness is to be told: nothing, that this session was taken over, or a brief."""
    from session_continuity.settings import load_settings

    # A repository can set the environment of its hooks; where data goes is not its to say.
    os.environ.pop("CONTINUITY_DSN", None)
    settings = load_settings(home=home)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, settings.hook_seconds)
    try:
        if record.event in ANSWERED:
            return _answer_when_stored(settings, spool, record, log)
        return _answer_fenced(settings, record)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer_fenced(settings: Settings, record: SpoolRecord) -> str | None:
    from session_continuity.capture.hook.answers import context_answer, refusal_answer
    from session_continuity.capture.recorder.fence_notice import find_fence_notice

    notice = find_fence_notice(settings, record)
    if notice is None:
        return None
    refused = refusal_answer(record.harness, record.event, notice.text) if notice.block else None
    return refused or context_answer(record.harness, record.event, notice.text)


def _answer_when_stored(settings: Settings, spool: Spool, record: SpoolRecord, log: HookLog) -> str | None:
    from session_continuity.capture.hook.answers import context_answer
    from session_continuity.capture.hook.start_briefing import answer_session_start
    from session_continuity.capture.serving import ensure_serving
    from session_continuity.client import SessionContinuity

    if not record.name:
        return None
    until = time.monotonic() + settings.hook_seconds
    try:
        ensure_serving(settings)
    except Exception as error:
        log.write(error)  # the drain below does without
    limited = replace(settings, deadline_seconds=min(settings.deadline_seconds, settings.hook_seconds))
    with SessionContinuity(limited) as client:
        if not _stored(client, spool, record.name, until) or record.event not in SESSION_STARTS:
            return None
        text = answer_session_start(client, record)
    return None if text is None else context_answer(record.harness, record.event, text)


def _stored(client: SessionContinuity, spool: Spool, name: str, until: float) -> bool:
    """Drain, or wait for the one who does, until this record is stored. Raises Unavailable when it can't be."""
    from session_continuity.capture.recorder.live import live_store
    from session_continuity.capture.spool.drain import drain

    store = live_store(client)
    while spool.holds(name):
        report = drain(spool, store, seconds=until - time.monotonic())
        if report.stopped is not None:
            raise Unavailable(report.stopped)
        if report.locked_out:
            time.sleep(0.02)
    return not spool.is_quarantined(name)


def _out_of_time(_signal: int, _frame: FrameType | None) -> None:
    raise OutOfTime("the hook's time (hook_seconds) was used up")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
