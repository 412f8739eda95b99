"""Runs services: each in a thread of its own, the fleet-wide ones where their lease is held."""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import SessionContinuityError, Unavailable
from session_continuity.domain.leases import LEASE_SECONDS
from session_continuity.domain.payload import storable_text
from session_continuity.domain.service_passes import ServicePass
from session_continuity.domain.text import shorten
from session_continuity.services.leadership import Leadership
from session_continuity.services.service import BoundClient, Pass, PassEnded, Service

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds after a pass that failed; each further one doubles the pause."""

QUIET_SECONDS = 60.0
"""Passes that did nothing are kept no more often than that: an idle machine is to write little."""

_JITTER = 0.1
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def new_holder() -> str:
    """A name for this process among all that run services: host, process id, and a part of its own."""
    return f"{storable_text(socket.gethostname())[:100]}:{os.getpid()}:{secrets.token_hex(3)}"


def run_pass(
    client: SessionContinuity,
    service: Service,
    *,
    holder: str,
    may_go_on: Callable[[], bool] = lambda: True,
    keep_quiet: bool = True,
) -> tuple[Pass, ServicePass | None]:
    """One pass of a service, and what was kept of it: with `keep_quiet` also one that did nothing. A pass that
    fails is kept with its error, and raises it; one that may not go on raises PassEnded and keeps nothing."""
    started = time.monotonic()
    try:
        done = service.run_once(BoundClient(client, may_go_on))
    except PassEnded:
        raise
    except Exception as error:
        reason = (
            f"{error.stable_code}: {error.message}"
            if isinstance(error, SessionContinuityError)
            else type(error).__name__  # without its text, which may hold what was captured
        )
        if type(error) is not Unavailable:  # else nobody is there to be told
            with suppress(Unavailable):
                client.record_pass(
                    service.name,
                    holder=holder,
                    seconds=time.monotonic() - started,
                    done=0,
                    report={},
                    error=shorten(storable_text(reason), 2_000),
                )
        raise
    if not (done.done or keep_quiet):
        return done, None
    kept = client.record_pass(
        service.name, holder=holder, seconds=time.monotonic() - started, done=done.done, report=done.report
    )
    return done, kept


class Runner:
    """Runs services until it is stopped. A failure never ends it: it is logged, and lengthens the pause."""

    def __init__(
        self,
        client: SessionContinuity,
        services: Sequence[Service],
        *,
        holder: str | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._client = client
        self.holder = holder or new_holder()
        fleet_wide = [service.name for service in services if service.fleet_wide]
        self._leadership = Leadership(
            client,
            fleet_wide,
            holder=self.holder,
            seconds=lease_seconds,
            tell=lambda change, name: _log.info(change, service=name),
        )
        self._stopping = threading.Event()
        self._poll = lease_seconds / 10
        self._threads = [
            threading.Thread(target=self._run, args=(service,), name=f"service-{service.name}", daemon=True)
            for service in services
        ]

    def start(self) -> None:
        """Begin."""
        self._leadership.start()
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> bool:
        """End every pass before its next operation, and give the leases up; False when one takes longer than
        `seconds`; may be called again. What an operation had begun then either happens whole or not at all."""
        until = time.monotonic() + seconds
        self._stopping.set()
        self._leadership.stop(seconds)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, service: Service) -> None:
        def may_go_on() -> bool:
            return not self._stopping.is_set() and (not service.fleet_wide or self._leadership.holds(service.name))

        pause, kept_at = FIRST_PAUSE, float("-inf")
        while not self._stopping.is_set():
            if not may_go_on():
                self._stopping.wait(self._poll)
                continue
            keep_quiet = time.monotonic() >= kept_at + QUIET_SECONDS
            structlog.contextvars.bind_contextvars(pass_id=secrets.token_hex(6))
            try:
                done, kept = run_pass(
                    self._client, service, holder=self.holder, may_go_on=may_go_on, keep_quiet=keep_quiet
                )
            except PassEnded:
                continue
            except Exception as error:
                self._tell_failure(service, error)
                self._stopping.wait(_jittered(pause))
                pause = min(LONGEST_PAUSE, 2 * pause)
                continue
            pause = FIRST_PAUSE
            if kept is not None:
                kept_at = time.monotonic()
            if done.done:
                _log.info("pass", service=service.name, done=done.done, **done.report)
            self._stopping.wait(0 if done.more else _jittered(service.interval_seconds))

    def _tell_failure(self, service: Service, error: Exception) -> None:
        if isinstance(error, SessionContinuityError):
            _log.warning("pass_failed", service=service.name, code=error.stable_code, reason=error.message)
        else:
            _log.error("pass_failed", service=service.name, exc_info=error)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
