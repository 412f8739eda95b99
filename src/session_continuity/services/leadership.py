"""Holds the leases of the fleet-wide services, and says at every moment which of them it still holds.

It gives up when it is unsure: what could not be renewed in time is not held any more, well before the row says so.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import SessionContinuityError
from session_continuity.domain.leases import LEASE_SECONDS

_RENEWALS = 3
"""Tries to renew within the time of a lease."""

_SURE = 0.9
"""The part of a lease's time that is relied on: clocks of two machines may run at different speeds."""


class Leadership:
    """Takes and renews the leases of `names` in a thread of its own. `tell` hears what was lost or taken."""

    def __init__(
        self,
        client: SessionContinuity,
        names: Sequence[str],
        *,
        holder: str,
        seconds: float = LEASE_SECONDS,
        tell: Callable[[str, str], None] = lambda _change, _name: None,
    ) -> None:
        self._client, self._names, self._holder, self._seconds = client, names, holder, seconds
        self._tell = tell
        self._until = dict.fromkeys(names, 0.0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    def start(self) -> None:
        """Begin to ask for the leases."""
        if self._names:
            self._thread.start()

    def holds(self, name: str) -> bool:
        """Whether the lease is held for certain at this moment."""
        return _clock() < self._until[name]

    def stop(self, seconds: float) -> None:
        """Give the leases up, so that another process need not wait for their end. Where the database can't be
        told within `seconds`, they end by themselves."""
        self._stopping.set()
        self._until = dict.fromkeys(self._names, 0.0)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(SessionContinuityError):  # what can't be renewed runs out, and is asked for again
                self._renew()
            self._stopping.wait(self._seconds / _RENEWALS * random.uniform(0.8, 1.0))  # noqa: S311
        with suppress(SessionContinuityError):
            self._client.release_leases(holder=self._holder)

    def _renew(self) -> None:
        before = {name: self.holds(name) for name in self._names}
        asked = _clock()
        held = self._client.hold_leases(self._names, holder=self._holder, seconds=self._seconds)
        if self._stopping.is_set():
            return
        self._until = {name: asked + self._seconds * _SURE if name in held else 0.0 for name in self._names}
        for name, held_before in before.items():
            if (name in held) != held_before:
                self._tell("lease_lost" if held_before else "lease_taken", name)


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
