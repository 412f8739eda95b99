"""Watches a spool: one piece of work, done again and again in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Literal

from session_continuity.domain.errors import SessionContinuityError, Unavailable

POLL_SECONDS = 0.1
"""Between two looks at an idle spool: what is spooled is to be committed within a second."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds after a failure; each further one doubles the pause."""

_State = Literal["working", "unreachable", "failing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How the work goes: working; unreachable, when the other side is away and all waits for it; or failing, when
    somebody has to look. `reason` says why, `error` names an exception that nobody foresaw."""

    state: _State
    since: datetime
    reason: str | None = None
    error: Exception | None = None


class SpoolWatch:
    """Calls `work` until it is stopped; `work` returns whether there is more to do at once.

    A failure never ends it: Unavailable and any other exception only lengthen the pause. `tell` hears of each
    change of the condition, the first time as soon as the first piece of work was done.
    """

    def __init__(self, work: Callable[[], bool], tell: Callable[[Condition], None]) -> None:
        self._work, self._tell = work, tell
        self._stopping = Event()
        self._told: Condition | None = None
        self._thread = Thread(target=self._run, name="spool-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """End after the piece of work that is being done; False when that takes longer than `seconds`."""
        self._stopping.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def is_alive(self) -> bool:
        """Whether it works, reachable or not."""
        return self._thread.is_alive()

    def wait(self) -> None:
        """Until it ends."""
        self._thread.join()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            more, failed = False, True
            try:
                more = self._work()
                failed = False
                self._change("working")
            except Unavailable as error:
                self._change("unreachable", error.message)
            except SessionContinuityError as error:
                self._change("failing", error.message)
            except Exception as error:
                # Without its text, which may hold what was captured.
                self._change("failing", f"{type(error).__name__}, see the log", error)
            if failed:
                self._stopping.wait(pause)
                pause = min(LONGEST_PAUSE, 2 * pause)
            else:
                pause = FIRST_PAUSE
                self._stopping.wait(0 if more else POLL_SECONDS)

    def _change(self, state: _State, reason: str | None = None, error: Exception | None = None) -> None:
        if self._told is None or (self._told.state, self._told.reason) != (state, reason):
            self._told = Condition(state=state, since=datetime.now(UTC), reason=reason, error=error)
            self._tell(self._told)
